"""From (type, id) to the internal key of a resource, and fresh internal keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import asyncpg

Fetch = Callable[..., Awaitable[Sequence[asyncpg.Record]]]
"""Runs one statement: a lane's or a connection's ``fetch``."""

Name = tuple[str, str]
"""(resource type, logical id)."""

WITNESSES = frozenset({"Provenance"})
"""Types that tell of versions, which stay in the history: they do not keep what they refer to from being deleted."""

RESOLVE = """
select k.n, r.rid
from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (select r.rid from resource r where r.rt = k.rt and r.id = k.id offset 0) as r
"""

BLOCK = 1024


class Resolver:
    """Remembers rids: they never change, so remembering is safe; whether a resource lives is asked elsewhere."""

    def __init__(self, type_number: dict[str, int], capacity: int = 60_000) -> None:
        self._number = type_number
        self._capacity = capacity
        self._known: dict[Name, int] = {}

    def known(self, name: Name) -> int | None:
        """The rid of ``name`` if it is remembered."""
        return self._known.get(name)

    def remember(self, name: Name, rid: int) -> None:
        """Keep a committed rid; the oldest half goes when the memory is full."""
        if len(self._known) >= self._capacity:
            for old in list(self._known)[: self._capacity // 2]:
                del self._known[old]
        self._known[name] = rid

    async def resolve(
        self,
        names: Iterable[Name],
        fetch: Fetch,
        *,
        keep: bool = True,
        own: Collection[Name] | None = None,
    ) -> dict[Name, int]:
        """The rids of those of ``names`` that exist (placeholders and tombstones too).

        Inside a transaction that may yet be rolled back nothing is to be kept. With ``own``, all other names are looked
        up although they are remembered: what is not there never is, so it would be told by the time that takes.
        """
        found: dict[Name, int] = {}
        unknown: list[Name] = []
        for name in names:
            rid = self._known.get(name) if own is None or name in own else None
            if rid is None:
                unknown.append(name)
            else:
                found[name] = rid
        if unknown:
            rows = await fetch(RESOLVE, [self._number[t] for t, _ in unknown], [i for _, i in unknown])
            for n, rid in rows:
                found[unknown[n - 1]] = rid
                if keep:
                    self.remember(unknown[n - 1], rid)
        return found


class RidSource:
    """Hands out rids from blocks of 1,024 that a database sequence reserves for this process."""

    def __init__(self) -> None:
        self._next = 0
        self._end = 0

    async def take(self, count: int, fetch: Fetch) -> list[int]:
        """``count`` rids that nobody else will ever get."""
        taken: list[int] = []
        while len(taken) < count:
            if self._next == self._end:
                blocks = (count - len(taken) + BLOCK - 1) // BLOCK
                rows = await fetch("select nextval('rid_block') from generate_series(1, $1)", blocks)
                if self._next == self._end:
                    starts = [row[0] * BLOCK for row in rows]
                    self._next, self._end = starts[0], starts[0] + BLOCK
                    for start in starts[1:]:
                        taken.extend(range(start, start + BLOCK))
                    continue
            upto = min(self._end, self._next + count - len(taken))
            taken.extend(range(self._next, upto))
            self._next = upto
        return taken[:count]
