"""history of a resource, a type, the system: https://hl7.org/fhir/R4/http.html#history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import Link, bundle, url_with, version_entry
from fhirhub.interactions.shape import shaped
from fhirhub.resource.meta import DAY, SECOND, microseconds
from fhirhub.store.records import missing

KNOWN = ("_since", "_at", "_count", "_cursor", "_format", "_pretty", "_summary", "_elements")
DEFAULT_COUNT = 20
MAX_COUNT = 1000
_DATE = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})?)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """What part of a history is asked for; times in microseconds since 1970 UTC, ``at`` from and to."""

    since: int | None
    at: tuple[int, int] | None
    count: int
    cursor: str | None


async def history(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of versions, the newest first."""
    window = _window(request)
    page = await hub.store.history(
        request.type, request.id, window.since, window.at, window.count, window.cursor
    )
    type, id = request.type, request.id
    if not page.versions and type and id and await hub.store.read(type, id) is None:
        raise missing(type, id)
    trimmed = any(name in ("_summary", "_elements") for name, _ in request.parameters)
    entries = []
    for stored in page.versions if window.count else []:
        body = None if stored.deleted else stored.render()
        if trimmed and body is not None:
            body = shaped(hub, request, body)
        entries.append(version_entry(request.base, stored, body))
    return FhirResult(200, bundle("history", page.total, _links(request, page.next), entries, hub.clock()))


def _links(request: FhirRequest, following: str | None) -> list[Link]:
    path = "/".join(part for part in (request.base, request.type, request.id, "_history") if part)
    kept = [(name, value) for name, value in request.parameters if name in KNOWN]
    first = [(name, value) for name, value in kept if name != "_cursor"]
    links = [("self", url_with(path, kept)), ("first", url_with(path, first))]
    if following is not None:
        links.append(("next", url_with(path, [*first, ("_cursor", following)])))
    return links


def _window(request: FhirRequest) -> Window:
    since = at = cursor = None
    count = DEFAULT_COUNT
    for name, value in request.parameters:
        if name == "_since":
            since = moment(name, value)
        elif name == "_at":
            at = interval(name, value)
        elif name == "_count":
            count = counted(value)
        elif name == "_cursor":
            cursor = value
        elif name not in KNOWN and not request.prefer.lenient:
            close = get_close_matches(name[:64], KNOWN, 1)
            hint = f" Did you mean '{close[0]}'?" if close else f" Known are {', '.join(KNOWN)}."
            raise BadRequest(
                Issue("not-supported", f"A history has no parameter '{name[:64]}'.{hint}", name[:64])
            )
    return Window(since, at, count, cursor)


def counted(value: str) -> int:
    """``_count``: 0 to 1000 (more is taken as 1000); 400 for what is no number."""
    if not value.isascii() or not value.isdecimal():
        raise BadRequest(Issue("value", f"_count '{value[:40]}' is not a number from 0 on.", "_count"))
    return min(int(value[:6]), MAX_COUNT)


def moment(name: str, value: str) -> int:
    """The beginning of a date, dateTime or instant in microseconds since 1970 UTC; 400 when it is none."""
    return interval(name, value)[0]


def interval(name: str, value: str) -> tuple[int, int]:
    """A date, dateTime or instant as its first and last microsecond since 1970 UTC; no time zone means UTC."""
    # An unescaped + of a time zone arrives as a blank.
    found = _DATE.fullmatch(value.replace(" ", "+"))
    try:
        if found is None:
            raise ValueError(value)
        year, month, day, minute, second, fraction, zone = found.groups()
        start = datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{minute or '00:00'}:{second or '00'}{zone or 'Z'}"
        )
        lo = microseconds(start)
        if fraction is not None:
            return lo + int(fraction.ljust(6, "0")[:6]), lo + int(fraction.ljust(6, "9")[:6])
        if second is not None:
            return lo, lo + SECOND - 1
        if minute is not None:
            return lo, lo + 60 * SECOND - 1
        if day is not None:
            return lo, lo + DAY - 1
        if month is not None:
            return lo, microseconds((start + timedelta(days=32)).replace(day=1)) - 1
        return lo, microseconds(start.replace(year=start.year + 1)) - 1
    except (ValueError, OverflowError):
        text = f"{name} '{value[:40]}' is not a time; write it as 2026-11-24T11:45:02Z."
        raise BadRequest(Issue("value", text, name)) from None
