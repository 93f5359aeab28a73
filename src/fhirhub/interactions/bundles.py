"""Bundles put together from stored bytes, nothing parsed again: https://hl7.org/fhir/R4/bundle.html."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from fhirhub.errors import Issue, outcome
from fhirhub.resource import json
from fhirhub.resource.meta import instant, spliced
from fhirhub.store.records import Stored

Parameters = Sequence[tuple[str, str]]
Link = tuple[str, str]
_NONE: Mapping[int, float] = {}
_FIRST_STATUS = {"POST": "201", "PUT": "201", "DELETE": "204"}


_PLAIN_NAME = re.compile(r"[\w.~:-]*", re.ASCII).fullmatch
_PLAIN_VALUE = re.compile(r"[\w.~:/,-]*", re.ASCII).fullmatch
"""What needs no percent-encoding: cursors and most of what is searched for."""


def query(parameters: Parameters) -> str:
    """``parameters`` as a query string, percent-encoded so that it also stands in JSON as it is."""
    return "&".join(
        [
            f"{name if _PLAIN_NAME(name) else quote(name, safe=':')}"
            f"={value if _PLAIN_VALUE(value) else quote(value, safe=':/,')}"
            for name, value in parameters
        ]
    )


def url_with(path: str, parameters: Parameters) -> str:
    """``path`` with ``parameters``."""
    return f"{path}?{query(parameters)}" if parameters else path


def bundle(type: str, total: int | None, links: Sequence[Link], entries: Sequence[bytes], now: int) -> bytes:
    """A Bundle of finished ``entries``, in pieces of one or several with commas between.

    ``now`` (µs since 1970) is its lastUpdated, ``total`` None when not counted.
    """
    head = f'{{"resourceType":"Bundle","meta":{{"lastUpdated":"{instant(now)}"}},"type":"{type}"'
    if total is not None:
        head += f',"total":{total}'
    if links:
        shown = ",".join([f'{{"relation":"{relation}","url":"{url}"}}' for relation, url in links])
        head += f',"link":[{shown}]'
    if not entries:
        return head.encode() + b"}"
    return b'%b,"entry":[%b]}' % (head.encode(), b",".join(entries))


def found_entry(
    base: str, stored: Stored, resource: bytes, mode: str, place: str = "", score: float | None = None
) -> bytes:
    """An entry of a searchset; ``mode`` is match or include, ``place`` the ``#id`` of what stands inside ``stored``,
    ``score`` how well it fits.
    """
    return b'{"fullUrl":"%b/%b/%b%b","resource":%b,"search":{"mode":"%b"%b}}' % (
        base.encode(),
        stored.type.encode(),
        stored.id.encode(),
        place.encode(),
        resource,
        mode.encode(),
        b"" if score is None else b',"score":%.4f' % min(max(score, 0.0), 1.0),
    )


def whole_entries(
    base: str, found: Sequence[Stored], mode: str, scores: Mapping[int, float] = _NONE
) -> list[bytes]:
    """The same of all that is stored of each, as one piece, for most entries are that. ``scores`` are by rid."""
    shown: list[str] = []
    for each in found:
        type, id, score = each.type, each.id, scores.get(each.rid) if scores else None
        scored = "" if score is None else f',"score":{min(max(score, 0.0), 1.0):.4f}'
        resource = spliced(type, id, each.version, each.updated, each.meta, each.content or "{}")
        shown.append(
            f'{{"fullUrl":"{base}/{type}/{id}","resource":{resource},"search":{{"mode":"{mode}"{scored}}}}}'
        )
    return [",".join(shown).encode()] if shown else []


def notes_entry(notes: Sequence[Issue]) -> bytes:
    """The entry of a searchset that tells what was ignored."""
    return b'{"resource":%b,"search":{"mode":"outcome"}}' % json.dumps(outcome(notes))


def version_entry(base: str, stored: Stored, resource: bytes | None) -> bytes:
    """An entry of a history: what was asked, what it led to, and the version unless it is a deletion."""
    name = f"{stored.type}/{stored.id}"
    first = stored.version == 1 or stored.method == "POST"
    status = _FIRST_STATUS.get(stored.method, "200") if first or stored.deleted else "200"
    shown = b"" if resource is None else b'"resource":%b,' % resource
    rest = (
        f'"request":{{"method":"{stored.method}","url":"{stored.type if stored.method == "POST" else name}"}},'
        f'"response":{{"status":"{status}","etag":"W/\\"{stored.version}\\"",'
        f'"lastModified":"{instant(stored.updated)}"}}}}'
    )
    return b'{"fullUrl":"%b/%b",%b%b' % (base.encode(), name.encode(), shown, rest.encode())
