"""Which index drives a search, and in which order its matches come.

A *walk* follows one index and stops when the page is full; a *sort* gathers all matches first. A page link pins
the plan of the first page, so the order stays when statistics change.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhirhub.search.predicate import (
    And,
    Chain,
    Has,
    Ids,
    Keys,
    Not,
    Or,
    Predicate,
    Present,
    Quantity,
    Refers,
    Span,
    Text,
    Updated,
)
from fhirhub.search.request import SearchRequest, Sort
from fhirhub.store.predicates import Compiler

SELECTIVE = 5000.0
"""A driver with more rows than this is walked, not gathered, where there is a choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``driver`` is the position of the driving part of the condition, -1 for none.

    ``kind``: ``token`` (rows of keys, by main date), ``range`` (string, date or number rows, by value),
    ``resource`` (all of the type, by main date), ``updated`` (all, by last change), ``sort`` (gathered).
    """

    kind: str
    driver: int
    descending: bool = True


def parts_of(where: Predicate) -> tuple[Predicate, ...]:
    """The conditions that must all hold, flattened."""
    if not isinstance(where, And):
        return (where,)
    return tuple(inner for part in where.parts for inner in parts_of(part))


def choose(request: SearchRequest, compiler: Compiler, sort_date: int | None) -> Plan:
    """The plan of a first page; ``sort_date`` is the pid of the type's main date."""
    rt = compiler.number(request.type)
    parts = parts_of(request.where)
    costs = [compiler.statistics.rows(part, rt, compiler.keys) for part in parts]
    driving = [n for n, part in enumerate(parts) if _can_drive(part, sort_date)]
    best = min(driving, key=costs.__getitem__, default=-1)
    few = best >= 0 and costs[best] <= SELECTIVE
    if not request.sort:
        return (
            Plan(_walk_kind(parts[best]), best, _newest_first(parts[best]))
            if best >= 0
            else Plan("resource", -1)
        )
    sort = request.sort[0]
    single = len(request.sort) == 1
    if single and sort.pid == sort_date and sort.kind == "date":
        if best >= 0 and isinstance(parts[best], Keys | Refers):
            return Plan("token", best, sort.descending)
        if not few:
            return Plan("resource", -1, sort.descending)
    if single and sort.code == "_lastUpdated" and not few:
        return Plan("updated", -1, sort.descending)
    if single and best >= 0 and _same_order(sort, parts[best]):
        return Plan("range", best, sort.descending)
    return Plan("sort", best)


def _can_drive(part: Predicate, sort_date: int | None) -> bool:
    match part:
        case Keys() | Refers() | Text() | Ids() | Chain() | Has() | Quantity():
            return True
        case Span(key, _):
            # The main date is the order of every walk; as a driver of its own it would only repeat that.
            return sort_date is None or key != sort_date << 49
        case Or(parts):
            return all(_can_drive(inner, None) for inner in parts)
        case And(parts):
            return any(_can_drive(inner, sort_date) for inner in parts)
        case Not() | Present() | Updated():
            return False
    raise TypeError(part)


def _walk_kind(part: Predicate) -> str:
    if isinstance(part, Keys | Refers):
        return "token"
    if isinstance(part, Span | Quantity) or (isinstance(part, Text) and part.match != "equals"):
        return "range"
    return "sort"


def _newest_first(part: Predicate) -> bool:
    return not isinstance(part, Text | Quantity)


def _same_order(sort: Sort, part: Predicate) -> bool:
    """Is the index of ``part`` in the order of ``sort``? Only single-valued parameters could be, and dates of a
    type are the case that matters: birth dates and the like."""
    return isinstance(part, Span) and part.key == sort.pid << 49
