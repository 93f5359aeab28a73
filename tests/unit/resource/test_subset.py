"""Summaries and chosen elements."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.definitions.tables import load
from fhirhub.resource import json
from fhirhub.resource.subset import SUBSETTED, elements_of, summary_of

DEFINITIONS = load()
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "1",
    "meta": {"versionId": "3", "tag": [{"code": "own"}]},
    "implicitRules": "http://x",
    "text": {"status": "empty", "div": "<div/>"},
    "contained": [{"resourceType": "Organization", "id": "o"}],
    "extension": [{"url": "http://x", "valueString": "x"}],
    "name": [{"family": "f", "extension": [{"url": "http://x", "valueCode": "y"}]}],
    "_birthDate": {"extension": [{"url": "http://x", "valueCode": "y"}]},
    "deceasedBoolean": False,
    "maritalStatus": {"text": "m"},
    "contact": [{"gender": "male"}],
    "communication": [{"language": {"text": "de"}}],
    "link": [{"other": {"reference": "Patient/2"}, "type": "refer", "extension": [{"url": "http://x"}]}],
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"text": "c"},
    "note": [{"text": "n"}],
    "valueQuantity": {"value": 1},
    "component": [{"code": {"text": "k"}, "valueString": "v", "interpretation": [{"text": "i"}]}],
}


def names(document: dict[str, Any]) -> set[str]:
    return set(document) - {"resourceType", "id", "meta", "implicitRules"}


def test_false_is_whole() -> None:
    assert summary_of(PATIENT, "false", DEFINITIONS) == PATIENT


def test_true_keeps_what_the_definition_marks() -> None:
    before = json.copy(PATIENT)
    summary = summary_of(PATIENT, "true", DEFINITIONS)
    assert PATIENT == before
    assert names(summary) == {"name", "_birthDate", "deceasedBoolean", "link"}
    assert summary["name"] == PATIENT["name"]
    assert summary["link"] == [{"other": {"reference": "Patient/2"}, "type": "refer"}]
    assert summary["meta"] == {"versionId": "3", "tag": [{"code": "own"}, SUBSETTED]}
    assert list(summary)[:3] == ["resourceType", "id", "meta"]


def test_true_goes_into_backbone_elements() -> None:
    summary = summary_of(OBSERVATION, "true", DEFINITIONS)
    assert names(summary) == {"status", "code", "valueQuantity", "component"}
    assert summary["component"] == [{"code": {"text": "k"}, "valueString": "v"}]


def test_text_keeps_the_narrative_and_the_mandatory() -> None:
    assert names(summary_of(PATIENT, "text", DEFINITIONS)) == {"text"}
    assert names(summary_of(OBSERVATION, "text", DEFINITIONS)) == {"status", "code"}


def test_data_drops_the_narrative() -> None:
    assert names(summary_of(PATIENT, "data", DEFINITIONS)) == names(PATIENT) - {"text"}


@pytest.mark.parametrize(
    ("elements", "kept"),
    [
        (["name"], {"name"}),
        (["Patient.name", "Observation.code"], {"name"}),
        (["name.family", "Patient.contact.gender"], {"name", "contact"}),
        (["birthDate", "deceased"], {"_birthDate", "deceasedBoolean"}),
        (["deceased[x]"], {"deceasedBoolean"}),
        (["deceasedBoolean"], {"deceasedBoolean"}),
        (["nonsense", ""], set()),
        ([], set()),
    ],
)
def test_elements(elements: list[str], kept: set[str]) -> None:
    chosen = elements_of(PATIENT, elements, DEFINITIONS)
    assert names(chosen) == kept
    assert SUBSETTED in chosen["meta"]["tag"]


def test_mandatory_elements_stay() -> None:
    assert names(elements_of(OBSERVATION, ["value"], DEFINITIONS)) == {"status", "code", "valueQuantity"}


def test_tagged_once() -> None:
    twice = summary_of(summary_of(PATIENT, "true", DEFINITIONS), "data", DEFINITIONS)
    assert twice["meta"]["tag"].count(SUBSETTED) == 1


def test_count_is_no_form_of_a_resource() -> None:
    with pytest.raises(ValueError, match="count"):
        summary_of(PATIENT, "count", DEFINITIONS)


def test_every_type_has_a_summary() -> None:
    for type_ in DEFINITIONS.resource_types:
        assert summary_of({"resourceType": type_}, "true", DEFINITIONS)["resourceType"] == type_
