"""Statements that are ready to run, kept for when the very same is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhirhub.errors import Issue
from fhirhub.search.request import SearchRequest
from fhirhub.search.understood import is_long
from fhirhub.store.asked import Asked
from fhirhub.store.plan import Plan
from fhirhub.store.walks import Position

SHORT = 2500.0
"""Index entries up to which a statement is: they take a few milliseconds."""
LONG = 10_000
"""Characters of a statement up to which it is: the text for many is made for each, and kept."""
ROWS = 50
"""Matches of a page up to which it is."""
CAPACITY = 1000
"""Statements that are kept; the older half goes when there are more."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The statement of a page, and what is known of that page before it runs."""

    asked: Asked
    sql: str
    values: list[Any]
    counts: bool
    """Whether its rows tell the total."""
    plan: Plan | None = None
    """None for a statement that only counts."""
    width: int = 0
    """Order columns."""
    cost: float = 0.0
    """Index entries that the page is expected to look at."""
    counted: float = 0.0
    """Those that the total is."""
    position: Position | None = None
    after: int | None = None
    """Where a page that goes on with includes begins."""
    total: int | None = None
    """The total, where it is estimated."""
    notes: tuple[Issue, ...] = ()

    @property
    def is_short(self) -> bool:
        """Whether others may be made to wait for it."""
        few = self.cost + self.counted <= SHORT and self.asked.request.count <= ROWS
        return few and 0 < len(self.sql) <= LONG and self.position is None


class Again:
    """The statements of requests that nothing but themselves decides (:attr:`fhirhub.store.asked.Asked.lasts`), for as
    long as their stamp is the same: the definitions and the statistics that they were made by.

    A request is known by its identity: what is asked again is the same object
    (:class:`fhirhub.search.understood.Understood`), and telling that two are equal would take as long as to start anew.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Ready] = {}
        self._stamp: tuple[Any, ...] = ()

    def get(self, request: SearchRequest, stamp: tuple[Any, ...]) -> Ready | None:
        """The statement of ``request``; none that was made under another ``stamp``."""
        if stamp != self._stamp:
            self._kept.clear()
            self._stamp = stamp
        # No other object can have its place while it is kept.
        return self._kept.get(id(request))

    def keep(self, ready: Ready, stamp: tuple[Any, ...]) -> None:
        """Remember ``ready``, which was made under ``stamp``, if it will be right again."""
        if (
            stamp != self._stamp
            or not ready.asked.lasts
            or is_long(ready.asked.request)
            or ready.position is not None
            or (ready.plan and ready.plan.kind == "ranked")
        ):
            return
        if len(self._kept) >= CAPACITY:
            for old in list(self._kept)[: CAPACITY // 2]:
                del self._kept[old]
        self._kept[id(ready.asked.request)] = ready

    def forget(self, request: SearchRequest) -> None:
        """Have the statement of ``request`` made anew."""
        self._kept.pop(id(request), None)
