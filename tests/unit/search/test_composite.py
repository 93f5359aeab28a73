"""Composite searches: https://hl7.org/fhir/R4/search.html#composite"""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import BadRequest
from fhirhub.search.parameters import composite, date, number, quantity, token
from searching import SECRET, definitions, example, finds, registry, search

LOINC = "http://loinc.org"


def observation(code: str, **value: Any) -> dict[str, Any]:
    coding = {"system": LOINC, "code": code}
    return {"resourceType": "Observation", "id": "x", "code": {"coding": [coding]}, **value}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # both halves in one component: systolic 107, diastolic 60
        ("component-code-value-quantity=8480-6$107", True),
        ("component-code-value-quantity=8480-6$gt100", True),
        ("component-code-value-quantity=8462-4$gt100", False),
        (f"component-code-value-quantity={LOINC}|8480-6$lt140||mm[Hg]", True),
        ("component-code-value-quantity=8480-6$lt140||mmHg", True),
        ("component-code-value-quantity=8480-6$lt140||kPa", True),
        ("component-code-value-quantity=8480-6$gt100||kPa", False),
        ("component-code-value-quantity=8480-6$lt140||kg", False),
        ("component-code-value-quantity=http://elsewhere|8480-6$lt140", False),
        ("component-code-value-quantity=8462-4$gt100,8480-6$gt100", True),
        ("combo-code-value-quantity=8480-6$107", True),
        ("code-value-quantity=8480-6$107", False),
        ("combo-code=8480-6", True),
        ("combo-code=85354-9", True),
        ("combo-code:not=8480-6", False),
        ("component-code=85354-9", False),
        ("combo-value-quantity=107", True),
        ("combo-value-quantity=108", False),
        ("combo-code-value-quantity:missing=false", True),
        ("code-value-quantity:missing=true", True),
    ],
)
def test_blood_pressure(query: str, expected: bool) -> None:
    assert finds(f"Observation?{query}", example("Observation", "blood-pressure")) is expected


@pytest.mark.parametrize(
    ("query", "document", "expected"),
    [
        ("code-value-string=1-1$Blue eyes", observation("1-1", valueString="blue eyes, both"), True),
        ("code-value-string=1-1$eyes", observation("1-1", valueString="blue eyes"), False),
        ("code-value-date=1-1$ge2020", observation("1-1", valueDateTime="2020-05-05"), True),
        ("code-value-date=1-1$ge2021", observation("1-1", valueDateTime="2020-05-05"), False),
        ("code-value-concept=1-1$http://v|yes", observation("1-1", valueCodeableConcept={
            "coding": [{"system": "http://v", "code": "yes"}]}), True),
        ("code-value-concept=1-1$yes", observation("1-1", valueCodeableConcept={
            "coding": [{"system": "http://v", "code": "yes"}]}), True),
        ("code-value-concept=1-1$no", observation("1-1", valueCodeableConcept={
            "coding": [{"system": "http://v", "code": "yes"}]}), False),
        (r"code-value-string=1\$1$x", observation("1$1", valueString="x"), True),
    ],
)  # fmt: skip
def test_kinds_of_second_values(query: str, document: dict[str, Any], expected: bool) -> None:
    assert finds(f"Observation?{query}", document) is expected


def test_code_and_reference() -> None:
    relation = {"code": "replaces", "target": {"reference": "DocumentReference/1"}}
    document = {"resourceType": "DocumentReference", "id": "x", "relatesTo": [relation]}
    system = "http://hl7.org/fhir/document-relationship-type"
    assert finds("DocumentReference?relationship=replaces$DocumentReference/1", document)
    assert finds("DocumentReference?relationship=replaces$1", document)
    assert finds(f"DocumentReference?relationship={system}|replaces$DocumentReference/1", document)
    assert not finds("DocumentReference?relationship=appends$DocumentReference/1", document)


def test_every_composite_has_rows_to_make() -> None:
    for type in definitions.resource_types:
        for facet in registry.facets(type).values():
            if facet.kind == "composite" and not facet.aliases:
                assert composite.indexer(facet, SECRET), facet.expression
                for component in facet.components:
                    assert any(_usable(component.kind, route.type_name) for route in component.routes), facet


def _usable(kind: str, type_name: str) -> bool:
    if kind == "reference":
        return type_name in ("Reference", "canonical", "uri")
    if kind == "token":
        return token.speller(type_name) is not None
    if kind == "string":
        return type_name == "string"
    return {"date": date, "number": number, "quantity": quantity}[kind].measurer(type_name) is not None


def test_coordinates_stand_in_one_variant() -> None:
    def sequence(*variants: tuple[int, int]) -> dict[str, Any]:
        return {
            "resourceType": "MolecularSequence",
            "id": "x",
            "referenceSeq": {"chromosome": {"coding": [{"code": "1"}]}},
            "variant": [{"start": start, "end": end} for start, end in variants],
        }

    query = "MolecularSequence?chromosome-variant-coordinate=1$lt345$gt123"
    assert finds(query, sequence((100, 200)))
    assert not finds(query, sequence((100, 120)))
    assert not finds(query, sequence((100, 120), (400, 500)))
    assert not finds("MolecularSequence?chromosome-variant-coordinate=2$lt345$gt123", sequence((100, 200)))
    assert finds("MolecularSequence?chromosome-variant-coordinate=1$ne5$ge200", sequence((100, 200)))


def test_use_context() -> None:
    context = {
        "code": {"system": "http://c", "code": "age"},
        "valueRange": {"low": {"value": 10, "code": "a"}, "high": {"value": 20, "code": "a"}},
    }
    document = {"resourceType": "ValueSet", "id": "x", "useContext": [context]}
    assert finds("ValueSet?context-type-quantity=age$gt15||a", document)
    assert not finds("ValueSet?context-type-quantity=age$sa15||a", document)


@pytest.mark.parametrize(
    "value", ["", "a", "a$", "$1", "a$1$2", "a|$1", f"{LOINC}|$1", "a$x", "a$1|b", "a|b|c$1", "a$1,"]
)
def test_what_is_no_composite_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        search(f"Observation?code-value-quantity={value}")
