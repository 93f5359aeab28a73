"""Number parameters: https://hl7.org/fhir/R4/search.html#number

A number is a range too: of no width for a decimal, from low to high for a Range. With ``eq``, ``ne`` and no
prefix the search value stands for all numbers that round to it (``100`` for 99.5 up to but not including
100.5); with the others it is exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from jiter import LosslessFloat

from fhirhub.fhirpath.compile import Route
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, any_of, refuse, shortened, unescape
from fhirhub.search.parameters.date import prefixed
from fhirhub.search.predicate import Bound, Predicate, Quantity
from fhirhub.search.rows import Rows, range_key

Interval = tuple[float, float]
_FORMAT = re.compile(
    r"[+-]?(?P<whole>\d{1,60})(?:\.(?P<fraction>\d{1,60}))?(?:[eE](?P<exponent>[+-]?\d{1,3}))?", re.ASCII
)
_TENTH = Fraction(1, 10)


def double(value: Fraction) -> float:
    """``value`` as a double; infinite beyond its range, which another unit may lead to."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@dataclass(frozen=True, slots=True)
class Searched:
    """A search value: the number itself, and the range of ``lo`` (inclusive) to ``hi`` (exclusive) it stands
    for.
    """

    prefix: str
    value: Fraction
    half: Fraction

    @property
    def exact(self) -> float:
        return double(self.value)

    def approximate(self) -> Interval:
        """Within a tenth of the value, and at least what the digits leave open."""
        margin = max(abs(self.value) * _TENTH, self.half)
        return double(self.value - margin), double(self.value + margin)


def as_float(value: Any) -> float | None:
    """The number a JSON value holds; beyond the range of a double it becomes infinite; None when it is no
    number.
    """
    if type(value) is not int and type(value) is not LosslessFloat and type(value) is not float:
        return None
    try:
        return float(value)
    except OverflowError:  # an integer only
        return -math.inf if str(value).startswith("-") else math.inf


def _point(value: Any) -> Interval | None:
    number = as_float(value)
    return None if number is None else (number, number)


def limits(value: Any) -> Interval | None:
    """A Range: from low to high, open where one is missing."""
    if type(value) is not dict:
        return None
    low, high = value.get("low"), value.get("high")
    least = as_float(low.get("value")) if type(low) is dict else None
    most = as_float(high.get("value")) if type(high) is dict else None
    if least is None and most is None:
        return None
    if (
        least is not None and most is not None and least > most
    ):  # against rng-2; the index relies on the order
        least, most = most, least
    return (-math.inf if least is None else least), (math.inf if most is None else most)


_INTERVALS: dict[str, Callable[[Any], Interval | None]] = {
    "decimal": _point,
    "integer": _point,
    "positiveInt": _point,
    "unsignedInt": _point,
    "Range": limits,
}

POINTS = frozenset(("decimal", "integer", "positiveInt", "unsignedInt", "Money"))
"""Types whose values have no width."""


def measurer(type_name: str) -> Callable[[Any], Interval | None] | None:
    """The function from a value of ``type_name`` to its range; None when numbers are not made of that
    type.
    """
    return _INTERVALS.get(type_name)


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when numbers are not made of that type."""
    measure = measurer(route.type_name)
    if measure is None:
        return None
    key = range_key(pid)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        found = measure(value)
        if found is not None:
            rows.params.add(pid)
            rows.numbers.add((key, *found, 0, 0))

    return emit


def parse_number(expression: str, text: str) -> Searched:
    """Prefix, value and precision of the query value ``text``."""
    prefix, rest = prefixed(text.strip())
    found = _FORMAT.fullmatch(rest)
    if found is None:
        raise refuse(
            expression,
            f"{shortened(text)!r} is not a number; write one like 5.4, -3 or 1e2, after a prefix or none",
        )
    fraction = len(found["fraction"] or "")
    exponent = int(found["exponent"] or 0)
    if found["exponent"] is not None and not fraction:
        # the specification reads 1e2 as 95 to 105: a whole mantissa counts as if written 1.0e2
        fraction = 1
    value = Decimal(rest)
    if value and not -300 < value.adjusted() < 300:
        raise refuse(expression, f"{shortened(text)!r} is beyond the numbers that can be searched for")
    return Searched(prefix, Fraction(value), 5 * Fraction(10) ** (exponent - fraction - 1))


def bounds(searched: Searched, points: bool, lo: str = "lo", hi: str = "hi") -> list[tuple[Bound, ...]]:
    """Any of these conjunctions says that a range stands to the search value as its prefix asks.

    ``points``: every range is known to have no width, which makes one bound out of two. ``lo`` and ``hi``
    name the columns (the last two components of a triple share one row).
    """
    value = searched.exact
    least, most = double(searched.value - searched.half), double(searched.value + searched.half)
    # More digits than a double holds leave no room around the number, which must still equal itself.
    most = max(most, math.nextafter(value, math.inf))
    if searched.prefix == "ap":
        below, above = searched.approximate()
        return [((lo, "<=", above), (hi, ">=", below))]
    if searched.prefix in ("ge", "le") and points:
        return [((lo, ">=" if searched.prefix == "ge" else "<=", value),)]
    table: dict[str, list[tuple[Bound, ...]]] = {
        "eq": [((lo, ">=", least), (hi, "<", most))],
        "ne": [((lo, "<", least),), ((hi, ">=", most),)],
        "gt": [((hi, ">", value),)],
        "lt": [((lo, "<", value),)],
        "ge": [((lo, ">=", value),), ((hi, ">", value),)],
        "le": [((hi, "<=", value),), ((lo, "<", value),)],
        "sa": [((lo, ">", value),)],
        "eb": [((hi, "<", value),)],
    }
    return table[searched.prefix]


def predicate(key: int, routes: Sequence[Route], searched: Searched, unit: int | None) -> Predicate:
    """The comparison with the number rows under ``key``."""
    return any_of([Quantity(key, each, unit) for each in bounds(searched, are_points(routes))])


def are_points(routes: Sequence[Route]) -> bool:
    """Whether what stands at the end of ``routes`` is never a range.

    A Quantity may be one: its comparator opens it to one side.
    """
    return all(route.type_name in POINTS for route in routes)


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    key = range_key(facet.pid)
    found = [parse_number(facet.expression, unescape(text)) for text in values]
    return any_of([predicate(key, facet.routes, searched, None) for searched in found])
