"""The demo practice: its rooms, its people, its payers, and the record of each patient."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from fhirhub.jobs.demo.record import Record
from fhirhub.jobs.demo.shapes import Care, Resource, concept, extension, profile, ref, term
from fhirhub.jobs.demo.words import (
    ETHNICITIES,
    FAMILIES,
    MEN,
    MRN,
    NPI,
    PAYERS,
    RACES,
    STAFF,
    STREETS,
    TERMS,
    TOWNS,
    WOMEN,
)

PATIENTS = 30
TODAY = datetime(2026, 11, 2, 8, 0)
"""The day the practice stands at: the demo is the same whenever it is loaded."""
_SEED = 20261102


def practice(patients: int = PATIENTS) -> Iterator[Resource]:
    """All resources; what is referred to comes first."""
    chance = random.Random(_SEED)
    office = _office()
    rooms = [_room(office, number) for number in (1, 2, 3)]
    staff = [_practitioner(*row) for row in STAFF]
    payers = [_payer(*row[:2]) for row in PAYERS]
    yield from (office, *rooms, *payers, *staff)
    yield from (
        _role(office, rooms[0], one, code, title)
        for one, (*_, code, title) in zip(staff, STAFF, strict=True)
    )  # fmt: skip
    for number in range(1, patients + 1):
        patient = _patient(number, chance, office, staff)
        care = Care(office, rooms[number % len(rooms)], staff[number % 3], staff[3], payers)
        yield from Record(patient, care, chance, TODAY).resources()


def _office() -> Resource:
    return {
        "resourceType": "Organization",
        "id": "demo-practice",
        "meta": profile("us-core-organization"),
        "identifier": [{"system": NPI, "value": "1000000016"}],
        "active": True,
        "type": [concept(TERMS + "organization-type", "prov", "Healthcare Provider")],
        "name": "Harbor Family Practice",
        "telecom": [{"system": "phone", "value": "508-555-0100", "use": "work"}],
        "address": [_address("1 Harbor Street", TOWNS[0])],
    }


def _payer(id: str, name: str) -> Resource:
    return {
        "resourceType": "Organization",
        "id": id,
        "active": True,
        "type": [concept(TERMS + "organization-type", "pay", "Payer")],
        "name": name,
    }


def _room(office: Resource, number: int) -> Resource:
    return {
        "resourceType": "Location",
        "id": f"demo-room-{number}",
        "status": "active",
        "name": f"Examination room {number}",
        "mode": "instance",
        "physicalType": concept(TERMS + "location-physical-type", "ro", "Room"),
        "managingOrganization": ref(office),
    }


def _practitioner(id: str, given: str, family: str, gender: str, code: str, title: str) -> Resource:
    number = 1_000_000_100 + sum(map(ord, id))
    return {
        "resourceType": "Practitioner",
        "id": id,
        "meta": profile("us-core-practitioner"),
        "identifier": [{"system": NPI, "value": str(number)}],
        "active": True,
        "name": [{"use": "official", "family": family, "given": [given], "text": f"{given} {family}"}],
        "telecom": [{"system": "email", "value": f"{given.lower()}@harbor.example", "use": "work"}],
        "gender": gender,
        "qualification": [{"code": concept("http://nucc.org/provider-taxonomy", code, title)}],
    }


def _role(office: Resource, room: Resource, one: Resource, code: str, title: str) -> Resource:
    return {
        "resourceType": "PractitionerRole",
        "id": f"{one['id']}-role",
        "meta": profile("us-core-practitionerrole"),
        "active": True,
        "practitioner": ref(one, one["name"][0]["text"]),
        "organization": ref(office, office["name"]),
        "code": [concept("http://nucc.org/provider-taxonomy", code, title)],
        "location": [ref(room)],
        "telecom": [{"system": "phone", "value": "508-555-0100", "use": "work"}],
    }


def _address(line: str, town: tuple[str, str]) -> Resource:
    return {
        "use": "home",
        "line": [line],
        "city": town[0],
        "state": "MA",
        "postalCode": town[1],
        "country": "US",
    }


def _patient(number: int, chance: random.Random, office: Resource, staff: list[Resource]) -> Resource:
    woman = number % 2 == 1
    given = (WOMEN if woman else MEN)[(number // 2) % len(WOMEN)]
    family = FAMILIES[(number - 1) % len(FAMILIES)]
    age = chance.choice((6, 14, 23, 31, 38, 45, 52, 58, 63, 68, 74, 81))
    birth = TODAY - timedelta(days=age * 365 + chance.randrange(365))
    line = f"{chance.randrange(2, 240)} {chance.choice(STREETS)}"
    phone = f"508-555-{chance.randrange(1000, 9999)}"
    return {
        "resourceType": "Patient",
        "id": f"demo-patient-{number:02}",
        "meta": profile("us-core-patient"),
        "extension": [
            extension("us-core-race", chance.choice(RACES)),
            extension("us-core-ethnicity", chance.choice(ETHNICITIES)),
        ],
        "identifier": [
            {"use": "usual", "type": term("v2-0203", "MR"), "system": MRN, "value": f"HFP{number:05}"}
        ],
        "active": True,
        "name": [{"use": "official", "family": family, "given": [given]}],
        "telecom": [
            {"system": "phone", "value": phone, "use": "mobile"},
            {"system": "email", "value": f"{given}.{family}@mail.example".lower()},
        ],
        "gender": "female" if woman else "male",
        "birthDate": birth.strftime("%Y-%m-%d"),
        "address": [_address(line, chance.choice(TOWNS))],
        "communication": [{"language": concept("urn:ietf:bcp:47", "en-US", "English")}],
        "generalPractitioner": [ref(staff[number % 3])],
        "managingOrganization": ref(office),
    }
