"""Search expressions: what they parse to and what they find."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.definitions.tables import load
from fhirhub.fhirpath.compile import ExpressionError, compile_expression, expression_routes, parse

definitions = load()


def values(expression: str, type: str, **document: Any) -> list[tuple[str, Any]]:
    return compile_expression(expression, type, definitions)({"resourceType": type, **document})


def test_everything_the_search_parameters_use_compiles() -> None:
    count = 0
    for type in definitions.resource_types:
        for parameter in definitions.search_parameters(type).values():
            if parameter.expression:
                assert expression_routes(parameter.expression, type, definitions, type)
                count += 1
    assert count > 2000


@pytest.mark.parametrize(
    ("expression", "type", "document", "expected"),
    [
        ("Patient.gender", "Patient", {"gender": "male"}, [("code", "male")]),
        (
            "Patient.name.given",
            "Patient",
            {"name": [{"given": ["A", None, "B"]}, {}, {"given": ["C"]}]},
            [("string", "A"), ("string", "B"), ("string", "C")],
        ),
        (
            "Patient.name | Patient.gender",
            "Patient",
            {"gender": "male", "name": [{"family": "A"}]},
            [("HumanName", {"family": "A"}), ("code", "male")],
        ),
        (
            "Observation.value as Quantity",
            "Observation",
            {"valueQuantity": {"value": 1}},
            [("Quantity", {"value": 1})],
        ),
        ("(Observation.value as Quantity)", "Observation", {"valueString": "x"}, []),
        ("Observation.value.as(DateTime)", "Observation", {"valueDateTime": "2020"}, [("dateTime", "2020")]),
        ("Observation.value.ofType(string)", "Observation", {"valueString": "x"}, [("string", "x")]),
        (
            "(Observation.value as CodeableConcept).text",
            "Observation",
            {"valueCodeableConcept": {"text": "x"}},
            [("string", "x")],
        ),
        (
            "Observation.effective",
            "Observation",
            {"effectivePeriod": {"start": "2020"}},
            [("Period", {"start": "2020"})],
        ),
        (
            "Patient.telecom.where(system='phone')",
            "Patient",
            {"telecom": [{"system": "email", "value": "e"}, {"system": "phone", "value": "p"}]},
            [("ContactPoint", {"system": "phone", "value": "p"})],
        ),
        (
            "Bundle.entry[0].resource",
            "Bundle",
            {"entry": [{"resource": {"id": "a"}}, {"resource": {"id": "b"}}]},
            [("Resource", {"id": "a"})],
        ),
        (
            "Patient.extension('http://x')",
            "Patient",
            {"extension": [{"url": "http://x", "valueString": "v"}, {"url": "http://y", "valueString": "w"}]},
            [("string", "v")],
        ),
        (
            "Patient.deceased.exists() and Patient.deceased != false",
            "Patient",
            {"deceasedDateTime": "2020"},
            [("boolean", True)],
        ),
        ("Patient.deceased.exists() and Patient.deceased != false", "Patient", {}, [("boolean", False)]),
        (
            "Observation.component.referenceRange.low",
            "Observation",
            {"component": [{"referenceRange": [{"low": {"value": 1}}]}]},
            [("Quantity", {"value": 1})],
        ),
        ("Resource.meta.tag", "Patient", {"meta": {"tag": [{"code": "t"}]}}, [("Coding", {"code": "t"})]),
    ],
)
def test_values(
    expression: str, type: str, document: dict[str, Any], expected: list[tuple[str, Any]]
) -> None:
    assert values(expression, type, **document) == expected


def test_routes_know_what_they_restrict() -> None:
    (route,) = expression_routes(
        "Observation.subject.where(resolve() is Patient)", "Observation", definitions
    )
    assert route.resolves == "Patient" and route.type_name == "Reference" and "Group" in route.targets
    (route,) = expression_routes("Patient.gender", "Patient", definitions)
    assert route.binding == "http://hl7.org/fhir/ValueSet/administrative-gender"
    (route,) = expression_routes("%resource.gender", "Patient.contact", definitions, "Patient")
    assert route.from_root


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "Patient.",
        "Patient.name(",
        "Patient.name.first()",
        "Patient.name |",
        "Patient.where(a>1)",
        "(Patient.name",
        "Patient.name[x]",
        "Patient.name 'x'",
        "Patient.extension(url)",
    ],
)
def test_what_is_not_served_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        parse(expression)


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(ExpressionError, match="nonsense"):
        expression_routes("Patient.nonsense", "Patient", definitions)
