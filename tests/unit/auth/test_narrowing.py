"""No kind of condition gets past what narrows a search: a new one has to be thought of here first."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest

from fhirhub.errors import Forbidden, Issue
from fhirhub.search.narrowing import narrowed, pids_of
from fhirhub.search.predicate import And, Not, Or, Predicate, Present, Says, Spoken, Words
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.search.sight import ALL, Sight
from searching import definitions

KINDS: tuple[Any, ...] = get_args(Predicate)
ABOUT_OTHERS = [kind for kind in KINDS if {"part", "type"} <= {each.name for each in fields(kind)}]
SIGHT = Sight({"s": {"Observation": ALL}})
PID = definitions.search_parameters("Observation")["subject"].pid


def _require(action: str, type: str) -> None:
    if not SIGHT.allows(action, type):
        raise Forbidden(Issue("forbidden", type))


def _made(kind: Any, **more: Any) -> Any:
    return kind(**{each.name: more.get(each.name, ()) for each in fields(kind)})


def test_there_are_conditions_about_others() -> None:
    assert len(ABOUT_OTHERS) >= 5


@pytest.mark.parametrize("kind", ABOUT_OTHERS)
def test_what_is_asked_of_others_is_asked_within_reach(kind: Any) -> None:
    """On whatever depth: an operand of a type that cannot be searched is refused."""
    hidden = _made(kind, type="Patient", pid=PID, part=Present(PID))
    for where in (
        hidden,
        And((hidden,)),
        Or((hidden, ALL)),
        Not(hidden),
        _made(kind, type="Observation", pid=PID, part=hidden),
    ):
        with pytest.raises(Forbidden, match="Patient"):
            narrowed(SearchRequest("Observation", where=where), SIGHT, definitions, _require)


@pytest.mark.parametrize("kind", [kind for kind in ABOUT_OTHERS if kind.__name__ != "Contained"])
def test_what_is_asked_of_others_holds_for_what_is_within_reach(kind: Any) -> None:
    within = Present(PID + 1)
    sight = Sight({"s": {"Observation": within}})
    where = _made(kind, type="Observation", pid=PID, part=Present(PID))
    asked = narrowed(SearchRequest("Observation", where=where), sight, definitions, lambda *_: None)
    assert asked.where == And(
        (within, _made(kind, type="Observation", pid=PID, part=And((within, Present(PID)))))
    )


def test_every_condition_tells_the_parameters_it_stands_on() -> None:
    """Else one on a hidden element would go unnoticed; those on texts are refused whatever they stand on."""
    key = PID << VALUE_BITS
    given = {"pid": PID, "key": key, "keys": (key,), "latitude_key": key, "longitude_key": key}
    for kind in KINDS:
        if kind not in (*ABOUT_OTHERS, Says, Spoken, Words) and given.keys() & {
            each.name for each in fields(kind)
        }:
            assert {*pids_of(_made(kind, **given))} == {PID}, kind
