"""Token searches: https://hl7.org/fhir/R4/search.html#token"""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import BadRequest
from searching import finds, rows, search

LOINC = "http://loinc.org"
GENDER = "http://hl7.org/fhir/administrative-gender"


def coded(*codings: tuple[str | None, str | None], text: str | None = None) -> dict[str, Any]:
    """An Observation with these (system, code) pairs."""
    made = [
        {name: value for name, value in (("system", system), ("code", code)) if value}
        for system, code in codings
    ]
    code: dict[str, Any] = {"coding": made} if made else {}
    return {"resourceType": "Observation", "id": "x", "code": {**code, **({"text": text} if text else {})}}


@pytest.mark.parametrize(
    ("value", "document", "expected"),
    [
        ("1-1", coded((LOINC, "1-1")), True),
        ("1-1", coded((None, "1-1")), True),
        (f"{LOINC}|1-1", coded((LOINC, "1-1")), True),
        (f"{LOINC}|1-1", coded((None, "1-1")), False),
        ("|1-1", coded((None, "1-1")), True),
        ("|1-1", coded((LOINC, "1-1")), False),
        (f"{LOINC}|", coded((LOINC, "1-1")), True),
        (f"{LOINC}|", coded((LOINC, None)), True),
        (f"{LOINC}|", coded((None, "1-1")), False),
        ("http://other|1-1", coded((LOINC, "1-1")), False),
        ("2-2", coded((LOINC, "1-1"), ("http://other", "2-2")), True),
        (f"{LOINC}|2-2", coded((LOINC, "1-1"), ("http://other", "2-2")), False),
        ("1-1,2-2", coded((LOINC, "2-2")), True),
        ("A", coded((LOINC, "a")), False),
        ("only text", coded(text="only text"), False),
        (r"a\|b", coded((LOINC, "a|b")), True),
        (r"a\,b", coded((LOINC, "a,b")), True),
        (r"a\$b", coded((LOINC, "a$b")), True),
        (r"a\\b", coded((LOINC, r"a\b")), True),
        (r"a\b", coded((LOINC, r"a\b")), True),
    ],
)
def test_codings(value: str, document: dict[str, Any], expected: bool) -> None:
    assert finds(f"Observation?code={value}", document) is expected
    assert finds(f"Observation?code:not={value}", document) is not expected


def test_not_finds_what_has_no_value_at_all() -> None:
    assert finds("Observation?code:not=1-1", {"resourceType": "Observation", "id": "x"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("female", True),
        ("male", False),
        (f"{GENDER}|female", True),
        ("http://elsewhere|female", False),
        (f"{GENDER}|nonsense", False),
        ("|female", True),
        (f"{GENDER}|", True),
        ("http://elsewhere|", False),
    ],
)
def test_a_code_has_the_system_of_its_value_set(value: str, expected: bool) -> None:
    assert (
        finds(f"Patient?gender={value}", {"resourceType": "Patient", "id": "x", "gender": "female"})
        is expected
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("true", True),
        ("false", False),
        ("http://terminology.hl7.org/CodeSystem/special-values|true", True),
        ("http://terminology.hl7.org/CodeSystem/special-values|false", False),
        ("|true", True),
    ],
)
def test_booleans(value: str, expected: bool) -> None:
    assert (
        finds(f"Patient?active={value}", {"resourceType": "Patient", "id": "x", "active": True}) is expected
    )


def test_deceased_is_whether_there_is_a_date_or_a_true() -> None:
    for more, dead in [
        ({}, False),
        ({"deceasedBoolean": False}, False),
        ({"deceasedBoolean": True}, True),
        ({"deceasedDateTime": "2015"}, True),
    ]:
        patient = {"resourceType": "Patient", "id": "x", **more}
        assert finds("Patient?deceased=true", patient) is dead
        assert finds("Patient?deceased=false", patient) is not dead


IDENTIFIED = {
    "resourceType": "Patient",
    "id": "x",
    "identifier": [
        {
            "type": {"coding": [{"system": "http://types", "code": "MR"}]},
            "system": "http://mrn",
            "value": "12",
        },
        {"value": "34"},
    ],
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("identifier=12", True),
        ("identifier=http://mrn|12", True),
        ("identifier=http://mrn|34", False),
        ("identifier=|34", True),
        ("identifier=|12", False),
        ("identifier=http://mrn|", True),
        ("identifier:of-type=http://types|MR|12", True),
        ("identifier:of-type=http://types|MR|34", False),
        ("identifier:of-type=http://types|XX|12", False),
    ],
)
def test_identifiers(query: str, expected: bool) -> None:
    assert finds(f"Patient?{query}", IDENTIFIED) is expected


def test_contact_points_have_no_system() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "x",
        "telecom": [{"system": "phone", "value": "555"}, {"system": "email", "value": "a@b.c"}],
    }
    assert finds("Patient?telecom=555", patient)
    assert finds("Patient?phone=555", patient)
    assert not finds("Patient?phone=a@b.c", patient)
    assert finds("Patient?email=a@b.c", patient)
    assert not finds("Patient?email=phone|555", patient)


def test_tags_and_security_labels() -> None:
    meta = {
        "tag": [{"system": "http://tags", "code": "t"}],
        "security": [{"system": "http://labels", "code": "R"}],
    }
    patient = {"resourceType": "Patient", "id": "x", "meta": meta}
    assert finds("Patient?_tag=http://tags|t", patient)
    assert finds("Patient?_security=R", patient)
    assert not finds("Patient?_tag=R", patient)


def test_missing() -> None:
    assert finds("Patient?gender:missing=true", {"resourceType": "Patient", "id": "x"})
    assert not finds("Patient?gender:missing=false", {"resourceType": "Patient", "id": "x"})
    assert finds("Observation?code:missing=false", coded(text="only text"))


@pytest.mark.parametrize(
    "query",
    [
        "Observation?code=",
        "Observation?code=a,",
        "Observation?code=|",
        "Observation?code=a|b|c",
        "Patient?identifier:of-type=a|b",
        "Patient?identifier:of-type=a||c",
        "Patient?gender:of-type=a|b|c",
        "Patient?gender:missing=maybe",
    ],
)
def test_what_is_no_token_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        search(query)


def test_rows_of_a_coding() -> None:
    # one row; any system and any code of this system are pairs of the dictionary
    assert len(rows(coded((LOINC, "1-1"))).tokens) == 1
    assert len(rows(coded((LOINC, "1-1"))).codings) == 2
    assert len(rows(coded((None, "1-1"))).tokens) == 1
    assert len(rows(coded((None, "1-1"))).codings) == 1
