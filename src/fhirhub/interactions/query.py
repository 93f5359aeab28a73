"""Query strings: what comes after the ``?`` of a URL, in a form body, in `If-None-Exist`, in the entries of a Bundle."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from fhirhub.errors import BadRequest, FhirError, Issue

MAX_PARAMETERS = 500
MAX_QUERY = 60_000
"""Bytes of a query string or a form body."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parameters(query: bytes) -> tuple[tuple[str, str], ...]:
    """The parameters of ``query`` in order, percent-decoded; 400 when they cannot be read, 414 when there is too much."""
    if len(query) > MAX_QUERY:
        raise FhirError(Issue("too-long", f"At most {MAX_QUERY} bytes of parameters are read."), status=414)
    try:
        text = query.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise BadRequest(Issue("invalid", "The parameters are not percent-encoded UTF-8.")) from None
    except ValueError:
        raise BadRequest(Issue("too-long", f"At most {MAX_PARAMETERS} parameters are read.")) from None
    for name, value in pairs:
        if _CONTROL.search(name) or "\0" in value:
            raise BadRequest(Issue("invalid", f"The parameter {name[:40]!a} holds control characters."))
    return tuple(pairs)
