"""The parameters that have no rows of their own, and what R4 defines but is not served yet.

https://hl7.org/fhir/R4/search.html#all
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fhirhub.search.parameters.base import Facet, Query, any_of, refuse, shortened, unescape
from fhirhub.search.parameters.date import bounds, parse_interval
from fhirhub.search.predicate import Bound, Ids, Not, Predicate, Updated

ROWLESS = frozenset(("_id", "_lastUpdated"))
"""Answered from columns of the resource itself."""

SPECIAL = frozenset(("_text", "_content", "_list", "_filter", "near"))
"""Served by :mod:`fhirhub.search.specials`, where R4 defines them for a type."""

RESULT_PARAMETERS = (
    "_sort",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_include",
    "_revinclude",
    "_contained",
    "_containedType",
)
"""They shape the answer; known here so that a misspelt one finds its right name."""

UNSERVED_PARAMETERS: dict[str, str] = {
    "_query": "named queries are not served",
    "_type": "this is a search of one type; several are named in [base]?_type=",
    "_score": "R4 has no such parameter; sort by it (_sort=-_score), and the entries tell their scores",
    "age": "HL7 published this parameter without an expression; search by birthdate",
    "birthOrderBoolean": "HL7 published this parameter without an expression",
}
"""Code -> why a parameter that R4 defines is refused."""

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


def parse_id(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """``_id``: any of ``values``, or with ``:not`` none of them."""
    ids: list[str] = []
    for value in values:
        text = unescape(value)
        if not _ID.fullmatch(text):
            raise refuse(
                facet.expression, f"{shortened(text)!r} is not an id: letters, digits, - and ., at most 64"
            )
        ids.append(text)
    found = Ids(tuple(dict.fromkeys(ids)))
    return Not(found) if modifier == "not" else found


def _on_instant(each: tuple[Bound, ...]) -> tuple[Bound, ...]:
    """Bounds on an interval as bounds on a moment, which is its own start and end."""
    return tuple(("lo", operator, value) for _, operator, value in each)


def parse_updated(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """``_lastUpdated``: any of ``values``."""
    parts: list[Predicate] = []
    for text in values:
        prefix, (lo, hi) = parse_interval(facet.expression, text)
        if prefix in ("ge", "le"):  # for a moment the two ways to be "greater or equal" are one
            parts.append(Updated((("lo", ">=", lo) if prefix == "ge" else ("lo", "<=", hi),)))
        else:
            parts.extend(Updated(_on_instant(each)) for each in bounds(prefix, lo, hi, query.now))
    return any_of(parts)
