"""Pages of histories that are as full as if there were nothing but what the caller may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fhirhub.store.records import HistoryPage, Stored

ROUNDS = 20
"""Times that more versions are looked through for one page."""
MOST = 1000
"""Versions that are looked through at a time."""

Ask = Callable[[int, str | None], Awaitable[HistoryPage]]
"""(how many, cursor): what may be seen of so many versions from there on; ``next`` leads on from the last of them all."""


async def filled(
    ask: Ask, count: int, cursor: str | None, link_after: Callable[[Stored], str]
) -> HistoryPage:
    """A page of ``count`` versions that may be seen, and a link to the next only if there are more of them.

    A page is short, and its link leads on all the same, where more than some thousands of others lie between.
    """
    if not count:
        return HistoryPage()
    found: list[Stored] = []
    some, start = count + 1, cursor
    for _ in range(ROUNDS):
        page = await ask(some, start)
        found += page.versions
        if len(found) > count:
            return HistoryPage(found[:count], next=link_after(found[count - 1]))
        if page.next is None:
            return HistoryPage(found)
        some, start = min(2 * some, MOST), page.next
    return HistoryPage(found, next=start)
