"""Which index drives a search, and in which order its matches come.

A *walk* follows one index and stops when the page is full; a *sort* gathers all matches first. A page link pins
the plan of the first page, so the order stays when statistics change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import (
    And,
    Chain,
    Has,
    Ids,
    Keys,
    Near,
    Not,
    OfType,
    Or,
    Points,
    Present,
    Refers,
    Says,
    Text,
    Updated,
    Words,
)
from fhirhub.search.request import SearchRequest, Sort
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.absent import PASSED
from fhirhub.store.predicates import Compiler
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.texts import Found

SPARSE = 0.25
"""What more of a type fulfil is met soon enough without looking for a way."""
SELECTIVE = 5000.0
"""A driver with more rows than this is walked, not gathered, where there is a choice."""
TESTED = 4.0
"""Testing a resource for words or alternatives costs as much as gathering so many that fulfil one."""
MERGED = 20
"""Alternatives that are walked side by side."""
LEGS = 200
"""Keys that one walk follows side by side; all codes of a large system are too many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``driver`` is the position of the driving part of the condition, -1 for none.

    ``kind``: ``token`` (rows of keys, by main date), ``range`` (string, date or number rows, by value),
    ``merged`` (alternatives, each by itself, by main date), ``absent`` (all of the type, by main date, beside the rows
    that must not be there), ``resource`` (all of the type, by main date), ``updated`` (all, by last change), ``sort``
    (gathered), ``ranked`` (the rows of a parameter's codes, one code after the other).
    """

    kind: str
    driver: int
    descending: bool = True


def parts_of(where: Condition) -> tuple[Condition, ...]:
    """The conditions that must all hold, flattened."""
    if not isinstance(where, And):
        return (where,)
    return tuple(inner for part in where.parts for inner in parts_of(part))


def alternatives(where: Condition) -> tuple[Condition, ...]:
    """The conditions any of which will do, flattened."""
    if not isinstance(where, Or):
        return (where,)
    return tuple(inner for part in where.parts for inner in alternatives(part))


def walked(parts: Sequence[Condition], compiler: Compiler) -> int:
    """The position of the condition whose keys a walk of all ``parts`` follows, -1 for none."""
    sizes = {
        n: compiler.statistics.rows(part, compiler.root, compiler.keys)
        for n, part in enumerate(parts)
        if isinstance(part, Keys | Refers) and len(compiler.token_keys(part) or ()) <= LEGS
    }
    return min(sizes, key=sizes.__getitem__, default=-1)


def beside(driver: Condition, compiler: Compiler) -> tuple[Condition, ...]:
    """Those of the alternatives of ``driver`` that a merged walk has to gather."""
    return tuple(each for each in alternatives(driver) if walked(parts_of(each), compiler) < 0)


def fits(plan: Plan, parts: Sequence[Condition]) -> bool:
    """Whether a pinned plan can still be walked."""
    if plan.driver >= len(parts):
        return False
    if plan.kind == "token":
        return isinstance(parts[plan.driver], Keys | Refers)
    return plan.kind != "range" or isinstance(parts[plan.driver], Text | Range)


def choose(
    request: SearchRequest, parts: Sequence[Condition], compiler: Compiler, sort_date: int | None
) -> Plan:
    """The plan of a first page; ``sort_date`` is the pid of the type's main date."""
    usual = _usual(request, parts, compiler, sort_date)
    return _by_absence(usual, request, parts, compiler, sort_date) or usual


def _usual(
    request: SearchRequest, parts: Sequence[Condition], compiler: Compiler, sort_date: int | None
) -> Plan:
    """The plan by what is there."""
    rt = compiler.root
    costs = [compiler.statistics.listed(part, rt, compiler.keys) for part in parts]
    driving = [n for n, part in enumerate(parts) if _can_drive(part, sort_date)]
    best = min(driving, key=costs.__getitem__, default=-1)
    few = best >= 0 and costs[best] <= SELECTIVE
    spread = (
        best >= 0
        and isinstance(parts[best], Or | Words)
        and (not request.sort or _by_date(request, sort_date))
    )
    if spread and (found := _spread(request, parts, best, compiler)) is not None:
        return found
    if not request.sort:
        if best >= 0:
            kind = _walk_kind(parts[best], compiler, few)
            return Plan(kind, best if kind != "resource" else -1, _newest_first(parts[best]))
        changed = any(isinstance(part, Updated) for part in parts)
        return Plan("updated" if changed else "resource", -1)
    sort = request.sort[0]
    single = len(request.sort) == 1
    if _by_date(request, sort_date):
        if best >= 0 and _walk_kind(parts[best], compiler, few) == "token":
            return Plan("token", best, sort.descending)
        if not few:
            return Plan("resource", -1, sort.descending)
    if single and sort.code == "_lastUpdated" and not few:
        return Plan("updated", -1, sort.descending)
    if single and best >= 0 and _same_order(sort, parts[best], compiler.definitions):
        return Plan("range", best, sort.descending)
    return Plan("sort", best)


def _by_absence(
    usual: Plan, request: SearchRequest, parts: Sequence[Condition], compiler: Compiler, sort_date: int | None
) -> Plan | None:
    """The plan that begins with what is not there, where that is much rarer than what ``usual`` begins with."""
    statistics, rt, size = compiler.statistics, compiler.root, compiler.statistics.size(compiler.root)
    least = {
        n: statistics.least(part, rt, compiler.keys)
        for n, part in enumerate(parts)
        if statistics.is_absent(part, rt, compiler.keys)
    }
    best = min(least, key=least.__getitem__, default=-1)
    # What a confined caller is shown must not depend on how many others there are.
    if best < 0 or request.own is not None:
        return None
    if usual.kind == "sort" and usual.driver < 0:
        return Plan("sort", best, usual.descending)
    rows = size if usual.driver < 0 else statistics.listed(parts[usual.driver], rt, compiler.keys)
    share = 1.0
    for n, part in enumerate(parts):
        share *= min(statistics.least(part, rt, compiler.keys) / size, 1.0) if n != usual.driver else 1.0
    met = rows if usual.kind == "sort" else min((request.count + 1) / share, rows)
    if least[best] > SPARSE * size or met <= PASSED * size:
        return None
    if usual.kind != "sort" and (not request.sort or _by_date(request, sort_date)):
        return Plan("absent", best, usual.descending if request.sort else True)
    return Plan("sort", best, usual.descending)


def _by_date(request: SearchRequest, sort_date: int | None) -> bool:
    sort = request.sort[0] if len(request.sort) == 1 else None
    return sort is not None and sort.kind == "date" and sort.pid == sort_date


def _spread(request: SearchRequest, parts: Sequence[Condition], best: int, compiler: Compiler) -> Plan | None:
    """The walk that answers alternatives or words; None where gathering all that fulfil ``parts[best]`` is as well."""

    def rows(part: Condition) -> float:
        return compiler.statistics.rows(part, compiler.root, compiler.keys)

    down = not request.sort or request.sort[0].descending
    size, share = compiler.statistics.size(compiler.root), 1.0
    for part in parts:
        share *= min(max(rows(part), 1.0) / size, 1.0)
    everything = min((request.count + 1) / share, size) * TESTED
    apart = beside(parts[best], compiler)
    gathering = sum(map(rows, apart))
    if everything < gathering and all(isinstance(each, Words) for each in apart):
        return Plan("resource", -1, down)
    return Plan("merged", best, down) if len(apart) < len(alternatives(parts[best])) <= MERGED else None


def _can_drive(part: Condition, sort_date: int | None) -> bool:
    match part:
        case Keys() | Refers() | Text() | Words() | Ids() | Chain() | Has() | Points():
            return True
        case Range(_, key):
            # The main date is the order of every walk; as a driver of its own it would only repeat that.
            return sort_date is None or key != sort_date << VALUE_BITS
        case Or(parts):
            return all(_can_drive(inner, None) for inner in parts)
        case And(parts):
            return any(_can_drive(inner, sort_date) for inner in parts)
        case Not() | Present() | Updated() | Says() | OfType() | Near():
            return False
    raise TypeError(part)


def _walk_kind(part: Condition, compiler: Compiler, few: bool) -> str:
    if isinstance(part, Found) and few:
        return "sort"
    if isinstance(part, Keys | Refers):
        if len(compiler.token_keys(part) or ()) <= LEGS:
            return "token"
        return "sort" if few else "resource"
    if isinstance(part, Range) or (isinstance(part, Text) and part.match in ("prefix", "contains")):
        return "range"
    return "sort"


def _newest_first(part: Condition) -> bool:
    return not isinstance(part, Text) and not (isinstance(part, Range) and part.table == "number")


def _same_order(sort: Sort, part: Condition, definitions: Definitions) -> bool:
    """Is the index of ``part`` in the order of ``sort``? Dates of a type that stand once are the case that matters:
    birth dates and the like. Where there are several, the first that matches need not be the first of all."""
    if not isinstance(part, Range) or sort.kind != "date" or part.key != sort.pid << VALUE_BITS:
        return False
    type_, *names = definitions.by_pid[sort.pid].expression.split(".")
    for name in names:
        found = definitions.types[type_].properties.get(name) if type_ in definitions.types else None
        if found is None or found.element.max != 1:
            return False
        type_ = found.type_name
    return bool(names)
