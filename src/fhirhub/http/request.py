"""An ASGI request taken apart: parameters, headers, body. Everything is hostile until it has been looked at here."""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from itertools import count
from typing import Any

from fhirhub.errors import BadRequest, FhirError, Issue, TooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HEADER = 8_192
_PROCESS = os.urandom(8).hex().encode()
_COUNT = count(1)
"""New request ids: what names this process, then a number. They are names, not secrets."""
BODY_SECONDS = 60.0
"""A body that has not arrived after this long is given up."""

_CONDITIONAL = tuple(
    (name.encode(), name)
    for name in ("if-match", "if-none-match", "if-modified-since", "if-none-exist", "prefer", "x-provenance")
)
_NONE: Mapping[str, str] = {}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,64}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class Disconnected(Exception):
    """The client went away before its request was read."""


def conditional_headers(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """The headers that interactions read, lower-case names; 400 for values that are not clean text."""
    found = {name: headers[key] for key, name in _CONDITIONAL if key in headers}
    return {name: _clean(name, value) for name, value in found.items()} if found else _NONE


def _clean(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if len(value) > MAX_HEADER or _CONTROL.search(text):
        raise BadRequest(Issue("invalid", f"The header {name} is too long or holds characters it must not."))
    return text


@lru_cache(maxsize=256)
def base_url(scheme: str, host: bytes, server: tuple[str, int | None] | None) -> str:
    """The service base as the caller wrote it: ``http://127.0.0.1:8080/fhir``; by ``server`` when Host is no host."""
    text = host.decode("latin-1")
    if not _HOST.fullmatch(text):
        name, port = server or ("localhost", None)
        text = f"{name}:{port}" if port else name
    return f"{scheme}://{text}/fhir"


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """``X-Request-Id`` of the caller when it is a plain token of at most 64 characters, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _TOKEN.fullmatch(given):
        return given
    return b"%s%x" % (_PROCESS, next(_COUNT))


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body, uncompressed, of at most ``limit`` bytes; 413 as soon as it is known to be larger."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
    else:
        body = await _timely(_rest(receive, message, limit))
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        raise UnsupportedMediaType(
            Issue("not-supported", "The Content-Encoding is not read; send gzip or none."),
            headers={"Accept-Encoding": "gzip"},
        )
    return _gunzip(body, limit)


async def _timely(work: Awaitable[bytes]) -> bytes:
    try:
        return await asyncio.wait_for(work, BODY_SECONDS)
    except TimeoutError:
        raise FhirError(Issue("timeout", "The body did not arrive in time."), status=408) from None


async def _rest(receive: Receive, message: Message, limit: int) -> bytes:
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def _gunzip(body: bytes, limit: int) -> bytes:
    """``body`` uncompressed, never producing more than ``limit`` bytes (a small body can hold a large one)."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(Issue("structure", "The body is not valid gzip.")) from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not unzip.eof or unzip.unused_data:
        raise BadRequest(Issue("structure", "The gzip body is cut off or followed by something else."))
    return plain


def _too_large(limit: int) -> TooLarge:
    # The rest of the body is not read; the connection cannot be used for another request.
    text = f"A body may have {limit} bytes. Use several transactions, or fhirhub import for bulk data."
    return TooLarge(Issue("too-long", text), headers={"Connection": "close"})
