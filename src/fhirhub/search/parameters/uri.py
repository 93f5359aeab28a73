"""URI parameters: https://hl7.org/fhir/R4/search.html#uri

Equal to the letter, by hash. A canonical with a version (``http://…|1.0``) is also found without it. The
uri itself is kept as an ordered row too, for searches by hierarchy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, refuse, unescape
from fhirhub.search.predicate import Keys, Predicate
from fhirhub.search.rows import STRING_LENGTH, Rows, hashed_key, range_key

ORDERED = frozenset(("uri", "url", "oid", "uuid"))
_TYPES = ORDERED | {"canonical"}


def uri_spellings(value: str, type_name: str) -> tuple[str, ...]:
    """What a uri is hashed as: itself, and a canonical also without its version."""
    if type_name == "canonical" and "|" in value:
        return value, value.partition("|")[0]
    return (value,)


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when uris are not made of that type."""
    type_name = route.type_name
    if type_name not in _TYPES:
        return None
    ordered = type_name in ORDERED
    key = range_key(pid)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is str:
            rows.params.add(pid)
            for spelling in uri_spellings(value, type_name):
                rows.tokens.add(hashed_key(pid, spelling, secret))
            if ordered:
                rows.strings.add((key, value[:STRING_LENGTH]))

    return emit


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    texts = [unescape(text).strip() for text in values]
    if not all(texts):
        raise refuse(facet.expression, f"{facet.code} needs a uri")
    return Keys(tuple(dict.fromkeys(hashed_key(facet.pid, text, query.secret) for text in texts)))
