"""Links between the entries of a transaction."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.definitions.tables import load
from fhirhub.resource import json
from fhirhub.resource.links import Links

LINKS = Links(load())
UUID = "urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"
OID = "urn:oid:1.2.3"
FULL = "http://sender.org/fhir/Patient/7"
TARGETS = {UUID: "Patient/new", OID: "Binary/b", FULL: "Patient/seven"}


def rewritten(document: dict[str, Any], full_url: str | None = None) -> dict[str, Any]:
    copy = json.copy(document)
    LINKS.scan(copy, TARGETS, full_url).rewrite(TARGETS)
    return copy


@pytest.mark.parametrize(
    ("resource", "changed"),
    [
        ({"subject": {"reference": UUID}}, {"subject": {"reference": "Patient/new"}}),
        ({"performer": [{"reference": OID}]}, {"performer": [{"reference": "Binary/b"}]}),
        ({"subject": {"reference": FULL}}, {"subject": {"reference": "Patient/seven"}}),
        ({"subject": {"reference": FULL + "/_history/4"}}, {"subject": {"reference": "Patient/seven"}}),
        (
            {"extension": [{"url": "http://x", "valueUri": UUID}, {"url": "http://x", "valueUrl": OID}]},
            {"extension": [{"url": "http://x", "valueUri": "Patient/new"}, {"url": "http://x", "valueUrl":
            "Binary/b"}]},
        ),
        (
            {"extension": [{"url": "x", "extension": [{"url": "y", "valueReference": {"reference": UUID}}]}]},
            {"extension": [{"url": "x", "extension": [{"url": "y", "valueReference": {"reference":
            "Patient/new"}}]}]},
        ),
        (
            {"contained": [{"resourceType": "Media", "content": {"url": OID}}]},
            {"contained": [{"resourceType": "Media", "content": {"url": "Binary/b"}}]},
        ),
    ],
)  # fmt: skip
def test_links_are_rewritten(resource: dict[str, Any], changed: dict[str, Any]) -> None:
    observation = {"resourceType": "Observation"}
    assert rewritten({**observation, **resource}) == {**observation, **changed}


def test_lists_of_uris() -> None:
    plan = {
        "resourceType": "CarePlan",
        "instantiatesUri": ["http://x", UUID],
        "instantiatesCanonical": [UUID],
    }
    changed = rewritten(plan)
    assert changed["instantiatesUri"] == ["http://x", "Patient/new"]
    assert changed["instantiatesCanonical"] == [UUID]


@pytest.mark.parametrize(
    "document",
    [
        {"resourceType": "Patient", "identifier": [{"system": "urn:ietf:rfc:3986", "value": UUID}]},
        {"resourceType": "Patient", "identifier": [{"system": OID, "value": "1"}]},
        {"resourceType": "Observation", "valueString": UUID},
        {"resourceType": "Observation", "subject": {"display": UUID}},
        {"resourceType": "Observation", "extension": [{"url": OID, "valueCanonical": UUID}]},
        {"resourceType": "StructureDefinition", "url": FULL},
        {"resourceType": "Observation", "subject": {"reference": "urn:uuid:0"}},
        {"resourceType": "Observation", "subject": {"reference": "Patient/7"}},
        {"resourceType": "Observation", "madeUp": UUID, "subject": {"made": [UUID, {"up": UUID}]}},
        {"resourceType": "MadeUp", "url": UUID},
        {"resourceType": "Bundle", "entry": [{"resource": {"subject": {"reference": UUID}}}]},
    ],
)
def test_what_is_no_link_stays(document: dict[str, Any]) -> None:
    assert rewritten(document) == document


def test_relative_references_are_read_against_the_full_url() -> None:
    document = {"resourceType": "Observation", "subject": {"reference": "Patient/7"}}
    assert rewritten(document, "http://sender.org/fhir/Observation/1")["subject"] == {
        "reference": "Patient/seven"
    }
    assert rewritten(document, "http://other.org/fhir/Observation/1") == document
    assert rewritten(document, UUID) == document


def test_narrative_links() -> None:
    div = (
        f'<div xmlns="http://www.w3.org/1999/xhtml"><a class="x" href="{UUID}">a</a><a href=\'{FULL}\'/>'
        f'<img alt="" src = "{OID}"/><a href="http://x">{UUID}</a><p title="{UUID}"/></div>'
    )
    text = {"status": "generated", "div": div}
    changed = rewritten({"resourceType": "Composition", "text": text, "section": [{"text": text}]})
    expected = (
        '<div xmlns="http://www.w3.org/1999/xhtml">'
        '<a class="x" href="Patient/new">a</a><a href=\'Patient/seven\'/>'
        f'<img alt="" src = "Binary/b"/><a href="http://x">{UUID}</a><p title="{UUID}"/></div>'
    )
    assert changed["text"]["div"] == expected
    assert changed["section"][0]["text"]["div"] == expected


def test_hostile_narrative_takes_no_time() -> None:
    div = "<a " * 50_000 + "href" * 50_000 + "<a href" * 50_000 + " " * 50_000
    document = {"resourceType": "Patient", "text": {"div": div}}
    assert rewritten(document) == document


def test_conditional_references() -> None:
    document = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient?identifier=http://x|1"},
        "performer": [
            {"reference": "http://x.org/?a=b"},
            {"reference": "Practitioner?x=y"},
            {"reference": UUID},
        ],
    }
    found = LINKS.scan(document, TARGETS)
    assert {(found.expression(path), query) for path, _, query in found.conditional} == {
        ("Observation.subject", "Patient?identifier=http://x|1"),
        ("Observation.performer[1]", "Practitioner?x=y"),
    }
    found.rewrite({**TARGETS, "Patient?identifier=http://x|1": "Patient/3"})
    assert {(path, text) for path, _, text in found.literals()} == {
        ("Observation.subject", "Patient/3"),
        ("Observation.performer[0]", "http://x.org/?a=b"),
        ("Observation.performer[1]", "Practitioner?x=y"),
        ("Observation.performer[2]", "Patient/new"),
    }


def test_only_the_known_elements_called_reference_are_no_references() -> None:
    types = load().types
    others = {
        name
        for name in types
        for prop in types[name].properties.values()
        if prop.name == "reference" and types[prop.type_name].kind == "primitive"
    }
    assert others == {"Reference", "DetectedIssue", "Expression", "Immunization.education"}
