"""Reference searches, chains and ``_has``: https://hl7.org/fhir/R4/search.html#reference"""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import BadRequest
from fhirhub.search.predicate import Chain, Refers
from searching import BASES, Shelf, definitions, finds, rows, search

HERE = BASES[0]


def about(**subject: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "x", "subject": subject}


LOCAL = about(reference="Patient/1")
GROUP = about(reference="Group/1")


@pytest.mark.parametrize(
    ("query", "document", "expected"),
    [
        ("subject=Patient/1", LOCAL, True),
        ("subject=1", LOCAL, True),
        ("subject=1", GROUP, True),
        ("subject:Patient=1", LOCAL, True),
        ("subject:Patient=1", GROUP, False),
        ("subject:Patient=Patient/1", LOCAL, True),
        ("subject:Patient=Group/1", GROUP, False),
        ("subject=Patient/2", LOCAL, False),
        ("subject=Patient/2,Patient/1", LOCAL, True),
        ("subject=Patient/1/_history/3", LOCAL, True),
        (f"subject={HERE}/Patient/1", LOCAL, True),
        ("subject=http://elsewhere/fhir/Patient/1", LOCAL, False),
        ("patient=1", LOCAL, True),
        ("patient=Patient/1", LOCAL, True),
        ("patient=1", GROUP, False),
        ("patient=Group/1", GROUP, False),
        ("patient:missing=true", GROUP, True),
        ("patient:missing=false", LOCAL, True),
        ("subject:missing=false", GROUP, True),
        ("subject=Patient/1", about(reference=f"{HERE}/Patient/1"), True),
        ("subject=Patient/1", about(reference="Patient/1/_history/7"), True),
        ("subject=Patient/1", about(reference="http://elsewhere/fhir/Patient/1"), False),
        ("subject=http://elsewhere/fhir/Patient/1", about(reference="http://elsewhere/fhir/Patient/1"), True),
        ("patient=http://elsewhere/fhir/Patient/1", about(reference="http://elsewhere/fhir/Patient/1"), True),
        ("patient=http://elsewhere/fhir/Group/1", about(reference="http://elsewhere/fhir/Group/1"), False),
        ("subject=http://elsewhere/fhir/Group/1", about(reference="http://elsewhere/fhir/Group/1"), True),
        (
            "subject:Patient=http://elsewhere/fhir/Group/1",
            about(reference="http://elsewhere/fhir/Group/1"),
            False,
        ),
        ("subject=urn:uuid:1", about(reference="urn:uuid:1"), True),
        ("subject=Patient/1", about(reference="#1"), False),
        ("subject:missing=false", about(display="somebody"), True),
        ("subject:identifier=http://mrn|12", about(identifier={"system": "http://mrn", "value": "12"}), True),
        ("subject:identifier=12", about(identifier={"system": "http://mrn", "value": "12"}), True),
        ("subject:identifier=|12", about(identifier={"system": "http://mrn", "value": "12"}), False),
        ("subject:identifier=|12", about(identifier={"value": "12"}), True),
        ("subject:identifier=12", about(reference="Patient/12"), False),
        ("subject=Patient/1", about(reference="Patient/1", identifier={"value": "12"}), True),
    ],
)
def test_references(query: str, document: dict[str, Any], expected: bool) -> None:
    assert finds(f"Observation?{query}", document) is expected


def test_the_rows_of_a_local_reference() -> None:
    subject = definitions.search_parameters("Observation")["subject"].pid
    assert rows(LOCAL).references == {(subject, "Patient", "1")}
    assert rows(about(reference="#p")).references == set()
    assert rows(about(reference="Nonsense/1")).references == set()


def test_canonicals_are_found_by_url() -> None:
    response = {"resourceType": "QuestionnaireResponse", "id": "x", "questionnaire": "http://q.test/a|2"}
    assert finds("QuestionnaireResponse?questionnaire=http://q.test/a", response)
    assert finds("QuestionnaireResponse?questionnaire=http://q.test/a|2", response)
    assert not finds("QuestionnaireResponse?questionnaire=http://q.test/a|1", response)
    here = {"resourceType": "QuestionnaireResponse", "id": "x", "questionnaire": f"{HERE}/Questionnaire/7"}
    assert finds("QuestionnaireResponse?questionnaire=Questionnaire/7", here)
    assert finds("QuestionnaireResponse?questionnaire=7", here)
    with pytest.raises(BadRequest, match="no search parameter"):
        search("QuestionnaireResponse?questionnaire.tittle=x")


def test_a_resource_inside_a_bundle_is_not_one_of_the_servers() -> None:
    composition = {"resourceType": "Composition", "id": "c"}
    bundle = {"resourceType": "Bundle", "id": "x", "type": "document", "entry": [{"resource": composition}]}
    assert rows(bundle).references == set()
    assert finds("Bundle?composition=Composition/c", bundle)
    assert finds("Bundle?composition=c", bundle)
    assert finds("Bundle?message:missing=true", bundle)


