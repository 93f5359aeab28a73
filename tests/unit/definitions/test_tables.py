"""The compiled definitions say what the R4 specification says."""

from __future__ import annotations

import pytest

from fhirhub.definitions import tables
from fhirhub.definitions.tables import Definitions, TypeRef


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return tables.load()


def test_all_resource_types_are_there_and_numbered(definitions: Definitions) -> None:
    assert len(definitions.resource_types) == 146
    assert list(definitions.resource_types) == sorted(definitions.resource_types)
    assert len(set(definitions.type_number.values())) == 146
    assert definitions.type_number["Account"] == 1
    assert all(definitions.types[name].kind == "resource" for name in definitions.resource_types)


def test_every_type_can_be_built_and_leads_to_types(definitions: Definitions) -> None:
    for name in definitions.types:
        definition = definitions.types[name]
        assert [element.order for element in definition.elements] == list(range(len(definition.elements)))
        for json_name, held in definition.properties.items():
            assert json_name == held.name
            assert held.type_name in definitions.types, (name, json_name)


def test_choice_elements_have_a_property_for_each_type(definitions: Definitions) -> None:
    held = definitions.types["Observation"].properties["valueQuantity"]
    assert held.element.path == "Observation.value[x]"
    assert (held.element.name, held.element.is_choice, held.type) == ("value", True, TypeRef("Quantity"))
    assert "value" not in definitions.types["Observation"].properties
    assert len([name for name in definitions.types["Extension"].properties if name.startswith("value")]) == 50


def test_elements_declared_in_place_and_by_reference(definitions: Definitions) -> None:
    assert definitions.types["Patient"].properties["contact"].type_name == "Patient.contact"
    assert definitions.types["Patient.contact"].kind == "backbone"
    component = definitions.types["Observation.component"]
    assert component.properties["referenceRange"].type_name == "Observation.referenceRange"
    assert definitions.types["Timing.repeat"].base == "Element"


def test_cardinality_binding_and_flags(definitions: Definitions) -> None:
    status = definitions.types["Observation"].properties["status"].element
    assert (status.min, status.max, status.is_summary, status.is_modifier) == (1, 1, True, True)
    assert status.binding == "http://hl7.org/fhir/ValueSet/observation-status"
    assert definitions.types["Observation"].properties["category"].element.max == -1
    assert definitions.types["Observation"].properties["code"].element.binding is None
    system = "http://hl7.org/fhir/observation-status"
    assert (system, "final") in (definitions.value_set(status.binding) or ())
    assert definitions.value_set("http://hl7.org/fhir/ValueSet/ucum-units") is None


def test_reference_targets(definitions: Definitions) -> None:
    subject = definitions.types["Observation"].properties["subject"]
    assert set(subject.type.targets) == {"Patient", "Group", "Device", "Location"}
    assert definitions.types["Observation"].properties["focus"].type.targets == ()


def test_ids_and_urls_have_their_types(definitions: Definitions) -> None:
    assert definitions.types["Patient"].properties["id"].type.code == "id"
    assert definitions.types["HumanName"].properties["id"].type.code == "string"
    assert definitions.types["Extension"].properties["url"].type.code == "uri"
    assert list(definitions.types["code"].properties) == ["id", "extension"]


@pytest.mark.parametrize(
    ("type_", "code", "expression"),
    [
        ("Observation", "patient", "Observation.subject.where(resolve() is Patient)"),
        ("Observation", "code", "Observation.code"),
        ("Observation", "combo-code", "Observation.code | Observation.component.code"),
        ("Observation", "_id", "Observation.id"),
        ("InsurancePlan", "name", "InsurancePlan.name | InsurancePlan.alias"),
        ("MedicationRequest", "medication", "(MedicationRequest.medication as Reference)"),
        ("Patient", "email", "Patient.telecom.where(system='email')"),
        ("Patient", "_text", ""),
    ],
)
def test_expressions_apply_to_their_type_only(
    definitions: Definitions, type_: str, code: str, expression: str
) -> None:
    assert definitions.search_parameters(type_)[code].expression == expression


def test_targets_are_no_wider_than_the_expression(definitions: Definitions) -> None:
    assert definitions.search_parameters("Observation")["patient"].targets == ("Patient",)
    assert definitions.search_parameters("AllergyIntolerance")["patient"].targets == ("Patient",)
    assert "Group" in definitions.search_parameters("Observation")["subject"].targets
    assert definitions.search_parameters("Provenance")["target"].targets == ()


def test_composites_name_the_codes_of_their_components(definitions: Definitions) -> None:
    parameter = definitions.search_parameters("Observation")["code-value-date"]
    assert parameter.components == (
        ("code", "code"),
        ("value-date", "value.as(dateTime) | value.as(Period)"),
    )
    for type_ in definitions.resource_types:
        known = definitions.search_parameters(type_)
        for one in known.values():
            assert all(code in known for code, _ in one.components), (type_, one.code)


def test_pids_are_unique_and_fit_fourteen_bits(definitions: Definitions) -> None:
    assert all(0 < pid < 16384 for pid in definitions.by_pid)
    for pid in definitions.by_pid:
        parameter = definitions.by_pid[pid]
        assert definitions.search_parameters(parameter.type)[parameter.code] is parameter
    # Stores keep these numbers: a change here would silently break every index.
    assert definitions.search_parameters("Observation")["subject"].pid == 2392
    assert definitions.search_parameters("Account")["_content"].pid == 1


def test_sort_dates_are_date_parameters(definitions: Definitions) -> None:
    for type_, code in definitions.sort_date.items():
        assert definitions.search_parameters(type_)[code].kind == "date"
    assert definitions.sort_date["Observation"] == "date"
    assert definitions.sort_date["MedicationRequest"] == "authoredon"
    assert definitions.sort_date["Condition"] == "onset-date"
    assert definitions.sort_date["Claim"] == "created"
    assert "Patient" not in definitions.sort_date


def test_compartments(definitions: Definitions) -> None:
    named = ["Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"]
    assert sorted(definitions.compartments) == named
    assert definitions.compartments["Patient"]["Observation"] == ("subject", "performer")
    for members in definitions.compartments.values():
        for type_, codes in members.items():
            known = definitions.search_parameters(type_)
            assert all(code in known or code == "{def}" for code in codes), (type_, codes)
