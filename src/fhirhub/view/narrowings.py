"""Searches within the sight of those who make them, kept for when the same caller asks the same again."""

from __future__ import annotations

from fhirhub.auth.access import Access
from fhirhub.definitions.tables import Definitions
from fhirhub.search.narrowing import narrowed
from fhirhub.search.request import SearchRequest
from fhirhub.search.understood import is_long

CAPACITY = 1000
"""Searches that are kept; the older half goes when there are more."""
Kept = tuple[SearchRequest, Access, Definitions, SearchRequest]


class Narrowings:
    """What :func:`fhirhub.search.narrowing.narrowed` has made of requests, each known by its identity, as is the Access:
    what is asked again is the same object (:class:`fhirhub.search.understood.Understood`)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Kept] = {}

    def of(self, request: SearchRequest, access: Access, definitions: Definitions) -> SearchRequest:
        """``request`` within the sight of ``access``, the very same object each time. Raises Forbidden."""
        if access.sight.everything:
            return request
        key = (id(request), id(access))
        found = self._kept.get(key)
        if found is not None and found[0] is request and found[1] is access and found[2] is definitions:
            return found[3]
        made = narrowed(request, access.sight, definitions, access.require)
        if is_long(request):
            return made
        if len(self._kept) >= CAPACITY:
            for old in list(self._kept)[: CAPACITY // 2]:
                del self._kept[old]
        self._kept[key] = (request, access, definitions, made)
        return made
