"""Statements that are alike and arrive while their like is under way leave together, as one: the common text is carried
out for each list of arguments in turn.

Most of what a small search costs is the way to the database and back, on both sides; it is shared so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import asyncpg

from fhirhub.store.engine import Lane

FLIGHTS = 2
"""Statements of one text that are under way at once before others wait."""
TOGETHER = 32
"""Statements that leave as one at most."""
SLOW = 1.0
"""Seconds that nothing short takes: what does was misjudged, and nobody else is to wait for its like."""
APART = 60.0
"""Seconds for which all of that text leave by themselves."""
MISJUDGED = 1000
"""Texts of which that is remembered; all are forgotten when there are more."""
_BARE = re.compile(r"\$\d+(?![\d:])")
"""An argument whose type is not told."""
_ARGUMENT = re.compile(r"\$(\d+)::(double precision|[a-z]+)(\[\])?")
Rows = Sequence[asyncpg.Record]


@dataclass(slots=True)
class _Line:
    """How many of one text are under way, and who waits with which arguments."""

    flying: int = 0
    waiting: list[tuple[Sequence[Any], asyncio.Future[Rows | None]]] = field(default_factory=list)


class Gathering:
    """Runs statements on ``lane``, short ones only: each waits for all that it leaves with."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._lines: dict[str, _Line] = {}
        self._apart: dict[str, float] = {}
        """Texts that turned out not to be short, and until when they leave alone."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, sql: str, *values: Any) -> Rows:
        """The rows of ``sql``; it leaves with others only if its arguments are all written ``$n::type``."""
        if sql in self._apart and self._is_apart(sql):
            return await self._lane.fetch(sql, *values)
        line = self._lines.get(sql)
        if line is None:
            line = self._lines[sql] = _Line()
        if line.flying >= FLIGHTS and values and is_typed(sql):
            future: asyncio.Future[Rows | None] = asyncio.get_running_loop().create_future()
            line.waiting.append((values, future))
            rows = await future
            if rows is not None:
                return rows
        line.flying += 1
        started = asyncio.get_running_loop().time()
        try:
            return await self._lane.fetch(sql, *values)
        finally:
            self._landed(sql, line, started)

    def _is_apart(self, sql: str) -> bool:
        if asyncio.get_running_loop().time() < self._apart[sql]:
            return True
        del self._apart[sql]
        return False

    def _landed(self, sql: str, line: _Line, started: float) -> None:
        """One is back: those who wait go next, a single one by itself."""
        line.flying -= 1
        line.waiting = [each for each in line.waiting if not each[1].done()]
        now = asyncio.get_running_loop().time()
        if now - started > SLOW:
            if len(self._apart) >= MISJUDGED:
                self._apart.clear()
            self._apart[sql] = now + APART
            for _, future in line.waiting:
                future.set_result(None)
            line.waiting = []
        batch, line.waiting = line.waiting[:TOGETHER], line.waiting[TOGETHER:]
        if len(batch) > 1:
            line.flying += 1
            task = asyncio.get_running_loop().create_task(self._fly(sql, line, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif batch:
            batch[0][1].set_result(None)
        elif not line.flying and self._lines.get(sql) is line:
            del self._lines[sql]

    async def _fly(
        self, sql: str, line: _Line, batch: Sequence[tuple[Sequence[Any], asyncio.Future[Rows | None]]]
    ) -> None:
        # None sends each on its way alone: what fails together, or is broken off, is no empty page.
        found: Sequence[Any] = [None for _ in batch]
        started = asyncio.get_running_loop().time()
        try:
            text, arrays = common(sql)
            columns = zip(arrays, zip(*[values for values, _ in batch], strict=True), strict=True)
            given = [list(map(literal, column)) if array else list(column) for array, column in columns]
            each: list[list[asyncpg.Record]] = [[] for _ in batch]
            for row in await self._lane.fetch(text, *given):
                each[row[-1] - 1].append(row)
            found = each
        except Exception:  # noqa: BLE001, S110  each fails for itself only
            pass
        finally:
            for (_, future), rows in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(rows)
            self._landed(sql, line, started)


@lru_cache(maxsize=1000)
def is_typed(sql: str) -> bool:
    """Whether the types of all arguments of ``sql`` are told."""
    return _BARE.search(sql) is None


@lru_cache(maxsize=1000)
def common(sql: str) -> tuple[str, tuple[bool, ...]]:
    """``sql`` carried out for each of many lists of arguments, its rows followed by the position of the list; and which
    of its arguments are arrays: these come in the text form of arrays, since there are no arrays of arrays.
    """
    columns: dict[int, tuple[str, bool]] = {}

    def column(found: re.Match[str]) -> str:
        number, kind, array = int(found[1]), found[2], found[3] is not None
        columns[number] = kind, array
        return f"given.a{number}::{kind}[]" if array else f"given.a{number}"

    body = _ARGUMENT.sub(column, sql)
    numbers = range(1, len(columns) + 1)
    arrays = ", ".join(f"${n}::{'text' if columns[n][1] else columns[n][0]}[]" for n in numbers)
    names = ", ".join([*(f"a{n}" for n in numbers), "nth"])
    text = (
        f"select found.*, given.nth from unnest({arrays}) with ordinality as given ({names})"
        f" cross join lateral ({body}) as found"
    )
    return text, tuple(columns[n][1] for n in numbers)


def literal(values: Sequence[Any]) -> str:
    """An array in the text form of PostgreSQL (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO)."""
    return "{" + ",".join([_quoted(each) if isinstance(each, str) else str(each) for each in values]) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
