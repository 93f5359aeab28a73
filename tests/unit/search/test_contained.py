"""Rows of contained resources, and who may ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import Forbidden
from fhirhub.search.contained import MOST
from fhirhub.search.narrowing import narrowed
from fhirhub.search.predicate import And, Contained, Predicate, Refers
from fhirhub.search.request import SearchRequest
from fhirhub.search.sight import ALL, Sight
from searching import definitions, finds, parser, rows

OWN = Refers(1, (("Patient", "1"),))


def require(action: str, type: str) -> None:
    if type == "Organization":
        raise Forbidden([])


def sight(hidden: dict[str, frozenset[str]] | None = None) -> Sight:
    types = ("MedicationRequest", "Medication", "Practitioner")
    within: dict[str, Predicate] = dict.fromkeys(types, ALL) | {"MedicationRequest": OWN}
    return Sight({"s": within, "r": within}, hidden=hidden or {})


def asked(type: str, *pairs: tuple[str, str]) -> SearchRequest:
    return parser.parse(type, pairs, contained=True)


def inside(where: Any) -> list[Contained]:
    if isinstance(where, Contained):
        return [where]
    return [leaf for part in getattr(where, "parts", ()) for leaf in inside(part)]


def test_what_contains_them_must_be_in_sight() -> None:
    request = asked("Practitioner", ("family", "a"), ("_contained", "true"))
    found = narrowed(request, sight(), definitions, require)
    assert isinstance(found.where, And)
    within, criterion = found.where.parts
    assert repr(OWN) in repr(within), "the rule of the container holds for what is found by what it contains"
    assert inside(criterion) and repr(OWN) not in repr(criterion)


@pytest.mark.parametrize(
    ("request_", "hidden"),
    [
        (asked("Organization", ("name", "a"), ("_contained", "true")), {}),
        (asked("MedicationRequest", ("requester:Organization.name", "a")), {}),
        (asked("MedicationRequest", ("requester:Practitioner.family", "a")), {"Practitioner": {"name"}}),
        (
            asked("MedicationRequest", ("requester:Practitioner.family", "a")),
            {"MedicationRequest": {"contained"}},
        ),
        (asked("MedicationRequest", ("medication.code", "a")), {"MedicationRequest": {"medication"}}),
        (asked("Practitioner", ("family", "a"), ("_contained", "true")), {"Practitioner": {"name"}}),
    ],
)
def test_what_is_out_of_reach_cannot_be_asked_of_them(
    request_: SearchRequest, hidden: dict[str, set[str]]
) -> None:
    with pytest.raises(Forbidden):
        narrowed(
            request_, sight({type: frozenset(names) for type, names in hidden.items()}), definitions, require
        )


def container(count: int) -> dict[str, Any]:
    contained = [
        {"resourceType": "Practitioner", "id": f"c{n}", "name": [{"family": f"Name{n}"}]}
        for n in range(count)
    ]
    return {
        "resourceType": "MedicationRequest", "id": "x", "contained": contained,
        "requester": {"reference": f"#c{count - 1}"},
    }  # fmt: skip


def test_the_first_of_a_type_are_found() -> None:
    assert finds(f"MedicationRequest?requester:Practitioner.family=Name{MOST - 1}", container(MOST))
    assert not finds("MedicationRequest?requester:Practitioner.family=Name0", container(MOST))
    assert len(rows(container(MOST + 5)).inside) == MOST


@pytest.mark.parametrize(
    "contained",
    ["x", {}, [1], [{"resourceType": "Nonsense", "id": "a"}], [{"resourceType": []}], [{"id": "a"}]],
)
def test_nonsense_makes_no_rows(contained: Any) -> None:
    assert not rows({"resourceType": "Basic", "id": "x", "contained": contained}).inside
