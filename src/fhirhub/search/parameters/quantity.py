"""Quantity parameters: https://hl7.org/fhir/R4/search.html#quantity

Numbers with a unit. A row carries the unit's code as a 32-bit hash, and the printed unit as another where it
differs, because ``5.4||mg`` asks for either. Which UCUM codes are in use, and what they measure, stands in the
dictionary of phrases: a search for ``2 g`` is also one for ``2000 mg``, in every unit that there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search import ucum
from fhirhub.search.keeping import keeping
from fhirhub.search.parameters.base import (
    Context,
    Emit,
    Facet,
    Query,
    any_of,
    refuse,
    shortened,
    split,
    unescape,
)
from fhirhub.search.parameters.number import (
    Interval,
    Searched,
    are_points,
    as_float,
    bounds,
    limits,
    parse_number,
    predicate,
)
from fhirhub.search.predicate import Measure, Predicate, Quantity
from fhirhub.search.rows import Phrase, Rows, hash49, phrase, range_key

Measured = tuple[float, float, tuple[str, ...]]
"""(lo, hi, spellings of the unit: none, or the code, or code and printed unit)."""

NO_UNIT = 0


def unit_hash(unit: str, secret: bytes) -> int:
    """The signed 32-bit hash of a unit; never 0, which stands for none."""
    top = hash49(unit, secret) >> 17
    return (top - (1 << 32) if top >= 1 << 31 else top) or 1


UNITS = 0
"""The pid under which units stand in the dictionary of phrases."""


@keeping(4096)
def unit_phrase(code: str, secret: bytes) -> tuple[int, Phrase] | None:
    """The phrase that says what the unit ``code`` measures; None when UCUM does not know it."""
    unit = ucum.read(code)
    return None if unit is None else phrase(UNITS, unit.name, code, unit_hash(code, secret))


def _units(value: dict[str, Any]) -> tuple[str, ...]:
    code, unit = value.get("code"), value.get("unit")
    if type(code) is str:
        return (code, unit) if type(unit) is str and unit != code else (code,)
    return (unit,) if type(unit) is str else ()


def _quantity(value: Any) -> Measured | None:
    """A Quantity or one of its kin; ``comparator`` opens the range (``<5`` is everything below 5)."""
    number = as_float(value.get("value")) if type(value) is dict else None
    if number is None:
        return None
    least = most = number
    comparator = value.get("comparator")
    if comparator in ("<", "<="):
        least, most = -math.inf, (number if comparator == "<=" else math.nextafter(number, -math.inf))
    elif comparator in (">", ">="):
        least, most = (number if comparator == ">=" else math.nextafter(number, math.inf)), math.inf
    return least, most, _units(value)


def _money(value: Any) -> Measured | None:
    number = as_float(value.get("value")) if type(value) is dict else None
    if number is None:
        return None
    currency = value.get("currency")
    return number, number, ((currency,) if type(currency) is str else ())


def _range(value: Any) -> Measured | None:
    found: Interval | None = limits(value)
    if found is None:
        return None
    ends = (value.get("low"), value.get("high"))
    units = dict.fromkeys(unit for end in ends if type(end) is dict for unit in _units(end))
    return (*found, tuple(units))


def _sampled(value: Any) -> Measured | None:
    """SampledData: from its lowest to its highest sample; E, U and L (error, below, above) open or are left
    out.
    """
    origin = value.get("origin") if type(value) is dict else None
    zero = as_float(origin.get("value")) if type(origin) is dict else None
    data = value.get("data") if type(value) is dict else None
    if type(origin) is not dict or zero is None or type(data) is not str:
        return None
    factor = as_float(value.get("factor"))
    samples: list[float] = []
    for piece in data.split():
        if piece in ("U", "L"):
            samples.append(math.inf if piece == "U" else -math.inf)
            continue
        try:
            samples.append(zero + float(piece) * (1.0 if factor is None else factor))
        except ValueError:
            continue
    known = [sample for sample in samples if not math.isnan(sample)]
    return (min(known), max(known), _units(origin)) if known else None


_MEASURES: dict[str, Callable[[Any], Measured | None]] = {
    **dict.fromkeys(
        ("Quantity", "SimpleQuantity", "MoneyQuantity", "Age", "Count", "Distance", "Duration"), _quantity
    ),
    "Money": _money,
    "Range": _range,
    "SampledData": _sampled,
}


def measurer(type_name: str) -> Callable[[Any], Measured | None] | None:
    """The function from a value of ``type_name`` to range and units; None when quantities are not made of
    it.
    """
    return _MEASURES.get(type_name)


def add_row(rows: Rows, key: int, measured: Measured, secret: bytes) -> None:
    """The number row of one measured value under ``key``."""
    least, most, units = measured
    coded = unit_hash(units[0], secret) if units else NO_UNIT
    printed = unit_hash(units[1], secret) if len(units) > 1 else NO_UNIT
    rows.numbers.add((key, least, most, coded, printed))
    known = unit_phrase(units[0], secret) if units else None
    if known is not None:
        rows.phrases[known[0]] = known[1]


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when quantities are not made of that type."""
    measure = measurer(route.type_name)
    if measure is None:
        return None
    key = range_key(pid)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        found = measure(value)
        if found is not None:
            rows.params.add(pid)
            add_row(rows, key, found, secret)

    return emit


def compare(key: int, routes: Sequence[Route], expression: str, text: str, query: Query) -> Predicate:
    """The comparison ``text`` (``[prefix]number``, ``number|system|code`` or ``number||unit``) with rows
    under ``key``.
    """
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) not in (1, 3):
        raise refuse(
            expression,
            f"write a quantity as number, number|system|code or number||unit, not {shortened(text)!r}",
        )
    searched = parse_number(expression, pieces[0])
    unit = unit_hash(pieces[2], query.secret) if len(pieces) == 3 and pieces[2] else None
    if unit is None and len(pieces) == 3 and pieces[1]:
        raise refuse(
            expression, f"{shortened(text)!r} names a system of units but no unit; write number|system|code"
        )
    if unit is not None and pieces[1] in ("", ucum.SYSTEM) and ucum.read(pieces[2]) is not None:
        points = are_points(routes)
        return Measure(key, searched.prefix, searched.value, searched.half, pieces[2], unit, points)
    return predicate(key, routes, searched, unit)


def in_units(asked: Measure, units: Iterable[tuple[str, int]]) -> Predicate:
    """``asked`` spelt out for the UCUM codes ``units`` (with their hashes) that measure the same."""
    own = ucum.read(asked.code)
    parts: list[Predicate] = []
    for code, hashed in dict.fromkeys(((asked.code, asked.unit), *units)):
        unit = ucum.read(code)
        if own is None or unit is None or unit.dimension != own.dimension:
            continue
        value = ucum.converted(asked.value, own, unit)
        searched = Searched(asked.prefix, value, asked.half * own.factor / unit.factor)
        parts += [Quantity(asked.key, each, hashed) for each in bounds(searched, asked.points)]
    return any_of(parts)


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    key = range_key(facet.pid)
    return any_of([compare(key, facet.routes, facet.expression, text, query) for text in values])
