"""Searches that are made as if nothing carried the labels that keep something from the caller (:mod:`fhirhub.search.plain`).

That nothing does is confirmed by the statement that answers, like everything that is remembered: so a label counts from
its commit on, whoever wrote it. Where there are some, searches are made within their condition for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fhirhub.definitions.tables import Definitions
from fhirhub.search.plain import Absent
from fhirhub.search.request import SearchRequest
from fhirhub.store.recall import Question
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import table

SECONDS = 60.0
"""How long searches go by the labels that were found, before it is tried without them again."""
CAPACITY = 1000


class Unlabelled:
    """Which labels there have lately been found to be."""

    def __init__(self, definitions: Definitions, clock: Callable[[], float] = time.monotonic) -> None:
        self._definitions = definitions
        self._clock = clock
        self._found: dict[Absent, float] = {}
        """What was not absent, and until when that is held."""

    def plain(self, request: SearchRequest) -> SearchRequest:
        """``request`` as it is made: plain, unless it is known that this would not be confirmed."""
        if request.plain is None:
            return request
        until = self._found.get(request.plain.absent)
        return request.plain if until is None or until < self._clock() else request

    def questions(self, request: SearchRequest) -> list[Question]:
        """What has to have no rows for ``request`` to be right."""
        return [(self._sql(type), (keys,)) for type, keys in request.absent]

    async def look(self, request: SearchRequest, fetch: Fetch) -> None:
        """Remember whether there is something of what ``request`` takes to be absent."""
        for type, keys in request.absent:
            if await fetch(self._sql(type), list(keys)):
                if len(self._found) >= CAPACITY:
                    self._found.clear()
                self._found[request.absent] = self._clock() + SECONDS
                return

    def _sql(self, type: str) -> str:
        rows = table("token", self._definitions.type_number[type])
        return f"select 1 as there from {rows} where key = any ($1::bigint[]) limit 1"
