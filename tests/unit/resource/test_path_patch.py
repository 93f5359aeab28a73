"""FHIRPath Patch, after the test cases of the specification."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.definitions.tables import load
from fhirhub.errors import FhirError
from fhirhub.resource import json
from fhirhub.resource.path_patch import fhirpath_patch

DEFINITIONS = load()


def operation(type: str, path: str, **parts: Any) -> dict[str, Any]:
    made: list[dict[str, Any]] = [{"name": "type", "valueCode": type}, {"name": "path", "valueString": path}]
    for name, value in parts.items():
        if name == "value":
            made.append({"name": "value", **(value if type_of(value) is dict else {"part": value})})
        elif type_of(value) is int:
            made.append({"name": name, "valueInteger": value})
        else:
            made.append({"name": name, "valueString": value})
    return {"name": "operation", "part": made}


type_of = type


def patched(document: dict[str, Any], *operations: Any) -> dict[str, Any]:
    parameters = {"resourceType": "Parameters", "parameter": list(operations)}
    before = json.copy(document)
    after = fhirpath_patch(document, parameters, DEFINITIONS)
    assert json.equal(document, before)
    return after


P = {"resourceType": "Patient", "id": "1"}
IDS = [
    {"system": "http://a", "value": "1"},
    {"system": "http://b", "value": "2"},
    {"system": "http://c", "value": "3"},
]


@pytest.mark.parametrize(
    ("before", "operations", "after"),
    [
        (
            {},
            [operation("add", "Patient", name="birthDate", value={"valueDate": "1930-01-01"})],
            {"birthDate": "1930-01-01"},
        ),
        (
            {"birthDate": "1920"},
            [operation("replace", "Patient.birthDate", value={"valueDate": "1930"})],
            {"birthDate": "1930"},
        ),
        ({"birthDate": "1920"}, [operation("delete", "Patient.birthDate")], {}),
        ({}, [operation("delete", "Patient.birthDate")], {}),
        (
            {},
            [
                operation(
                    "add",
                    "Patient",
                    name="contact",
                    value=[{"name": "name", "valueHumanName": {"text": "a name"}}],
                )
            ],
            {"contact": [{"name": {"text": "a name"}}]},
        ),
        (
            {"contact": [{"name": {"text": "a"}, "gender": "male"}]},
            [
                operation("delete", "Patient.contact[0].gender"),
                operation("replace", "Patient.contact[0].name.text", value={"valueString": "the name"}),
            ],
            {"contact": [{"name": {"text": "the name"}}]},
        ),
        (
            {"contact": [{"name": {"text": "a"}}]},
            [operation("add", "Patient.contact[0]", name="gender", value={"valueCode": "male"})],
            {"contact": [{"name": {"text": "a"}, "gender": "male"}]},
        ),
        (
            {"contact": [{"gender": "male"}], "active": True},
            [operation("delete", "Patient.contact[0].gender")],
            {"active": True},
        ),
        (
            {"maritalStatus": {"text": "x"}},
            [operation("replace", "Patient.maritalStatus", value={"valueCodeableConcept": {"text": "y"}})],
            {"maritalStatus": {"text": "y"}},
        ),
        (
            {"identifier": IDS[:2]},
            [operation("insert", "Patient.identifier", index=1, value={"valueIdentifier": IDS[2]})],
            {"identifier": [IDS[0], IDS[2], IDS[1]]},
        ),
        (
            {},
            [operation("insert", "Patient.identifier", index=0, value={"valueIdentifier": IDS[2]})],
            {"identifier": [IDS[2]]},
        ),
        (
            {"identifier": IDS},
            [operation("move", "Patient.identifier", source=2, destination=0)],
            {"identifier": [IDS[2], IDS[0], IDS[1]]},
        ),
        ({"identifier": IDS}, [operation("delete", "Patient.identifier[0]")], {"identifier": IDS[1:]}),
        (
            {"identifier": IDS},
            [operation("delete", "Patient.identifier.where(system = 'http://b' and value = '2')")],
            {"identifier": [IDS[0], IDS[2]]},
        ),
        ({"identifier": IDS}, [operation("delete", "identifier.last()")], {"identifier": IDS[:2]}),
        (
            {"identifier": IDS},
            [operation("replace", "Patient.identifier.first().value", value={"valueString": "9"})],
            {"identifier": [{"system": "http://a", "value": "9"}, *IDS[1:]]},
        ),
        (
            {"name": [{"given": ["a", "b"]}]},
            [operation("insert", "Patient.name[0].given", index=1, value={"valueString": "x"})],
            {"name": [{"given": ["a", "x", "b"]}]},
        ),
        (
            {"name": [{"given": ["a"]}]},
            [operation("add", "Patient.name[0]", name="given", value={"valueString": "x"})],
            {"name": [{"given": ["a", "x"]}]},
        ),
        (
            {"name": [{"given": ["a"]}], "active": True},
            [operation("delete", "Patient.name.given")],
            {"active": True},
        ),
        (
            {"deceasedBoolean": True},
            [operation("replace", "Patient.deceased", value={"valueDateTime": "2020"})],
            {"deceasedDateTime": "2020"},
        ),
        ({"deceasedBoolean": True}, [operation("delete", "Patient.deceased")], {}),
        (
            {},
            [operation("add", "Patient", name="deceased", value={"valueBoolean": False})],
            {"deceasedBoolean": False},
        ),
        (
            {"name": [{"given": ["a", "b"], "_given": [None, {"id": "2"}]}]},
            [operation("move", "Patient.name[0].given", source=1, destination=0)],
            {"name": [{"given": ["b", "a"], "_given": [{"id": "2"}, None]}]},
        ),
        (
            {"birthDate": "1930", "_birthDate": {"extension": [{"url": "http://x", "valueString": "t"}]}},
            [
                operation(
                    "replace", "Patient.birthDate.extension('http://x').value", value={"valueString": "u"}
                )
            ],
            {"birthDate": "1930", "_birthDate": {"extension": [{"url": "http://x", "valueString": "u"}]}},
        ),
        (
            {"birthDate": "1930", "_birthDate": {"extension": [{"url": "http://x", "valueString": "t"}]}},
            [operation("delete", "Patient.birthDate.extension[0]")],
            {"birthDate": "1930"},
        ),
        (
            {"extension": [{"url": "http://x", "valueString": "t"}, {"url": "http://y", "valueInteger": 1}]},
            [
                operation(
                    "replace",
                    "Patient.extension('http://y').value.ofType(integer)",
                    value={"valueInteger": 2},
                )
            ],
            {"extension": [{"url": "http://x", "valueString": "t"}, {"url": "http://y", "valueInteger": 2}]},
        ),
        (
            {"extension": [{"url": "http://x"}, {"url": "http://y", "valueInteger": 1}]},
            [
                operation(
                    "delete", "Patient.extension.where(value.exists()).where($this.value as integer = 1)"
                )
            ],
            {"extension": [{"url": "http://x"}]},
        ),
        (
            {"telecom": [{"use": "home"}, {"use": "work"}, {"system": "sms"}]},
            [operation("delete", "Patient.telecom.where(use.empty() or use = 'home').first()")],
            {"telecom": [{"use": "work"}, {"system": "sms"}]},
        ),
        (
            {},
            [
                operation(
                    "add",
                    "Patient",
                    name="active",
                    value={"valueBoolean": True, "_valueBoolean": {"id": "a"}},
                )
            ],
            {"active": True, "_active": {"id": "a"}},
        ),
        (
            {"contact": [{"gender": "male"}]},
            [
                operation(
                    "add",
                    "Patient",
                    name="contact",
                    value=[
                        {"name": "gender", "valueCode": "female"},
                        {"name": "relationship", "valueCodeableConcept": {"text": "a"}},
                        {"name": "relationship", "valueCodeableConcept": {"text": "b"}},
                    ],
                )
            ],
            {
                "contact": [
                    {"gender": "male"},
                    {"gender": "female", "relationship": [{"text": "a"}, {"text": "b"}]},
                ]
            },
        ),
    ],
)
def test_applies(before: dict[str, Any], operations: list[Any], after: dict[str, Any]) -> None:
    assert patched({**P, **before}, *operations) == {**P, **after}


@pytest.mark.parametrize(
    ("broken", "status", "words"),
    [
        ({"name": "x"}, 400, "named operation"),
        (3, 400, "named operation"),
        ({"name": "operation"}, 400, "part type must have"),
        (operation("change", "Patient"), 400, "type must be one of"),
        (operation("add", "Patient", name="x"), 400, "needs a part value"),
        (operation("insert", "Patient.name", value={"valueString": "x"}), 400, "needs a part index"),
        (operation("delete", "Patient.name."), 400, "ends too early"),
        (operation("delete", "Patient.name[x]"), 400, "unexpected 'x'"),
        (operation("delete", "Patient.name.select(given)"), 400, "select() is not among"),
        (operation("delete", "Patient.name.where(use = 'a'"), 400, "is missing"),
        (operation("delete", "Patient name"), 400, "unexpected 'name'"),
        (operation("delete", "Patient.name; drop"), 400, "unexpected"),
        (operation("delete", "(" * 50 + "Patient"), 400, "too deep"),
        (operation("delete", "Patient." + "a" * 3000), 400, "longer than"),
        (operation("move", "Patient.name", source=-1, destination=0), 400, "at least 0"),
        (operation("delete", "Patient.name"), 422, "not to 2 elements"),
        (operation("delete", "Patient"), 422, "whole resource"),
        (operation("replace", "Patient.gender", value={"valueCode": "male"}), 422, "not to nothing"),
        (operation("add", "Patient.active", name="x", value={"valueString": "x"}), 422, "primitive"),
        (operation("add", "Patient", name="x", value={"valueString": "x"}), 422, "has no element x"),
        (operation("add", "Patient", name="active", value={"valueBoolean": False}), 422, "may not repeat"),
        (
            operation("add", "Patient", name="deceased", value={"valueString": "x"}),
            422,
            "cannot be of type String",
        ),
        (
            operation("add", "Patient", name="contact", value=[{"name": "x", "valueCode": "y"}]),
            422,
            "no element x",
        ),
        (operation("insert", "Patient.name", index=3, value={"valueHumanName": {}}), 422, "beyond the end"),
        (
            operation("insert", "Patient.active", index=0, value={"valueBoolean": True}),
            422,
            "all of one list",
        ),
        (operation("insert", "Patient.gender", index=0, value={"valueCode": "male"}), 422, "may not repeat"),
        (operation("move", "Patient.name", source=0, destination=2), 422, "beyond the end"),
        (operation("move", "Patient.name[0]", source=0, destination=0), 422, "all of one list"),
        (operation("replace", "Patient.id", value={"valueId": "2"}), 422, "must not change id"),
        (operation("delete", "Patient.id"), 422, "must not change id"),
    ],
)
def test_refused(broken: Any, status: int, words: str) -> None:
    document = {**P, "active": True, "name": [{"family": "a"}, {"family": "b"}]}
    with pytest.raises(FhirError) as caught:
        patched(document, broken)
    assert caught.value.status == status
    assert words in caught.value.issues[0].text


def test_cost_is_bounded() -> None:
    items = [{"linkId": str(n), "item": [{"linkId": "x"}] * 20} for n in range(200)]
    document = {"resourceType": "Questionnaire", "item": items}
    path = "item.where(item.where(item.where(linkId = 'q').exists()).exists() or item.linkId = 'a')"
    with pytest.raises(FhirError) as caught:
        patched(document, *[operation("delete", path)] * 200)
    assert caught.value.issues[0].code == "too-costly"


_paths = st.lists(
    st.sampled_from(
        [
            "Patient",
            "name",
            "given",
            "[0]",
            "[1]",
            ".",
            "first()",
            "where(",
            ")",
            "use = 'a'",
            "extension('x')",
            "(",
        ]
        + [
            "active",
            "contact",
            "deceased",
            "ofType(string)",
            " and ",
            "$this",
            "exists()",
            "birthDate",
            " as ",
            "'",
        ]
    ),
    max_size=6,
).map("".join)
_values = st.sampled_from(
    [
        {"valueString": "x"},
        {"valueHumanName": {"given": ["q"]}},
        {"_valueString": {"id": "1"}},
        [],
        [{"name": "use"}],
    ]
    + [{"valueBoolean": True}, [{"name": "given", "valueString": "x"}], {"resource": {}}, {}]
)
_names = st.sampled_from(["name", "given", "active", "contact", "deceased", "extension", "id", "contained"])
_operations = st.builds(
    operation,
    st.sampled_from(["add", "insert", "delete", "replace", "move"]),
    _paths | st.just("Patient.name") | st.just("Patient") | st.just("Patient.name[0].given"),
    name=_names,
    value=_values,
    index=st.integers(0, 2),
    source=st.integers(0, 2),
    destination=st.integers(0, 2),
)


@given(st.lists(_operations, min_size=1, max_size=4))
def test_any_patch_applies_or_is_refused(operations: list[Any]) -> None:
    document = {
        **P,
        "name": [{"given": ["a", "b"], "_given": [None, {"id": "x"}]}, {"use": "a"}],
        "_birthDate": {"extension": [{"url": "x", "valueString": "y"}]},
        "deceasedBoolean": True,
    }
    try:
        json.dumps(patched(document, *operations))
    except FhirError as error:
        assert error.status in (400, 422)
