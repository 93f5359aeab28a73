"""What answers have in common: entity tags, dates, locations and `Prefer` (https://hl7.org/fhir/R4/http.html#ops)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

from fhirhub.errors import BadRequest, Gone, Issue, PreconditionFailed, outcome
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.resource import json
from fhirhub.store.records import Stored, missing

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
MICROSECONDS = 1_000_000


def etag(version: int) -> str:
    """The weak entity tag of a version: ``W/"3"``."""
    return f'W/"{version}"'


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    at = time.gmtime(seconds)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon]} {at.tm_year} {clock} GMT"


def http_date(updated: int) -> str:
    """Microseconds since 1970 as an HTTP date: ``Tue, 24 Nov 2026 11:45:02 GMT``."""
    return _http_date(updated // MICROSECONDS)


def version_headers(version: int, updated: int) -> dict[str, str]:
    """``ETag`` and ``Last-Modified`` of a version."""
    return {"etag": etag(version), "last-modified": _http_date(updated // MICROSECONDS)}


def expected_version(if_match: str) -> int:
    """The version ``If-Match`` demands; 400 when it is not an entity tag of ours."""
    found = _ETAG.fullmatch(if_match.strip())
    text = found.group(1) if found else if_match.strip()
    if not text.isdecimal() or len(text) > 10:
        raise BadRequest(
            Issue("value", f"If-Match '{if_match[:60]}' is not an ETag of this server; write W/\"3\".")
        )
    return int(text)


def check_if_match(headers: Mapping[str, str], current: Stored | None) -> None:
    """Raise 412 when ``If-Match`` (or ``If-None-Match: *``) does not hold for the ``current`` version."""
    wanted = headers.get("if-match")
    living = current is not None and current.version > 0 and not current.deleted
    if wanted is not None:
        present = current.version if current is not None and living else None
        if wanted.strip() == "*":
            holds = living
        else:
            holds = present == expected_version(wanted)
        if not holds:
            now = f"the present version is {present}" if present else "there is no such resource"
            raise PreconditionFailed(Issue("conflict", f"If-Match {wanted[:60]} does not hold: {now}."))
    if current is not None and living and headers.get("if-none-match", "").strip() == "*":
        text = f"If-None-Match: * does not hold: {current.type}/{current.id} exists."
        raise PreconditionFailed(Issue("conflict", text))


def not_modified(request: FhirRequest, stored: Stored) -> bool:
    """Whether the caller's copy is still good (https://hl7.org/fhir/R4/http.html#cread)."""
    none_match = request.headers.get("if-none-match")
    if none_match is not None:
        tags = _ETAG.findall(none_match)
        return none_match.strip() == "*" or str(stored.version) in tags
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return stored.updated // MICROSECONDS <= int(parsedate_to_datetime(since).timestamp())
    except (ValueError, OverflowError):
        return False


def living(stored: Stored | None, type: str, id: str) -> Stored:
    """``stored`` when it is there; 404 or 410 when it is not."""
    if stored is None or stored.version == 0:
        raise missing(type, id)
    if stored.deleted:
        text = f"{type}/{id} was deleted (version {stored.version})."
        raise Gone(Issue("deleted", text), headers={"etag": etag(stored.version)})
    return stored


def information(text: str) -> bytes:
    """An OperationOutcome that only says ``text``."""
    return json.dumps(outcome([Issue("informational", text, severity="information")]))


def version_url(base: str, stored: Stored) -> str:
    """The absolute URL of this version."""
    return f"{base}/{stored.type}/{stored.id}/_history/{stored.version}"


def answer_write(request: FhirRequest, stored: Stored, *, created: bool, changed: bool = True) -> FhirResult:
    """The answer to a create, update or patch that left ``stored``, as ``Prefer: return`` asks."""
    url = version_url(request.base, stored)
    headers = version_headers(stored.version, stored.updated)
    headers["location" if created else "content-location"] = url
    status = 201 if created else 200
    returns = request.prefer.returns
    if returns == "minimal" or (returns == "representation" and stored.content is None):
        return FhirResult(status, b"", headers)
    if returns == "OperationOutcome":
        done = "created" if created else "updated" if changed else "left as it was (nothing changed)"
        return FhirResult(
            status, information(f"{stored.type}/{stored.id} {done}: version {stored.version}."), headers
        )
    return FhirResult(status, stored.render(), headers)
