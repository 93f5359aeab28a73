"""A FhirResult as ASGI messages: format, compression and the headers every answer carries."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fhirhub.definitions.tables import Definitions
from fhirhub.exchange import FhirResult
from fhirhub.http.negotiation import JSON, XML
from fhirhub.http.request import Send
from fhirhub.resource import json, xml

Pairs = list[tuple[bytes, bytes]]

GZIP_FROM = 1024
"""Bytes from which a body is worth compressing."""
_THREAD_FROM = 256 * 1024
_CONTENT_TYPES = {
    JSON: (b"content-type", b"application/fhir+json; charset=utf-8"),
    XML: (b"content-type", b"application/fhir+xml; charset=utf-8"),
}
# PHI: nothing between us and the caller may keep a copy.
_NO_STORE = (b"cache-control", b"no-store")
_COMMON: Pairs = [
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"Accept, Accept-Encoding, Prefer, Origin"),
]
_GZIPPED = (b"content-encoding", b"gzip")


@dataclass(frozen=True, slots=True)
class Shape:
    """How this caller wants the answer."""

    format: str = JSON
    pretty: bool = False
    gzip: bool = False
    head: bool = False


PLAIN = Shape()
HEAD = Shape(head=True)


def rendered(result: FhirResult, shape: Shape, definitions: Definitions) -> bytes:
    """The body of ``result`` in the format and layout of ``shape``."""
    body = result.body
    if not body or (shape.format == JSON and not shape.pretty) or "content-type" in result.headers:
        return body
    if shape.format == XML:
        return xml.to_xml(json.parse(body), definitions, pretty=shape.pretty)
    return json.prettify(body)


async def send_result(send: Send, result: FhirResult, body: bytes, shape: Shape, extra: Pairs) -> None:
    """Send ``result`` with its rendered ``body``; ``extra`` headers come from outside the interaction."""
    headers = _headers(result.headers, shape.format if body else None)
    headers += extra
    if shape.gzip and len(body) >= GZIP_FROM:
        # What may be kept is the same for everybody, and packed once.
        pack = _packed_once if "cache-control" in result.headers else gzipped
        body = await asyncio.to_thread(pack, body) if len(body) > _THREAD_FROM else pack(body)
        headers.append(_GZIPPED)
    if result.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": result.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if shape.head else body})


def _headers(own: Mapping[str, str], format: str | None) -> Pairs:
    headers = _COMMON.copy()
    for name, value in own.items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1", "replace")))
    if format is not None and "content-type" not in own:
        headers.append(_CONTENT_TYPES[format])
    if "cache-control" not in own:
        headers.append(_NO_STORE)
    return headers


def gzipped(body: bytes) -> bytes:
    """``body`` as gzip (level 4: two thirds of the time of the default for a few per cent of size)."""
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


_packed_once = lru_cache(maxsize=4)(gzipped)
