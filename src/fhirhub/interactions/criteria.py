"""The search criteria of conditional interactions: https://hl7.org/fhir/R4/http.html#cond-update."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhirhub.errors import Issue, PreconditionFailed
from fhirhub.exchange import FhirRequest
from fhirhub.hub import Hub
from fhirhub.interactions.query import parameters
from fhirhub.search.predicate import And
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Stored
from fhirhub.view.view import View

_IDENTIFIER = re.compile(r"identifier=[^|,\\&]+\|[^|,\\&]+")
"""One identifier with its system: two conditions of this form meet the same resources only if they are the same."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """A parsed condition on one type, the words it was given in, and the names of the locks that guard it."""

    text: str
    search: SearchRequest
    locks: tuple[str, ...]


def criteria_of(hub: Hub, type: str, given: Sequence[tuple[str, str]], base: str) -> Criteria:
    """The criteria ``given`` as search parameters; 412 when they select nothing in particular."""
    hub.access.require("s", type)
    search = hub.parser.parse(type, given, bases=(base,))
    if search.where == And(()):
        text = f"The condition on {type} names no search parameter, so it would match everything."
        raise PreconditionFailed(Issue("required", text))
    search = replace(
        search, count=2, sort=(), includes=(), total="none", summary="false", elements=(), cursor=None
    )
    words = "&".join(sorted(f"{name}={value}" for name, value in search.applied))
    name = f"{type}?{words}"
    return Criteria(name, search, (name if _IDENTIFIER.fullmatch(words) else type,))


def criteria_of_header(hub: Hub, request: FhirRequest) -> Criteria:
    """The criteria in ``If-None-Exist``: ``identifier=system|value``; a ``Type?`` before it is tolerated."""
    assert request.type is not None
    return criteria_of_query(hub, request.type, request.headers["if-none-exist"], request.base)


def criteria_of_query(hub: Hub, type: str, query: str, base: str) -> Criteria:
    """The criteria in a percent-encoded query string."""
    query = query.strip().removeprefix(type).removeprefix("?")
    return criteria_of(hub, type, parameters(query.encode("utf-8")), base)


async def matching(store: View, criteria: Criteria, limit: int, *, whole: bool) -> list[Stored]:
    """The resources that match, at most ``limit``; ``whole`` to be changed, else as they may be shown."""
    return (await store.search(replace(criteria.search, count=limit), whole=whole)).matches


async def the_one(store: View, criteria: Criteria, *, whole: bool = False) -> Stored | None:
    """The one resource that matches, or None; 412 when there are several. ``whole``: see :func:`matching`."""
    found = await matching(store, criteria, 2, whole=whole)
    if len(found) > 1:
        text = f"The condition {criteria.text[:200]} matches more than one resource; make it more specific."
        raise PreconditionFailed(Issue("multiple-matches", text))
    return found[0] if found else None
