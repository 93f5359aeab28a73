"""Reads by id. All that arrive while a statement is under way leave together as the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from fhirhub.store.engine import Lane
from fhirhub.store.records import METHODS, Stored
from fhirhub.store.resolve import Fetch

COLUMNS = "r.rid, r.version, r.updated, r.deleted, r.method, r.meta::text as meta, r.content::text as content"

ONE = f"select {COLUMNS} from resource r where r.rt = $1 and r.id = $2"

MANY = f"""
select k.n, {COLUMNS}
from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (select * from resource r where r.rt = k.rt and r.id = k.id offset 0) as r
"""

GONE = f"""
select k.n, {COLUMNS}
from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (select * from resource r where r.rt = k.rt and r.id = k.id offset 0) as r
where r.deleted and ($3::text[] is null or exists (
    select from history h cross join unnest($3::text[]) as m (name)
    where h.rt = r.rt and h.rid = r.rid and h.version = r.version - 1 and position(m.name in h.content::text) > 0))
"""

VERSION = """
select r.id, h.rid, h.version, h.updated, h.deleted, h.method, h.meta::text as meta, h.content::text as content
from resource r
cross join lateral (
    select r.rid, r.version, r.updated, r.deleted, r.method, r.meta, r.content where r.version = $3
    union all
    select h.rid, h.version, h.updated, h.deleted, h.method, h.meta, h.content
    from history h where h.rt = r.rt and h.rid = r.rid and h.version = $3
) as h
where r.rt = $1 and r.id = $2
"""

BATCH = 64
"""Reads that one statement carries at most."""


class Reader:
    """Coalesced reads of current versions over a few connections."""

    def __init__(self, lane: Lane, type_number: dict[str, int], flights: int = 2) -> None:
        self._lane = lane
        self._number = type_number
        self._pending: list[tuple[str, str, asyncio.Future[Stored | None]]] = []
        self._flights = flights
        self._flying = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, type_: str, id_: str) -> asyncio.Future[Stored | None]:
        """The current version, a tombstone (``deleted``), or None if there never was one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Stored | None] = loop.create_future()
        self._pending.append((type_, id_, future))
        if not self._scheduled and self._flying < self._flights:
            self._scheduled = True
            loop.call_soon(self._depart)
        return future

    def _depart(self) -> None:
        self._scheduled = False
        if self._pending:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            self._flying += 1
            task = asyncio.get_running_loop().create_task(self._fly(batch))
            self._tasks.add(task)
            task.add_done_callback(self._landed)
            if self._pending and self._flying < self._flights:
                self._depart()

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._flying -= 1
        if self._pending and not self._scheduled:
            self._depart()

    async def _fly(self, batch: list[tuple[str, str, asyncio.Future[Stored | None]]]) -> None:
        try:
            if len(batch) == 1:
                type_, id_, future = batch[0]
                rows = await self._lane.fetch(ONE, self._number[type_], id_)
                if not future.done():
                    future.set_result(stored(type_, id_, rows[0]) if rows else None)
                return
            numbers = [self._number[type_] for type_, _, _ in batch]
            rows = await self._lane.fetch(MANY, numbers, [id_ for _, id_, _ in batch])
            for row in rows:
                type_, id_, future = batch[row[0] - 1]
                if not future.done():
                    future.set_result(stored(type_, id_, row))
            for _, _, future in batch:
                if not future.done():
                    future.set_result(None)
        except BaseException as error:
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise


def stored(type_: str, id_: str, row: asyncpg.Record) -> Stored | None:
    """A row with the columns of :data:`COLUMNS`; placeholders count as absent."""
    if not row["version"]:
        return None
    return Stored(
        type_, id_, row["rid"], row["version"], row["updated"], row["deleted"], METHODS[row["method"]],
        row["meta"], row["content"],
    )  # fmt: skip


async def read_many(
    fetch: Fetch, type_number: dict[str, int], wanted: Sequence[tuple[str, str]]
) -> list[Stored | None]:
    """The current versions of many resources in one statement, in the order asked for."""
    return _placed(wanted, await fetch(MANY, *_names(type_number, wanted)))


async def tombstones(
    fetch: Fetch,
    type_number: dict[str, int],
    wanted: Sequence[tuple[str, str]],
    naming: Sequence[str] | None,
) -> list[Stored | None]:
    """The tombstones of those that were deleted, in the order asked for; given ``naming``, of those whose last version
    holds one of these texts."""
    names = None if naming is None else list(naming)
    return _placed(wanted, await fetch(GONE, *_names(type_number, wanted), names))


def _names(type_number: dict[str, int], wanted: Sequence[tuple[str, str]]) -> tuple[list[int], list[str]]:
    return [type_number[type_] for type_, _ in wanted], [id_ for _, id_ in wanted]


def _placed(wanted: Sequence[tuple[str, str]], rows: Sequence[asyncpg.Record]) -> list[Stored | None]:
    found: list[Stored | None] = [None] * len(wanted)
    for row in rows:
        type_, id_ = wanted[row["n"] - 1]
        found[row["n"] - 1] = stored(type_, id_, row)
    return found
