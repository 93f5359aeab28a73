"""Date parameters: https://hl7.org/fhir/R4/search.html#date and https://hl7.org/fhir/R4/search.html#prefix

Everything is an interval: ``2013`` lasts a year, ``2013-01-14T10:00:00`` a second, a Period from start to
end, a missing end is open. Times without a zone are taken as UTC. Microseconds since 1970 UTC, both ends
inclusive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, any_of, refuse, shortened, unescape
from fhirhub.search.predicate import Bound, Predicate, Span
from fhirhub.search.rows import MAX_DATE, MIN_DATE, Rows, range_key

Interval = tuple[int, int]
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_DAY = 86_400 * _SECOND
_TIME = r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?P<second>:\d\d(?:\.\d+)?)?(?P<zone>Z|[+ -]\d\d:\d\d)?)?"
_FORMAT = re.compile(rf"\d{{4}}(?:-\d\d(?:-\d\d{_TIME})?)?", re.ASCII)


@lru_cache(maxsize=8192)
def _days(text: str) -> Interval:
    """The interval of ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``; ValueError when there is no such day."""
    year = int(text[:4])
    month = int(text[5:7]) if len(text) > 4 else 0
    if len(text) > 7:
        first = date(year, month, int(text[8:10])).toordinal()
        after = first + 1
    elif month:
        first = date(year, month, 1).toordinal()
        after = first + 31 if month == 12 else date(year, month + 1, 1).toordinal()
    else:
        first = date(year, 1, 1).toordinal()
        after = date(year, 12, 31).toordinal() + 1
    return (first - _EPOCH_DAY) * _DAY, (after - _EPOCH_DAY) * _DAY - 1


def _width(text: str) -> int:
    """How long the moment ``text`` (longer than a date) lasts: a minute, a second, or the last digit
    written.
    """
    if text[16:17] != ":":
        return _MINUTE
    if text[19:20] != ".":
        return _SECOND
    digits = 0
    while digits < 6 and text[20 + digits : 21 + digits].isdigit():
        digits += 1
    return int(10 ** (6 - digits))


def interval(text: str) -> Interval:
    """The interval of a FHIR date, dateTime or instant; ValueError when it is none."""
    if len(text) <= 10:
        return _days(text)
    leap = 0
    if text[17:19] == "60":  # a leap second, which datetime cannot hold
        text, leap = f"{text[:17]}59{text[19:]}", _SECOND
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    lo = (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds + leap
    return lo, lo + _width(text) - 1


def _moment(value: Any) -> Interval | None:
    if type(value) is not str:
        return None
    try:
        return interval(value)
    except ValueError:
        return None


def _period(value: Any) -> Interval | None:
    if type(value) is not dict:
        return None
    start, end = _moment(value.get("start")), _moment(value.get("end"))
    if start is None and end is None:
        return None
    if start and end and start[0] > end[1]:  # against per-1; the index relies on start before end
        start, end = end, start
    return (start[0] if start else MIN_DATE), (end[1] if end else MAX_DATE)


def _timing(value: Any) -> Interval | None:
    """The outer limits of a Timing: its events and the period that bounds its repetition."""
    if type(value) is not dict:
        return None
    events, repeat = value.get("event"), value.get("repeat")
    found = [_moment(event) for event in events] if type(events) is list else []
    found.append(_period(repeat.get("boundsPeriod")) if type(repeat) is dict else None)
    known = [each for each in found if each is not None]
    return (min(each[0] for each in known), max(each[1] for each in known)) if known else None


_INTERVALS: dict[str, Callable[[Any], Interval | None]] = {
    "date": _moment,
    "dateTime": _moment,
    "instant": _moment,
    "Period": _period,
    "Timing": _timing,
}


def measurer(type_name: str) -> Callable[[Any], Interval | None] | None:
    """The function from a value of ``type_name`` to its interval; None when dates are not made of that
    type.
    """
    return _INTERVALS.get(type_name)


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when dates are not made of that type."""
    measure = measurer(route.type_name)
    if measure is None:
        return None
    key = range_key(pid)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        found = measure(value)
        if found is not None:
            rows.dates.add((key, *found))
        if value is not None:
            rows.params.add(pid)

    return emit


def prefixed(text: str) -> tuple[str, str]:
    """The prefix (``eq`` when there is none) and the rest."""
    return (text[:2], text[2:]) if text[:2] in PREFIXES else ("eq", text)


def parse_interval(expression: str, text: str) -> tuple[str, Interval]:
    """Prefix and interval of the query value ``text``."""
    prefix, rest = prefixed(unescape(text).strip())
    found = _FORMAT.fullmatch(rest)
    try:
        if found is None:
            raise ValueError(rest)
        if found["zone"] and found["zone"][0] == " ":  # a + that was not percent-encoded
            rest = rest.replace(" ", "+")
        return prefix, interval(rest)
    except ValueError:
        remedy = (
            "write YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ, with or without a prefix such as ge"
        )
        raise refuse(expression, f"{shortened(text)!r} is not a date; {remedy}") from None


def bounds(prefix: str, lo: int, hi: int, now: int) -> list[tuple[Bound, ...]]:
    """Any of these conjunctions of bounds says that an interval stands to ``lo`` .. ``hi`` as ``prefix``
    asks.

    The words of the specification, with "above" and "below" the open ranges beyond the search value: ``gt``
    reaches above, ``ge`` reaches above or is contained, ``sa`` is wholly above; ``ap`` overlaps the search
    value widened by a tenth of its distance from now.
    """
    if prefix == "ap":
        margin = abs(now - (lo + hi) // 2) // 10
        return [(("lo", "<=", hi + margin), ("hi", ">=", lo - margin))]
    table: dict[str, list[tuple[Bound, ...]]] = {
        "eq": [(("lo", ">=", lo), ("hi", "<=", hi))],
        "ne": [(("lo", "<", lo),), (("hi", ">", hi),)],
        "gt": [(("hi", ">", hi),)],
        "lt": [(("lo", "<", lo),)],
        "ge": [(("lo", ">=", lo),), (("hi", ">", hi),)],
        "le": [(("hi", "<=", hi),), (("lo", "<", lo),)],
        "sa": [(("lo", ">", hi),)],
        "eb": [(("hi", "<", lo),)],
    }
    return table[prefix]


def predicate(key: int, expression: str, text: str, query: Query) -> Predicate:
    """The comparison ``text`` (prefix and date) with the rows under ``key``."""
    prefix, (lo, hi) = parse_interval(expression, text)
    return any_of([Span(key, each) for each in bounds(prefix, lo, hi, query.now)])


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    key = range_key(facet.pid)
    return any_of([predicate(key, facet.expression, text, query) for text in values])
