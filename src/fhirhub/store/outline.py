"""The plan of a search by the rules alone: nothing that is stored, and no statistics of it, has a say.

It is what those are told who may not know how much there is of anything.
"""

from __future__ import annotations

from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import (
    Below,
    Cited,
    Cites,
    Concepts,
    Contained,
    Keys,
    Kin,
    Measure,
    Predicate,
    Quantity,
    Refers,
    Spoken,
    Text,
    Worded,
    Words,
    rewritten,
)
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.search.said import said
from fhirhub.store.plan import Plan, choose, parts_of
from fhirhub.store.predicates import Compiler
from fhirhub.store.ranges import Condition, fold
from fhirhub.store.statistics import Statistics

UNDRIVEN = "No criterion can drive an index: all resources of the type are looked at until the page is full."
LOOKED_THROUGH = (
    "This :contains looks through the values of its parameter; a plain search uses the index in its order."
)


def outlined(
    definitions: Definitions, request: SearchRequest, within: Predicate, main_date: int | None
) -> tuple[Plan, str]:
    """The plan of ``request`` by somebody who sees what fulfils ``within``, and what drives it, in words."""
    keys: dict[Condition, tuple[int, ...]] = {}

    def plain(where: Predicate) -> list[Condition]:
        return [fold(rewritten(part, lambda leaf: _stand_in(leaf, keys))) for part in parts_of(where)]

    bounds, own = plain(within), plain(request.where)
    types = tuple(definitions.type_number[each] for each in request.types or (request.type,))
    compiler = Compiler(definitions, Statistics(numbers=definitions.type_number), keys, types)
    plan = choose(request, (*bounds, *own), compiler, main_date)
    if plan.driver < 0:
        return plan, "all resources of the type" if request.type else "all resources of these types"
    if plan.driver < len(bounds):
        return plan, "what you may see"
    return plan, said(definitions, parts_of(request.where)[plan.driver - len(bounds)])


def _stand_in(leaf: Any, keys: dict[Condition, tuple[int, ...]]) -> Any:
    """A condition that is planned like ``leaf``, whatever the store would make of that."""
    match leaf:
        case Keys(own, codes):
            return Keys((*own, *codes)) if codes else leaf
        case Refers(pid, targets):
            keys[leaf] = tuple((pid << VALUE_BITS) | n for n in range(len(targets)))
            return leaf
        case Measure(key):
            return Quantity(key, ())
        case Spoken(word, narrative_only):
            return Words(word, narrative_only)
        case Worded() | Concepts() | Below() | Kin() | Contained() | Cites() | Cited():
            return Keys((-1 - (leaf.pid << VALUE_BITS),))
    return leaf


def suggestions(request: SearchRequest, plan: Plan) -> list[str]:
    """What would make ``request`` cheaper, whatever is stored."""
    found: list[str] = []
    parts = parts_of(request.where)
    if plan.driver < 0 and parts:
        found.append(UNDRIVEN)
    if plan.kind == "sort" and request.sort:
        found.append(
            "All matches are gathered before the first is given; sorted by the main date, or not at all, they are found in"
            " the order of the index."
        )
    found += [
        f"{sort.code} has no index in its order: the documents of all matches are read to sort them."
        for sort in request.sort
        if sort.paths and not sort.pids
    ]
    if any(isinstance(part, Text) and part.match in ("contains", "suffix") for part in parts):
        found.append(LOOKED_THROUGH)
    if request.total == "accurate":
        found.append("_total=accurate counts all matches; _total=estimate does not.")
    return found
