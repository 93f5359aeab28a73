"""The data of the search workloads: patient bundles as in :mod:`bench.records`, with blood pressures that have
components, pain scores, performers and procedures besides; and where each of their resources has gone to.

A bundle is self-contained and made from its number alone, so what a search must find can be computed again from the
numbers, without keeping anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random

from bench import records
from bench.load import User, expect, send
from bench.records import LOINC, SNOMED, TERMINOLOGY, UCUM, Document

PRESSURE, SYSTOLIC, DIASTOLIC, PAIN = "85354-9", "8480-6", "8462-4", "72514-3"
PROCEDURES = (
    ("430193006", "Medication reconciliation"),
    ("171207006", "Depression screening"),
    ("23426006", "Measurement of respiratory function"),
)
_URN = re.compile(rb"urn:uuid:[0-9a-f-]{36}")


def _quantity(value: float, code: str) -> Document:
    return {"value": value, "unit": code, "system": UCUM, "code": code}


def pressure(random: Random, visit: Document, clinician: str) -> Document:
    """A blood pressure: a panel whose values stand in its components."""
    component = [
        {
            "code": records.coded(LOINC, code, name),
            "valueQuantity": _quantity(random.randint(low, high), "mm[Hg]"),
        }
        for code, name, low, high in (
            (SYSTOLIC, "Systolic blood pressure", 95, 185),
            (DIASTOLIC, "Diastolic blood pressure", 55, 115),
        )
    ]
    return {**_observed(visit, clinician, PRESSURE, "Blood pressure panel"), "component": component}


def pain(random: Random, visit: Document, clinician: str) -> Document:
    """A pain score."""
    made = _observed(visit, clinician, PAIN, "Pain severity")
    return made | {"valueQuantity": _quantity(random.randint(0, 10), "{score}")}


def _observed(visit: Document, clinician: str, code: str, name: str) -> Document:
    when = visit["period"]["start"]
    category = records.coded(f"{TERMINOLOGY}/observation-category", "vital-signs", "vital-signs")
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [category],
        "code": records.coded(LOINC, code, name),
        "subject": visit["subject"],
        "effectiveDateTime": when,
        "issued": when,
        "performer": [{"reference": clinician}],
    }


def procedure(random: Random, visit: Document) -> Document:
    """Something done at a visit."""
    return {
        "resourceType": "Procedure",
        "status": "completed",
        "code": records.coded(SNOMED, *random.choice(PROCEDURES)),
        "subject": visit["subject"],
        "performedPeriod": visit["period"],
    }


@lru_cache(maxsize=64)
def bundle(number: int) -> bytes:
    """The transaction of patient ``number``: 48 resources, about 75 KB."""
    made = records.bundle(number)
    random = Random(f"clinic {number}")
    clinician = made["entry"][1]["fullUrl"]
    for entry in [each for each in made["entry"] if each["resource"]["resourceType"] == "Encounter"]:
        visit = entry["resource"]
        extra = [pressure(random, visit, clinician), pain(random, visit, clinician), procedure(random, visit)]
        for document in extra:
            document["encounter"] = {"reference": entry["fullUrl"]}
            raw = f"{random.getrandbits(128):032x}"
            url = f"urn:uuid:{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-8{raw[17:20]}-{raw[20:]}"
            request = {"method": "POST", "url": document["resourceType"]}
            made["entry"].append({"fullUrl": url, "resource": document, "request": request})
    return records.dump(made)


class Clinic:
    """Patients 1 to ``count`` as they are in a store: ``names[n]`` are the references that the server gave to the
    entries of bundle ``n``, in their order.
    """

    def __init__(self) -> None:
        self.names: dict[int, list[str]] = {}
        self.home: dict[str, int] = {}

    @property
    def count(self) -> int:
        """Patients."""
        return len(self.names)

    def poster(self, numbers: Iterator[int]) -> User:
        """Posts the bundles of ``numbers`` that nobody else has taken yet, and remembers where they went."""
        for number in numbers:
            answer = expect((yield "bundle", send("POST", "", bundle(number))), 200)
            entries = json.loads(answer.body)["entry"]
            self.names[number] = ["/".join(_location(entry)) for entry in entries]
            self.home.update(dict.fromkeys(self.names[number], number))

    def copy(self) -> Clinic:
        """The same patients, for a copy of the database."""
        other = Clinic()
        other.names, other.home = dict(self.names), dict(self.home)
        return other

    def documents(self, number: int) -> list[Document]:
        """The resources of patient ``number`` with the ids and references that they have in the store."""
        raw = bundle(number)
        entries = json.loads(raw)["entry"]
        names = self.names[number]
        known = {entry["fullUrl"].encode(): name.encode() for entry, name in zip(entries, names, strict=True)}
        again = json.loads(_URN.sub(lambda found: known[found[0]], raw))["entry"]
        return [
            {**entry["resource"], "id": name.partition("/")[2]}
            for entry, name in zip(again, names, strict=True)
        ]

    def of(self, name: str) -> Document:
        """The resource ``Type/id``."""
        number = self.home[name]
        return self.documents(number)[self.names[number].index(name)]


def _location(entry: Document) -> list[str]:
    """[type, id] of ``…/Type/id/_history/1``."""
    pieces: list[str] = entry["response"]["location"].split("/")
    at = pieces.index("_history")
    return pieces[at - 2 : at]


def all_documents(clinic: Clinic) -> Iterable[list[Document]]:
    """The documents of each patient."""
    return (clinic.documents(number) for number in sorted(clinic.names))