def test_the_list_of_contained_answers_is_walked() -> None:
    subject = {
        "url": "http://hl7.org/fhir/StructureDefinition/questionnaireresponse-isSubject",
        "valueBoolean": True,
    }
    item = {"linkId": "1", "extension": [subject], "answer": [{"valueReference": {"reference": "Patient/1"}}]}
    response = {"resourceType": "QuestionnaireResponse", "id": "x", "item": [item, {"linkId": "2"}]}
    assert finds("QuestionnaireResponse?item-subject=Patient/1", response)
    other = {**response, "item": [{**item, "extension": []}]}
    assert not finds("QuestionnaireResponse?item-subject=Patient/1", other)


WORLD = Shelf(
    [
        {"resourceType": "Organization", "id": "o", "name": "Clinic"},
        {"resourceType": "Patient", "id": "p1", "gender": "male", "name": [{"family": "Doe"}],
         "managingOrganization": {"reference": "Organization/o"}},
        {"resourceType": "Patient", "id": "p2", "gender": "female"},
        {"resourceType": "Group", "id": "g", "identifier": [{"value": "G"}], "type": "person", "actual": True,
         "member": [{"entity": {"reference": "Patient/p2"}}]},
        {"resourceType": "Observation", "id": "a", "subject": {"reference": "Patient/p1"},
         "code": {"coding": [{"code": "hr"}]}, "status": "final"},
        {"resourceType": "Observation", "id": "b", "subject": {"reference": "Patient/p2"},
         "code": {"coding": [{"code": "bp"}]}, "status": "final"},
        {"resourceType": "Observation", "id": "c", "subject": {"reference": "Group/g"},
         "code": {"coding": [{"code": "hr"}]}, "status": "final"},
        {"resourceType": "Provenance", "id": "v", "recorded": "2020-01-01T00:00:00Z",
         "target": [{"reference": "Observation/b"}]},
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Observation?patient.name=doe", "a"),
        ("Observation?subject:Patient.name=doe", "a"),
        ("Observation?subject.name=doe", "a"),
        ("Observation?subject.identifier=G", "c"),
        ("Observation?patient.gender:not=male", "b"),
        ("Observation?patient.gender=male,female", "a b"),
        ("Observation?patient.organization.name=clin", "a"),
        ("Observation?subject:Patient.organization:Organization.name:exact=Clinic", "a"),
        ("Observation?patient._id=p2", "b"),
        ("Observation?patient.name:missing=true", "b"),
        ("Observation?patient._has:Group:member:_id=g", "b"),
        ("Patient?_has:Observation:patient:code=hr", "p1"),
        ("Patient?_has:Observation:subject:code=bp", "p2"),
        ("Patient?_has:Group:member:_id=g", "p2"),
        ("Patient?_has:Observation:patient:_has:Provenance:target:recorded=2020", "p2"),
        ("Patient?_has:Observation:patient:code=hr&gender=female", ""),
        ("Organization?_has:Patient:organization:_has:Observation:patient:code=hr", "o"),
        ("Patient?_has:Group:member:identifier:missing=false", "p2"),
    ],
)
def test_chains(query: str, expected: str) -> None:
    assert WORLD.find(query) == expected.split()


def test_a_chain_to_an_id_is_a_reference() -> None:
    assert isinstance(search("Observation?patient._id=1").where, Refers)
    assert isinstance(search("Observation?patient._id:not=1").where.parts[0], Chain)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Observation?code.name=x", "needs a reference"),
        ("Observation?subject.nonsense=x", "no search parameter"),
        ("Observation?subject:Nonsense.name=x", "not a resource type"),
        ("Observation?subject:Organization.name=x", "does not refer to"),
        ("Observation?patient:Group=1", "does not refer to"),
        ("Observation?patient.birthdate=x", "is not a date"),
        ("Provenance?target.identifier=x", "many types"),
        ("Observation?subject=Nonsense/1", "not a resource type"),
        ("Observation?subject=a b", "no reference"),
        ("Observation?subject:identifier=a|b|c", "system|value"),
        ("Patient?_has:Observation:patient=x", "_has is written"),
        ("Patient?_has=x", "no search parameter"),
        ("Patient?_has:Nonsense:patient:code=x", "not a resource type"),
        ("Patient?_has:Observation:code:code=x", "needs a reference"),
        ("Organization?_has:Observation:subject:code=x", "does not refer to"),
        ("Patient?link.link.link.link.link.link.link.link.name=x", "links at most"),
        ("Task?focus:Task.focus:Task.focus.focus.focus._id=x", ""),
    ],
)
def test_what_is_no_chain_is_refused(query: str, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        search(query)
    assert text in caught.value.issues[0].text


def test_untyped_chains_cannot_explode() -> None:
    with pytest.raises(BadRequest) as caught:
        search("Observation?" + "&".join(["subject.identifier=x"] * 199))
    assert caught.value.issues[0].code == "too-costly"
