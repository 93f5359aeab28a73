"""Synthetic records for loads: the same for the same seed, of the sizes that real ones have.

Nothing here imitates a person: names are syllables, places are numbered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

Document = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
UCUM = "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
PERSONS = "urn:oid:1.2.36.146.595.217.0.1"

VITALS = (
    ("8302-2", "Body height", "cm", 140, 200),
    ("29463-7", "Body weight", "kg", 45, 120),
    ("39156-5", "Body mass index", "kg/m2", 17, 40),
    ("8867-4", "Heart rate", "/min", 50, 120),
    ("9279-1", "Respiratory rate", "/min", 10, 25),
    ("8310-5", "Body temperature", "Cel", 36, 40),
    ("2339-0", "Glucose", "mg/dL", 70, 200),
    ("2093-3", "Total cholesterol", "mg/dL", 120, 280),
)
CONDITIONS = (
    ("44054006", "Type 2 diabetes mellitus"), ("38341003", "Hypertensive disorder"), ("195967001", "Asthma"),
    ("444814009", "Viral sinusitis"), ("162864005", "Body mass index 30+ - obesity"), ("55822004", "Hyperlipidemia"),
)  # fmt: skip
DRUGS = (
    ("860975", "metformin 500 MG Oral Tablet"), ("314076", "lisinopril 10 MG Oral Tablet"),
    ("745679", "albuterol inhaler"), ("312961", "simvastatin 20 MG Oral Tablet"),
)  # fmt: skip
_SYLLABLES = (
    "ba",
    "co",
    "da",
    "fe",
    "gi",
    "ho",
    "ka",
    "li",
    "mo",
    "na",
    "pe",
    "ri",
    "sa",
    "tu",
    "va",
    "wen",
    "zor",
)
_DAY = timedelta(days=1)


def coded(system: str, code: str, display: str) -> Document:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def name(random: Random) -> str:
    """Two to four syllables."""
    return "".join(random.choices(_SYLLABLES, k=random.randint(2, 4))).capitalize()


def instant(random: Random, first: int = 2010, years: int = 12) -> str:
    """A moment with seconds and an offset."""
    moment = datetime(first, 1, 1, tzinfo=UTC) + random.random() * years * 365 * _DAY
    return moment.replace(microsecond=0).isoformat()


def _narrative(text: str) -> Document:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'}


def patient(random: Random, number: int) -> Document:
    """About 2.5 KB: identifiers, names, address, contacts, communication."""
    family, given = name(random), name(random)
    born = date(1930, 1, 1) + random.randrange(90 * 365) * _DAY
    identifiers = [
        {
            "use": "official",
            "type": coded(f"{TERMINOLOGY}/v2-0203", code, display),
            "system": f"{PERSONS}.{n}",
            "value": f"{code}-{number}",
        }
        for n, (code, display) in enumerate((("MR", "Medical Record Number"), ("SS", "Social Security Number"),
                                             ("DL", "Driver's License"), ("PPN", "Passport Number")))
    ]  # fmt: skip
    return {
        "resourceType": "Patient",
        "text": _narrative(f"{given} {family}, born {born}"),
        "identifier": identifiers,
        "active": True,
        "name": [
            {"use": "official", "family": family, "given": [given, name(random)], "prefix": ["Mx."]},
            {"use": "maiden", "family": name(random), "given": [given]},
        ],
        "telecom": [
            {
                "system": "phone",
                "value": f"555-{number % 1000:03}-{random.randrange(10_000):04}",
                "use": "home",
            },
            {"system": "email", "value": f"{given}.{family}.{number}@example.org".lower()},
        ],
        "gender": random.choice(("female", "male")),
        "birthDate": born.isoformat(),
        "address": [
            {
                "use": "home",
                "line": [f"{random.randint(1, 999)} {name(random)} Street"],
                "city": name(random),
                "state": random.choice(("MA", "NY", "VT", "ME")),
                "postalCode": f"{random.randrange(100_000):05}",
                "country": "US",
            }
        ],
        "maritalStatus": coded(f"{TERMINOLOGY}/v3-MaritalStatus", "M", "Married"),
        "multipleBirthBoolean": False,
        "contact": [
            {
                "relationship": [coded(f"{TERMINOLOGY}/v2-0131", "N", "Next-of-Kin")],
                "name": {"family": family, "given": [name(random)]},
                "telecom": [{"system": "phone", "value": f"555-{random.randrange(10_000_000):07}"}],
            }
        ],
        "communication": [{"language": coded("urn:ietf:bcp:47", "en-US", "English (United States)")}],
    }


def location(random: Random, number: int) -> Document:
    """A place."""
    return {
        "resourceType": "Location",
        "identifier": [{"system": f"{PERSONS}.9", "value": f"loc-{number}"}],
        "status": "active",
        "name": f"{name(random)} Practice",
        "telecom": [{"system": "phone", "value": "555-0100"}],
        "address": {"line": [f"{number} Main Street"], "city": name(random), "state": "MA", "country": "US"},
        "position": {"longitude": -71.06, "latitude": 42.36},
    }


def organization(random: Random, number: int) -> Document:
    """A provider."""
    return {
        "resourceType": "Organization",
        "identifier": [{"system": f"{PERSONS}.8", "value": f"org-{number}"}],
        "active": True,
        "type": [coded(f"{TERMINOLOGY}/organization-type", "prov", "Healthcare Provider")],
        "name": f"{name(random)} Hospital",
        "telecom": [{"system": "phone", "value": "555-0101"}],
        "address": [{"line": ["1 Hospital Way"], "city": name(random), "state": "MA", "country": "US"}],
    }


def practitioner(random: Random, number: int) -> Document:
    """A clinician."""
    return {
        "resourceType": "Practitioner",
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": f"99{number:08}"}],
        "active": True,
        "name": [{"family": name(random), "given": [name(random)], "prefix": ["Dr."]}],
        "telecom": [{"system": "email", "value": f"dr{number}@example.org", "use": "work"}],
        "address": [{"line": ["1 Hospital Way"], "city": name(random), "state": "MA", "country": "US"}],
        "gender": random.choice(("female", "male")),
    }


def encounter(random: Random, subject: str, clinician: str, place: str, provider: str, when: str) -> Document:
    """An ambulatory visit."""
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": f"{TERMINOLOGY}/v3-ActCode", "code": "AMB"},
        "type": [coded(SNOMED, "162673000", "General examination of patient (procedure)")],
        "subject": {"reference": subject},
        "participant": [
            {
                "type": [coded(f"{TERMINOLOGY}/v3-ParticipationType", "PPRF", "primary performer")],
                "period": {"start": when},
                "individual": {"reference": clinician},
            }
        ],
        "period": {"start": when, "end": when},
        "location": [{"location": {"reference": place}}],
        "serviceProvider": {"reference": provider},
    }


def observation(
    random: Random, subject: str, visit: str | None, when: str, vital: int | None = None
) -> Document:
    """A vital sign, about 0.9 KB; ``vital`` counts through the kinds, else it is any."""
    code, display, unit, low, high = random.choice(VITALS) if vital is None else VITALS[vital % len(VITALS)]
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [coded(f"{TERMINOLOGY}/observation-category", "vital-signs", "vital-signs")],
        "code": coded(LOINC, code, display),
        "subject": {"reference": subject},
        **({"encounter": {"reference": visit}} if visit else {}),
        "effectiveDateTime": when,
        "issued": when,
        "valueQuantity": {
            "value": round(random.uniform(low, high), 1),
            "unit": unit,
            "system": UCUM,
            "code": unit,
        },
        "interpretation": [coded(f"{TERMINOLOGY}/v3-ObservationInterpretation", "N", "Normal")],
        "referenceRange": [{"low": {"value": low, "unit": unit}, "high": {"value": high, "unit": unit}}],
    }


def condition(random: Random, subject: str, visit: str, when: str) -> Document:
    """A diagnosis."""
    return {
        "resourceType": "Condition",
        "clinicalStatus": coded(f"{TERMINOLOGY}/condition-clinical", "active", "Active"),
        "verificationStatus": coded(f"{TERMINOLOGY}/condition-ver-status", "confirmed", "Confirmed"),
        "category": [
            coded(f"{TERMINOLOGY}/condition-category", "encounter-diagnosis", "Encounter Diagnosis")
        ],
        "code": coded(SNOMED, *random.choice(CONDITIONS)),
        "subject": {"reference": subject},
        "encounter": {"reference": visit},
        "onsetDateTime": when,
        "recordedDate": when,
    }


def medication_request(random: Random, subject: str, visit: str, clinician: str, when: str) -> Document:
    """A prescription."""
    return {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": coded(RXNORM, *random.choice(DRUGS)),
        "subject": {"reference": subject},
        "encounter": {"reference": visit},
        "authoredOn": when,
        "requester": {"reference": clinician},
        "dosageInstruction": [
            {
                "sequence": 1,
                "text": "One tablet a day",
                "asNeededBoolean": False,
                "timing": {"repeat": {"frequency": 1, "period": 1.0, "periodUnit": "d"}},
                "doseAndRate": [{"doseQuantity": {"value": 1}}],
            }
        ],
    }


def claim(random: Random, subject: str, visit: str, provider: str, when: str) -> Document:
    """A claim with three items, about 2 KB."""
    return {
        "resourceType": "Claim",
        "status": "active",
        "type": coded(f"{TERMINOLOGY}/claim-type", "institutional", "Institutional"),
        "use": "claim",
        "patient": {"reference": subject},
        "billablePeriod": {"start": when, "end": when},
        "created": when,
        "provider": {"reference": provider},
        "priority": coded(f"{TERMINOLOGY}/processpriority", "normal", "Normal"),
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "Blue Cross"}}],
        "item": [
            {
                "sequence": n,
                "productOrService": coded(SNOMED, *random.choice(CONDITIONS)),
                "encounter": [{"reference": visit}],
                "net": {"value": round(random.uniform(20, 900), 2), "currency": "USD"},
            }
            for n in (1, 2, 3)
        ],
        "total": {"value": round(random.uniform(100, 2000), 2), "currency": "USD"},
    }


def explanation(random: Random, subject: str, provider: str, bill: str, when: str) -> Document:
    """An explanation of benefit with eight adjudicated items, about 7 KB."""
    money = {"value": round(random.uniform(20, 900), 2), "currency": "USD"}
    kinds = ("submitted", "eligible", "deductible", "copay", "benefit")
    return {
        "resourceType": "ExplanationOfBenefit",
        "identifier": [{"system": f"{PERSONS}.7", "value": f"eob-{random.randrange(10**9)}"}],
        "status": "active",
        "type": coded(f"{TERMINOLOGY}/claim-type", "institutional", "Institutional"),
        "use": "claim",
        "patient": {"reference": subject},
        "billablePeriod": {"start": when, "end": when},
        "created": when,
        "insurer": {"display": "Blue Cross"},
        "provider": {"reference": provider},
        "claim": {"reference": bill},
        "outcome": "complete",
        "careTeam": [{"sequence": 1, "provider": {"reference": provider}}],
        "insurance": [{"focal": True, "coverage": {"display": "Blue Cross"}}],
        "item": [
            {
                "sequence": n,
                "category": coded(f"{TERMINOLOGY}/ex-benefitcategory", "1", "Medical Care"),
                "productOrService": coded(SNOMED, *random.choice(CONDITIONS)),
                "servicedPeriod": {"start": when, "end": when},
                "net": money,
                "adjudication": [
                    {
                        "category": coded(f"{TERMINOLOGY}/adjudication", kind, kind.capitalize()),
                        "amount": money,
                    }
                    for kind in kinds
                ],
            }
            for n in range(1, 5)
        ],
        "total": [
            {"category": coded(f"{TERMINOLOGY}/adjudication", "submitted", "Submitted"), "amount": money}
        ],
    }


def _posted(full_url: str, document: Document) -> Document:
    return {
        "fullUrl": full_url,
        "resource": document,
        "request": {"method": "POST", "url": document["resourceType"]},
    }


def bundle(number: int, visits: int = 4, vitals: int = 4) -> Document:
    """A transaction with one patient and everything about them: about visits * (vitals + 4) + 4 resources."""
    random = Random(number)
    urls = iter(f"urn:uuid:{random.getrandbits(128):032x}" for _ in range(10_000))
    entries: list[Document] = []

    def add(document: Document) -> str:
        # A urn:uuid has hyphens.
        raw = next(urls)[9:]
        url = f"urn:uuid:{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-8{raw[17:20]}-{raw[20:]}"
        entries.append(_posted(url, document))
        return url

    subject = add(patient(random, number))
    clinician = add(practitioner(random, number))
    provider = add(organization(random, number))
    place = add(location(random, number))
    for turn in range(visits):
        when = instant(random)
        visit = add(encounter(random, subject, clinician, place, provider, when))
        for n in range(vitals):
            add(observation(random, subject, visit, when, turn * vitals + n))
        add(condition(random, subject, visit, when))
        add(medication_request(random, subject, visit, clinician, when))
        bill = add(claim(random, subject, visit, provider, when))
        add(explanation(random, subject, provider, bill, when))
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def bundles(first: int, count: int, **shape: int) -> Iterator[bytes]:
    """Transactions of ``count`` patients, as JSON."""
    for number in range(first, first + count):
        yield dump(bundle(number, **shape))


def dump(document: Document) -> bytes:
    """``document`` as compact JSON."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
