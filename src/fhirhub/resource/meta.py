"""A resource's identity and ``meta`` (https://hl7.org/fhir/R4/resource.html#Meta), apart from its content.

The store keeps ``id``, ``meta.versionId`` and ``meta.lastUpdated`` as columns, the rest of ``meta`` as one
JSON text and the rest of the resource as another; an answer is put together from them without parsing
anything.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from fhirhub.resource import json

SECOND = 1_000_000
DAY = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = tuple(f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440))


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """The text of a second up to its point: what was written together shares it."""
    day, rest = divmod(seconds, 86_400)
    minute, second = divmod(rest, 60)
    return f"{_date(day)}{_TIMES[minute]}{second:02}."


def instant(updated: int) -> str:
    """Microseconds since 1970 UTC as a FHIR instant: ``2026-11-24T11:45:02.123456Z``."""
    return f"{_second(updated // SECOND)}{updated % SECOND:06}Z"


def microseconds(moment: datetime) -> int:
    """An aware ``moment`` as microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def spliced(type: str, id: str, version: int, updated: int, meta: str | None, content: str) -> str:
    """The whole resource as JSON, ``resourceType``, ``id`` and ``meta`` first.

    ``updated`` is in microseconds since 1970 UTC; ``meta`` is the JSON object text of meta without
    ``versionId`` and ``lastUpdated`` (or None), ``content`` that of the resource without ``resourceType``,
    ``id``, ``meta``.
    """
    more_meta = "}" if meta is None or meta == "{}" else f",{meta[1:]}"
    return (
        f'{{"resourceType":"{type}","id":"{id}",'
        f'"meta":{{"versionId":"{version}","lastUpdated":"{instant(updated)}"'
        f"{more_meta}{'}' if content == '{}' else ',' + content[1:]}"
    )


def splice(type: str, id: str, version: int, updated: int, meta: str | None, content: str) -> bytes:
    """The same as bytes."""
    return spliced(type, id, version, updated, meta, content).encode()


def detach(document: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """``document`` in two, unchanged itself: meta without ``versionId`` and ``lastUpdated`` (None when
    nothing is left), and the content without ``resourceType``, ``id`` and ``meta``."""
    content = {name: value for name, value in document.items() if name not in _IDENTITY}
    meta = document.get("meta")
    if type(meta) is not dict:
        return None, content
    rest = {name: value for name, value in meta.items() if name not in _ASSIGNED}
    return rest or None, content


def with_labels(document: dict[str, Any], meta: str | None) -> dict[str, Any]:
    """``document``, which is to replace a version with this ``meta``, with the security labels of that version if it
    says nothing about labels itself (https://hl7.org/fhir/R4/http.html#update: a server may keep them)."""
    if meta is None or '"security"' not in meta:
        return document
    own = document.get("meta") or {}
    labels = json.parse(meta.encode()).get("security")
    if "security" in own or not labels:
        return document
    return {**document, "meta": {**own, "security": labels}}


_IDENTITY = frozenset({"resourceType", "id", "meta"})
_ASSIGNED = frozenset({"versionId", "lastUpdated", "_versionId", "_lastUpdated"})
