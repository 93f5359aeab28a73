"""What a reference means, and where references stand."""

from __future__ import annotations

import pytest

from fhirhub.resource.reference import (
    Conditional,
    External,
    Fragment,
    Literal,
    Parsed,
    Unclear,
    literals,
    parse,
    restful,
)

BASES = ("http://localhost:8080/fhir", "https://hub.example.org/fhir")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Patient/1", Literal("Patient", "1")),
        ("Patient/a-b.C/_history/2", Literal("Patient", "a-b.C", "2")),
        ("http://localhost:8080/fhir/Patient/1", Literal("Patient", "1")),
        ("https://hub.example.org/fhir/Patient/1/_history/7", Literal("Patient", "1", "7")),
        ("http://localhost:8080/fhirPatient/1", External("http://localhost:8080/fhirPatient/1")),
        ("http://localhost:8080/fhir/metadata", External("http://localhost:8080/fhir/metadata")),
        ("http://elsewhere.org/fhir/Patient/1", External("http://elsewhere.org/fhir/Patient/1")),
        ("urn:oid:1.2.3", External("urn:oid:1.2.3")),
        ("#med", Fragment("med")),
        ("#", Fragment("")),
        ("Practitioner?identifier=http://x|1", Conditional("Practitioner", "identifier=http://x|1")),
        ("patient/1", Unclear("patient/1")),
        ("Patient/1\n", Unclear("Patient/1\n")),
        ("Patient/" + "x" * 65, Unclear("Patient/" + "x" * 65)),
        ("Patient", Unclear("Patient")),
        ("", Unclear("")),
    ],
)  # fmt: skip
def test_parse(text: str, meaning: Parsed) -> None:
    assert parse(text, BASES) == meaning


def test_a_literal_is_written_as_it_was_read() -> None:
    assert str(parse("Patient/1/_history/2")) == "Patient/1/_history/2"
    assert str(parse("Patient/1")) == "Patient/1"


def test_restful() -> None:
    assert restful("http://x.org/a/b/Patient/1") == ("http://x.org/a/b/", Literal("Patient", "1"))
    assert restful("urn:uuid:1") is None
    assert restful("Patient/1") is None


def test_literals_are_found_everywhere_but_in_bundle_entries() -> None:
    document = {
        "resourceType": "Observation",
        "contained": [{"resourceType": "Patient", "managingOrganization": {"reference": "Organization/1"}}],
        "extension": [{"url": "x", "valueReference": {"reference": "Device/2"}}],
        "subject": {"reference": "Patient/1", "extension": [{"valueReference": {"reference": "Group/3"}}]},
        "performer": [{"display": "somebody"}, {"reference": "Practitioner/1"}],
    }
    assert {(path, text) for path, _, text in literals(document)} == {
        ("Observation.contained[0].managingOrganization", "Organization/1"),
        ("Observation.extension[0].valueReference", "Device/2"),
        ("Observation.subject", "Patient/1"),
        ("Observation.subject.extension[0].valueReference", "Group/3"),
        ("Observation.performer[1]", "Practitioner/1"),
    }
    for other in (
        {"resourceType": "DetectedIssue", "reference": "http://x.org/a"},
        {"resourceType": "Immunization", "education": [{"reference": "http://x.org/a"}]},
        {
            "resourceType": "Basic",
            "extension": [{"valueExpression": {"language": "l", "reference": "http://x"}}],
        },
    ):
        assert list(literals(other)) == []
    bundle = {
        "resourceType": "Bundle",
        "entry": [{"resource": document}],
        "signature": {"who": {"reference": "Practitioner/9"}},
    }
    assert [text for _, _, text in literals(bundle)] == ["Practitioner/9"]
