"""The policies that come with the server: every rule does what it says, and a wrong one is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhirhub.auth import policy, preview
from fhirhub.auth.policy import PolicyError
from searching import definitions
from support.access import authority, decided, grant, letters, observation, patient, policies

PEOPLE: dict[str, dict[str, Any]] = {
    "admin": {"role": "admin", "user": "root", "fhir_user": "Practitioner/root"},
    "practitioner": {"role": "practitioner", "user": "doc", "fhir_user": "Practitioner/doc"},
    "frontdesk": {"role": "frontdesk", "user": "desk", "fhir_user": "Practitioner/desk"},
    "biller": {"role": "biller", "user": "bill", "fhir_user": "Practitioner/bill"},
    "patient": {"role": "patient", "user": "ana", "fhir_user": "Patient/ana"},
}
DOC, ANA = {"reference": "Practitioner/doc"}, patient("ana")


def of(type: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": type, "id": "x", **more}


CASES: list[tuple[str, str, dict[str, Any], str]] = [
    # role, the rule it shows ("" for what none allows), resource, what may be done with it
    ("admin", "admin rule 1", of("Organization"), "cruds"),
    ("admin", "admin rule 1", of("Questionnaire"), "cruds"),
    ("admin", "admin rule 2", of("AuditEvent"), "rs"),
    ("admin", "admin rule 2", of("Patient"), "rs"),
    ("admin", "", observation("ana"), ""),
    ("admin", "", of("DocumentReference", subject=ANA), ""),
    ("admin", "", of("Claim", patient=ANA), ""),
    ("practitioner", "practitioner rule 1", observation("ana"), "crus"),
    ("practitioner", "practitioner rule 1", of("Consent", patient=ANA), "crus"),
    ("practitioner", "practitioner rule 2", of("ServiceRequest", status="draft", requester=DOC), "cruds"),
    ("practitioner", "", of("ServiceRequest", status="active", requester=DOC), "crus"),
    ("practitioner", "", of("ServiceRequest", status="draft", requester={"reference": "Practitioner/x"}), "crus"),
    ("practitioner", "practitioner rule 3", of("Composition", status="preliminary", author=[DOC]), "cruds"),
    ("practitioner", "", of("Composition", status="final", author=[DOC]), "crus"),
    ("practitioner", "practitioner rule 4", of("Claim", patient=ANA), "rs"),
    ("practitioner", "practitioner rule 4", of("Practitioner"), "rs"),
    ("practitioner", "", of("AuditEvent"), ""),
    ("practitioner", "", of("Subscription"), ""),
    ("frontdesk", "frontdesk rule 1", of("Appointment"), "crus"),
    ("frontdesk", "frontdesk rule 1", of("Patient"), "crus"),
    ("frontdesk", "frontdesk rule 2", of("Slot"), "cruds"),
    ("frontdesk", "frontdesk rule 3", of("Practitioner"), "rs"),
    ("frontdesk", "", observation("ana"), ""),
    ("frontdesk", "", of("Condition", subject=ANA), ""),
    ("frontdesk", "", of("DocumentReference", subject=ANA), ""),
    ("frontdesk", "", of("MedicationRequest", subject=ANA), ""),
    ("biller", "biller rule 1", of("Claim", patient=ANA), "crus"),
    ("biller", "biller rule 2", of("Condition", subject=ANA), "rs"),
    ("biller", "", observation("ana"), ""),
    ("biller", "", of("DocumentReference", subject=ANA), ""),
    ("patient", "patient rule 1", of("Condition", subject=ANA), "rs"),
    ("patient", "patient rule 1", of("Claim", patient=ANA), "rs"),
    ("patient", "patient rule 1", of("AuditEvent", entity=[{"what": ANA}]), "rs"),
    ("patient", "", of("AuditEvent", entity=[{"what": patient("bob")}]), ""),
    ("patient", "", of("Condition", subject=patient("bob")), ""),
    ("patient", "patient rule 2", of("Organization"), "rs"),
    ("patient", "", of("Endpoint"), ""),
    ("patient", "patient rule 3", observation("ana"), "crs"),
    ("patient", "patient rule 4", observation("ana", performer=[ANA]), "crus"),
    ("patient", "", observation("ana", performer=[DOC]), "rs"),
    ("patient", "", observation("bob", performer=[ANA]), ""),
    ("patient", "patient rule 5", of("QuestionnaireResponse", subject=ANA), "crs"),
    ("patient", "patient rule 6", of("QuestionnaireResponse", subject=ANA, author=ANA), "crus"),
    ("patient", "patient rule 6", of("DocumentReference", subject=ANA, author=[ANA]), "crus"),
    ("patient", "", of("DocumentReference", subject=ANA, author=[DOC]), "rs"),
    ("patient", "patient rule 7", of("Patient", id="ana"), "rus"),
    ("patient", "", of("Patient", id="bob"), ""),
    ("patient", "", of("Provenance", target=[ANA], agent=[{"who": ANA}]), "rs"),
    ("patient", "", of("Provenance", target=[patient("bob")], agent=[{"who": ANA}]), ""),
]  # fmt: skip


@pytest.mark.parametrize(("role", "rule", "document", "expected"), CASES)
def test_roles(role: str, rule: str, document: dict[str, Any], expected: str) -> None:
    given = grant("user/*.cruds", **PEOPLE[role])
    assert letters(decided(given), document) == expected
    if rule:
        found = {way.rule for view in preview.of_role(policies, role).types for way in view.ways
                 if view.type == document["resourceType"]}  # fmt: skip
        assert rule in found


def test_every_rule_is_shown_by_a_case() -> None:
    named = {rule.name for role in policies.roles.values() for rule in role.rules}
    assert named == {rule for _, rule, _, _ in CASES if rule}


def test_every_type_has_its_group() -> None:
    assert {type for some in policies.groups.values() for type in some} == set(definitions.resource_types)


def test_nobody_deletes_the_medical_record() -> None:
    for role in policies.roles.values():
        for rule in role.rules:
            if "d" in rule.may and not rule.where:
                assert not set(rule.types) & set(policies.groups["clinical"]), rule.name


def test_the_policies_can_be_applied() -> None:
    authority.check()
    assert set(policies.roles) == set(PEOPLE)


def test_hidden_and_writable_name_real_elements() -> None:
    for role in policies.roles.values():
        for table in (role.hidden, role.writable):
            for type, names in table.items():
                assert names <= {element.name for element in definitions.types[type].elements}, (
                    role.name,
                    type,
                )


def test_secrets_of_the_directory_are_the_administrators() -> None:
    for name, role in policies.roles.items():
        if name != "admin" and any("Endpoint" in rule.types for rule in role.rules):
            assert "header" in role.hidden["Endpoint"], name


def test_boundary_names_real_parameters() -> None:
    boundary = policies.boundary
    for table in (boundary.only, boundary.also):
        for type, codes in table.items():
            assert set(codes) <= set(definitions.search_parameters(type)), type
    formal = definitions.compartments["Patient"]
    assert not boundary.shared & {type for type, codes in formal.items() if codes}
    for type in ("AllergyIntolerance", "Condition", "Coverage", "Encounter", "Observation", "Immunization"):
        about, _ = authority.rules.membership.parameters(type)
        assert about, type


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ({"roles": {"x": {"rules": [{"types": ["Nothing"], "may": "r"}]}}}, "'Nothing' is no resource type"),
        ({"roles": {"x": {"rules": [{"types": ["@nothing"], "may": "r"}]}}}, "no group @nothing"),
        ({"roles": {"x": {"rules": [{"types": [], "may": "r"}]}}}, "types is empty"),
        ({"roles": {"x": {"rules": [{"types": ["*"], "may": "sr"}]}}}, "in this order"),
        ({"roles": {"x": {"rules": [{"types": ["*"], "may": ""}]}}}, "in this order"),
        ({"roles": {"x": {"rules": [{"types": ["*"], "may": "r", "when": "x"}]}}}, "'when' is unknown"),
        ({"roles": {"x": {"rules": [{"types": ["*"], "may": "r", "where": "?a=b"}]}}}, "without type"),
        ({"roles": {"x": {"rules": [{"types": ["*"], "may": "r", "own": "yes"}]}}}, "true or false"),
        ({"roles": {"x": {"rules": ["Patient.r"]}}}, "a rule is a table"),
        ({"roles": {"x": {"hidden": {"Nothing": ["a"]}}}}, "'Nothing' is no resource type"),
        ({"roles": {"x": {"writable": {"Patient": "name"}}}}, "a list of texts"),
        ({"roles": {"x": {"hide": {}}}}, "'hide' is unknown"),
        ({"groups": {"a": ["Nothing"]}}, "group a"),
    ],
)
def test_mistakes_are_named(roles: dict[str, Any], problem: str) -> None:
    with pytest.raises(PolicyError, match=problem.replace("(", r"\(").replace("?", r"\?")):
        policy.read(roles, {}, {}, definitions.resource_types)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"labels": [{"name": "a", "codes": ["R"], "roles": []}]}, "system|code"),
        ({"labels": [{"name": "a", "codes": [], "roles": []}]}, "system|code"),
        ({"labels": [{"name": "a", "codes": ["x|R"], "roles": ["wizard"]}]}, "no role 'wizard'"),
        ({"consent": {"opaque": ["Nothing"]}}, "no resource type"),
    ],
)
def test_mistakes_in_labels_are_named(labels: dict[str, Any], problem: str) -> None:
    with pytest.raises(PolicyError, match=problem.replace("|", r"\|")):
        policy.read({}, {}, labels, definitions.resource_types)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="roles.toml"):
        policy.load(tmp_path, definitions.resource_types)
    (tmp_path / "roles.toml").write_text("[roles")
    with pytest.raises(PolicyError, match="roles.toml"):
        policy.load(tmp_path, definitions.resource_types)


@pytest.mark.parametrize(
    "where", ["nothing=1", "code", "subject:Patient.name=x", "_text=x", "_has:Task:focus:code=1"]
)
def test_criteria_that_cannot_be_applied_are_named(where: str) -> None:
    roles = {"roles": {"x": {"rules": [{"types": ["Observation"], "may": "r", "where": where}]}}}
    made = policy.read(roles, {"shared": ["ValueSet"]}, {}, definitions.resource_types)
    with pytest.raises(PolicyError, match="x rule 1"):
        authority.rules.check(made.roles["x"])


def test_preview_says_who_may_what_and_why() -> None:
    shown = preview.of_role(policies, "patient", "Patient/ana")
    views = {view.type: view for view in shown.types}
    assert views["Observation"].letters == "crus"
    assert [way.condition for way in views["Observation"].ways] == [
        "in the own record",
        "in the own record, found by performer:missing=true",
        "in the own record, found by performer=Patient/ana",
    ]
    assert all(way.why for view in shown.types for way in view.ways)
    assert views["Patient"].writable == ("address", "communication", "contact", "telecom")
    assert "Subscription" not in views
    closed = preview.of_role(policies, "practitioner").closed
    assert {label.name for label in closed} == {
        "very restricted",
        "psychotherapy notes",
        "substance use treatment",
    }
    assert all(label.glass and label.why and label.codes for label in closed)
    assert preview.of_role(policies, "biller").types[0].type == "Account"
