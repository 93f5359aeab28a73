"""Conditions on the ordered indexes as the store sees them.

Alternatives on the rows of one key (``ge`` is "starts after, or ends after") are one condition on one row, not
several searches. Rows of a key are filed in classes by their span, so that a bound on the end of an interval
also bounds its start, by which the index is ordered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from fhirhub.search.predicate import (
    And,
    Bound,
    Chain,
    Has,
    Keys,
    Not,
    Or,
    Points,
    Predicate,
    Quantity,
    Refers,
    Span,
)

DAY = 86_400_000_000
SPANS: dict[str, tuple[float, ...]] = {
    "date": (DAY, 32 * DAY, 367 * DAY, math.inf),
    "number": (0, math.inf),
}
"""Table -> the widest span of each class; a key's low bits name the class."""

Bounds = tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A row of ``table`` (date or number) under ``key`` that fulfils all bounds of any alternative.

    ``others`` are more of the same key, in other units: a row that fulfils any of them will do.
    """

    table: str
    key: int
    alternatives: tuple[Bounds, ...]
    unit: int | None = None
    others: tuple[Range, ...] = ()
    also: tuple[int, ...] = ()
    """Keys under which such a row may stand as well: those of other parameters."""

    @property
    def keys(self) -> list[int]:
        """The keys of all classes, those of one parameter after those of the other."""
        return [key | n for key in (self.key, *self.also) for n in range(len(SPANS[self.table]))]

    @property
    def spans(self) -> list[float]:
        """The widest span of each of the ``keys``."""
        return [span for _ in (self.key, *self.also) for span in SPANS[self.table]]

    @property
    def cast(self) -> str:
        """The SQL type of the bounds."""
        return "bigint" if self.table == "date" else "double precision"

    def implied(self, span: float) -> tuple[float | None, float | None]:
        """The lowest and the highest start that a matching row no wider than ``span`` can have."""
        everything = [bounds for each in (self, *self.others) for bounds in each.alternatives]
        lowest = [_lowest(bounds, span) for bounds in everything]
        highest = [_highest(bounds) for bounds in everything]
        return (
            min((low for low in lowest if low is not None), default=None) if None not in lowest else None,
            max((high for high in highest if high is not None), default=None)
            if None not in highest
            else None,
        )


Condition = Predicate | Range


def _lowest(bounds: Bounds, span: float) -> float | None:
    starts = [value for column, operator, value in bounds if column == "lo" and operator in (">", ">=", "=")]
    ends = [value for column, operator, value in bounds if column == "hi" and operator in (">", ">=", "=")]
    if math.isfinite(span):
        # Whole microseconds stay whole: they do not fit a float.
        starts += [value - (int(span) if isinstance(value, int) else span) for value in ends]
    return max(starts, default=None)


def _highest(bounds: Bounds) -> float | None:
    return min((value for _, operator, value in bounds if operator in ("<", "<=", "=")), default=None)


def date_key(key: int, lo: int, hi: int) -> int:
    """The key of a date row: its low two bits tell the class of the span."""
    span = hi - lo
    return (key & ~3) | next(n for n, widest in enumerate(SPANS["date"]) if span <= widest)


def number_key(key: int, lo: float, hi: float) -> int:
    """The key of a number row: its low bit tells a range from a point."""
    return (key & ~1) | (lo != hi)


def fold(where: Condition) -> Any:
    """``where`` with its Spans and Quantities as Ranges, alternatives on the same rows made one: a Condition."""
    match where:
        case Span(key, bounds):
            return Range("date", key & ~3, (bounds,))
        case Quantity(key, bounds, unit):
            return Range("number", key & ~1, (bounds,), unit)
        case And(parts):
            return And(tuple(fold(part) for part in parts))
        case Or(parts):
            return _alternatives([fold(part) for part in parts])
        case Not(part):
            return Not(fold(part))
        case Chain(pid, type_, part):
            return Chain(pid, type_, fold(part))
        case Has(type_, pid, part):
            return Has(type_, pid, fold(part))
        case Points(pid, part, besides):
            return Points(pid, fold(part), besides)
    return where


def _alternatives(parts: list[Any]) -> Any:
    merged: dict[tuple[str, int, int | None], Range] = {}
    others: list[Condition] = []
    for part in [single for each in parts for single in _apart(each)]:
        if isinstance(part, Range):
            same = (part.table, part.key, part.unit)
            known = merged[same].alternatives if same in merged else ()
            merged[same] = Range(part.table, part.key, known + part.alternatives, part.unit)
            for other in part.others:
                own = (other.table, other.key, other.unit)
                known = merged[own].alternatives if own in merged else ()
                merged[own] = replace(other, alternatives=known + other.alternatives)
        else:
            others.append(part)
    same_key: dict[tuple[str, int], Range] = {}
    for each in merged.values():
        first = same_key.setdefault((each.table, each.key), each)
        if first is not each:
            same_key[each.table, each.key] = replace(first, others=(*first.others, each, *each.others))
    everything: tuple[Any, ...] = (*_elsewhere(list(same_key.values())), *others)
    return everything[0] if len(everything) == 1 else Or(everything)


def _under(each: Range, key: int) -> Range:
    return replace(each, key=key, others=tuple(replace(other, key=key) for other in each.others), also=())


def _apart(part: Any) -> list[Any]:
    """``part``, one for each of its parameters."""
    return [_under(part, key) for key in (part.key, *part.also)] if isinstance(part, Range) else [part]


def _elsewhere(ranges: list[Range]) -> list[Range]:
    """``ranges`` with those that ask the same of numbers of several parameters made one: one walk follows all."""
    found: dict[Range, Range] = {}
    for each in ranges:
        if each.table == "number":
            alike = _under(each, 0)
            first = found.get(alike)
            found[alike] = each if first is None else replace(first, also=(*first.also, each.key))
        else:
            found[each] = each
    return list(found.values())


def together(where: Any, keys: dict[Condition, tuple[int, ...]]) -> Any:
    """``where`` with alternatives that are all token rows made one set of keys, which one loop walks."""
    match where:
        case And(parts):
            return And(tuple(together(part, keys) for part in parts))
        case Not(part):
            return Not(together(part, keys))
        case Chain(pid, type_, part):
            return Chain(pid, type_, together(part, keys))
        case Has(type_, pid, part):
            return Has(type_, pid, together(part, keys))
        case Points(pid, part, besides):
            return Points(pid, together(part, keys), besides)
        case Or(parts):
            inner = [together(part, keys) for part in parts]
            tokens = [part for part in inner if isinstance(part, Keys | Refers)]
            if len(tokens) < 2:
                return Or(tuple(inner))
            found = (key for part in tokens for key in (part.keys if isinstance(part, Keys) else keys[part]))
            others = [part for part in inner if not isinstance(part, Keys | Refers)]
            one = Keys(tuple(dict.fromkeys(found)))
            return Or((one, *others)) if others else one
    return where
