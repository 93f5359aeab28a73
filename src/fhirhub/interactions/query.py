"""Query strings: what comes after the ``?`` of a URL, in a form body, in `If-None-Exist`, in the entries of a Bundle."""

from __future__ import annotations

import re
from urllib.parse import unquote

from fhirhub.errors import BadRequest, FhirError, Issue

MAX_PARAMETERS = 500
MAX_QUERY = 60_000
"""Bytes of a query string or a form body."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parameters(query: bytes) -> tuple[tuple[str, str], ...]:
    """The parameters of ``query`` in order, percent-decoded; 400 when they cannot be read, 414 when there is too much."""
    if len(query) > MAX_QUERY:
        raise FhirError(Issue("too-long", f"At most {MAX_QUERY} bytes of parameters are read."), status=414)
    if query.count(b"&") >= MAX_PARAMETERS:
        raise BadRequest(Issue("too-long", f"At most {MAX_PARAMETERS} parameters are read."))
    pairs: list[tuple[str, str]] = []
    try:
        for pair in query.decode("utf-8").split("&"):
            if pair:
                name, _, value = pair.partition("=")
                pairs.append((_decoded(name), _decoded(value)))
    except UnicodeDecodeError:
        raise BadRequest(Issue("invalid", "The parameters are not percent-encoded UTF-8.")) from None
    for name, value in pairs:
        if _CONTROL.search(name) or "\0" in value:
            raise BadRequest(Issue("invalid", f"The parameter {name[:40]!a} holds control characters."))
    return tuple(pairs)


def _decoded(text: str) -> str:
    """``text`` of a query string: as it is, mostly (https://url.spec.whatwg.org/#urlencoded-parsing)."""
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text, errors="strict") if "%" in text else text
