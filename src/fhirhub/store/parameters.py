"""Search parameters of the store's own: which there are, and who goes by which of them.

A process indexes by the generation of parameters that it has loaded. On a connection of its own it holds a shared
advisory lock whose number is that generation, for as long as any of its writes may still go by it. So whoever waits
until no older lock is held knows that all rows written from then on are made with his parameter; rows written before
are there to be read. A process that dies lets go by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import orjson

from fhirhub.definitions.tables import SearchParameter
from fhirhub.search.custom import Own
from fhirhub.store.engine import LOST, SESSION

CHANNEL = "fhirhub_jobs"
"""Notified of every change of a parameter and every new job."""
LOCK = 7333
"""Advisory locks (LOCK, generation): somebody goes by that generation."""
POLL = 5.0
"""Seconds between two looks when nobody notifies."""
PAUSE = 0.05
LOAD = """
select pid, type, code, resource, definition::text as definition, state, done, total
from parameter where state <> 'gone' order by pid
"""
GENERATION = "select coalesce(max(generation), 0) as generation from parameter"
OLDEST = """
select min(objid::bigint) as oldest from pg_locks
where locktype = 'advisory' and classid = 7333 and objsubid = 2
  and database = (select oid from pg_database where datname = current_database())
"""
Fetch = Callable[..., Awaitable[Sequence[Any]]]


async def load(fetch: Fetch) -> tuple[int, list[Own]]:
    """The generation, and all parameters that have rows or are to have some."""
    # The generation first: what is loaded may be newer than it says, never older.
    generation = (await fetch(GENERATION))[0]["generation"]
    return generation, [_own(row) for row in await fetch(LOAD)]


def _own(row: Any) -> Own:
    given = orjson.loads(row["definition"])
    parameter = SearchParameter(
        row["pid"],
        row["type"],
        row["code"],
        given["kind"],
        given["expression"],
        tuple(given["targets"]),
        tuple((code, expression) for code, expression in given["components"]),
        given["url"],
    )
    percent = 100 if row["state"] == "ready" else int(100 * row["done"] / max(row["total"], 1))
    return Own(parameter, row["state"], min(percent, 99), row["resource"])


def definition(parameter: SearchParameter) -> dict[str, Any]:
    """What table ``parameter`` keeps of ``parameter``."""
    return {
        "kind": parameter.kind,
        "expression": parameter.expression,
        "targets": list(parameter.targets),
        "components": [list(each) for each in parameter.components],
        "url": parameter.url,
    }


async def everybody_knows(fetch: Fetch, generation: int) -> bool:
    """Whether no process goes by an older generation any more."""
    oldest = (await fetch(OLDEST))[0]["oldest"]
    return oldest is None or oldest >= generation


class Membership:
    """One process's say in it. ``generation`` is what it goes by."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None
        self._heard = asyncio.Event()
        self.generation = 0
        self.own: list[Own] = []

    async def join(self) -> None:
        """Connect, load the parameters and say which generation that is."""
        connection = await asyncpg.connect(self._dsn, server_settings=SESSION, timeout=10)
        self._connection = connection
        connection.add_termination_listener(self._wake)
        generation, own = await load(connection.fetch)
        while True:
            await self._hold(connection, generation)
            # Who came between the look and the lock is not lost.
            again, own = await load(connection.fetch)
            if again == generation:
                break
            await self._release(connection, generation)
            generation = again
        self.generation, self.own = generation, own

    async def close(self) -> None:
        """Leave: nothing is written by this process any more."""
        if self._connection is not None:
            self._connection.terminate()

    async def follow(
        self,
        changed: Callable[[int, list[Own]], Awaitable[None]],
        woken: Callable[[], None],
    ) -> None:
        """Keep up for ever. ``changed`` is told of every new generation, and must return when nothing goes by the
        former any more; ``woken`` is called whenever there may be something to do.
        """
        while True:
            connection = self._connection
            try:
                if connection is None or connection.is_closed():
                    await self._rejoin(changed)
                    continue
                await connection.add_listener(CHANNEL, self._wake)
                while not connection.is_closed():
                    self._heard.clear()
                    await self._keep_up(connection, changed)
                    woken()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL):
                            await self._heard.wait()
            except (*LOST, TimeoutError, asyncpg.PostgresError):
                if connection is not None:
                    connection.terminate()
                await asyncio.sleep(PAUSE * 4)

    async def _rejoin(self, changed: Callable[[int, list[Own]], Awaitable[None]]) -> None:
        before = self.generation
        await self.join()
        if self.generation != before:
            await changed(self.generation, self.own)

    async def _keep_up(
        self, connection: asyncpg.Connection, changed: Callable[[int, list[Own]], Awaitable[None]]
    ) -> None:
        generation, own = await load(connection.fetch)
        before = self.generation
        self.own = own
        if generation == before:
            return await changed(generation, own)
        # The older lock is held until the last write by it is over.
        await self._hold(connection, generation)
        await changed(generation, own)
        self.generation = generation
        await self._release(connection, before)

    async def _hold(self, connection: asyncpg.Connection, generation: int) -> None:
        await connection.execute("select pg_advisory_lock_shared($1, $2)", LOCK, generation)

    async def _release(self, connection: asyncpg.Connection, generation: int) -> None:
        await connection.execute("select pg_advisory_unlock_shared($1, $2)", LOCK, generation)

    def _wake(self, *_: Any) -> None:
        self._heard.set()
