"""Adds entries to the audit trail. All that wait while a commit is under way share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from fhirhub.errors import Overloaded
from fhirhub.store.audit.chain import INSERT, MAC, Chains
from fhirhub.store.audit.trail import Entry
from fhirhub.store.engine import Connection, Lane, unavailable

GROUP = 512
"""Entries that share a commit, at most (one caller may bring more)."""
ATTEMPTS = 3
_MAC = "select mac from audit where chain = $1 and seq = $2"
log = logging.getLogger("fhirhub.audit")

Waiting = tuple[Sequence[Entry], asyncio.Future[None]]


class AuditWriter:
    """Entries that are no part of a change: of reads, searches, refusals, logins."""

    def __init__(self, lane: Lane, chains: Chains, flights: int = 1) -> None:
        """``lane`` should be for this alone, with ``flights`` connections."""
        self._lane = lane
        self._chains = chains
        self._flights = flights
        self._flying = 0
        self._pending: list[Waiting] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def record(self, entries: Sequence[Entry]) -> None:
        """Returns when ``entries`` are on disk, once each. Raises Overloaded when they cannot be; then nothing
        that they tell of may leave the server.

        Who stops waiting (a caller that hung up) does not take them back.
        """
        if not entries:
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._pending.append((entries, done))
        self._schedule(loop)
        await done

    async def drain(self) -> None:
        """Wait for what is under way, before the lane is closed."""
        while self._tasks or self._pending:
            self._schedule(asyncio.get_running_loop())
            await asyncio.sleep(0)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pending and self._flying < self._flights and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._scheduled = False
        group: list[Waiting] = []
        size = 0
        while self._pending and (not group or size + len(self._pending[0][0]) <= GROUP):
            waiting = self._pending.pop(0)
            size += len(waiting[0])
            group.append(waiting)
        if group:
            self._flying += 1
            task = asyncio.get_running_loop().create_task(self._fly(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fly(self, group: list[Waiting]) -> None:
        try:
            await self._all(group)
        except BaseException as error:
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._flying -= 1
            self._schedule(asyncio.get_running_loop())

    async def _all(self, group: list[Waiting]) -> None:
        try:
            await self._insert([entry for entries, _ in group for entry in entries])
        except (asyncpg.PostgresError, ValueError) as error:
            if len(group) == 1:
                raise
            # One of them cannot be stored: each by itself, so that only that one fails.
            log.error("a group of audit entries was refused: %s", error)
            for waiting in group:
                await self._fly_alone(waiting)
            return
        for _, done in group:
            if not done.done():
                done.set_result(None)

    async def _fly_alone(self, waiting: Waiting) -> None:
        try:
            await self._all([waiting])
        except (asyncpg.PostgresError, ValueError) as error:
            if not waiting[1].done():
                waiting[1].set_exception(error)

    async def _insert(self, entries: Sequence[Entry]) -> None:
        """Add ``entries`` once, also when a connection ends and nobody knows whether its commit came through."""
        rows: tuple[Any, ...] | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._lane.use() as connection:
                    if rows is not None and await _settled(connection, rows):
                        return
                    rows = None
                    chain = self._chains.of(connection)
                    rows = await chain.rows(entries, connection.fetch)
                    try:
                        await connection.fetch(INSERT, *rows)
                    except asyncpg.UniqueViolationError:
                        rows = None
                        continue
                    chain.committed()
                    return
            except Overloaded:
                if attempt == ATTEMPTS:
                    raise
        raise unavailable()


async def _settled(connection: Connection, rows: tuple[Any, ...]) -> bool:
    """Whether ``rows``, sent before with unknown success, are there now.

    They are sent again for the same places in their chain, so they can come in only once, however late the first
    try ends; False when others have these places.
    """
    try:
        await connection.fetch(INSERT, *rows)
        return True
    except asyncpg.UniqueViolationError:
        macs = rows[-1]
        found = await connection.fetch(_MAC, rows[0], rows[1] + len(macs) // MAC)
        return bool(found) and bytes(found[0]["mac"]) == macs[-MAC:]
