"""Failures that anybody can cause without end: of one caller some stand on the trail by themselves, the rest as a number.

Else whoever can send wrong passwords fills the disk with rows about it. Of each caller (an address and the client it
says to be) the first :data:`EACH` failures of a minute are rows of their own, of all callers together the first
:data:`ALL`. Further ones are counted, and when the minute is over, or the server stops, one row for each caller tells
how many there were. The last row before that says that the others are counted, should the process be killed meanwhile.
Each worker has minutes of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from fhirhub.errors import FhirError
from fhirhub.resource.meta import instant
from fhirhub.store.audit.trail import Entry
from fhirhub.store.audit.writer import AuditWriter

EACH = 20
ALL = 200
SECONDS = 60.0
NAMED = 50
"""Callers that have a number of their own; those beyond have one together."""
Key = tuple[str, str]
"""Network address, client."""
OTHERS: Key = ("", "")
log = logging.getLogger("fhirhub.audit")


@dataclass(slots=True)
class _Counted:
    first: Entry
    since: int
    times: int = 0


class Floods:
    """The failures of one process."""

    def __init__(self, audit: AuditWriter) -> None:
        self._audit = audit
        self._told: Counter[Key] = Counter()
        self._counted: dict[Key, _Counted] = {}
        self._until = 0.0
        self._ending: asyncio.Task[None] | None = None

    async def record(self, key: Key, entry: Entry) -> None:
        """Returns when ``entry`` is on disk, or counted. Raises Overloaded when it cannot be."""
        now = asyncio.get_running_loop().time()
        if self._ending is None and now >= self._until:
            self._begin(now)
        # To look at a key of a Counter takes no room.
        told, total = self._told[key] + 1, self._told.total() + 1
        if told > EACH or total > ALL:
            self._count(key, entry)
            if self._ending is None:
                self._ending = asyncio.get_running_loop().create_task(self._end(self._until - now))
            return
        self._told[key] = told
        if told == EACH or total == ALL:
            entry = _with(entry, further=f"counted for {SECONDS:g} seconds")
        await self._audit.record([entry])

    async def stop(self) -> None:
        """Write what has been counted; for the end of the server."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)
        await self._write()

    def _begin(self, now: float) -> None:
        self._told.clear()
        self._until = now + SECONDS

    def _count(self, key: Key, entry: Entry) -> None:
        if key not in self._counted and len(self._counted) >= NAMED:
            key = OTHERS
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = _Counted(entry, _now())
        counted.times += 1

    async def _end(self, seconds: float) -> None:
        while self._counted:
            await asyncio.sleep(seconds)
            await self._write()
            seconds = SECONDS
        self._begin(asyncio.get_running_loop().time())
        self._ending = None

    async def _write(self) -> None:
        """One row for each caller that was counted; where that fails, they are kept for the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await self._audit.record([_summary(key, one) for key, one in counted.items()])
        except (FhirError, asyncpg.PostgresError) as error:
            log.error(
                "%d failures are not on the trail yet: %s", sum(one.times for one in counted.values()), error
            )
            for key, one in self._counted.items():
                if key in counted:
                    counted[key].times += one.times
                else:
                    counted[key] = one
            self._counted = counted


def _summary(key: Key, counted: _Counted) -> Entry:
    """The row of ``counted``: like that of the first of them, which it tells the number of."""
    entry = counted.first._replace(request="")
    among = {"among": "several callers"} if key == OTHERS else {}
    return _with(entry, times=counted.times, since=instant(counted.since), until=instant(_now()), **among)


def _with(entry: Entry, **told: Any) -> Entry:
    detail = orjson.loads(entry.detail)
    return entry._replace(detail=orjson.dumps(detail | {"more": detail.get("more", {}) | told}).decode())


def _now() -> int:
    return time.time_ns() // 1000
