"""What ``fhirhub import`` has taken in, kept with the resources themselves so that the two cannot disagree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from fhirhub.store.store import Session, Store, _lock

_READ = "select unit, open, counts from import_journal where unit = any ($1::text[])"
_WRITE = """
insert into import_journal (unit, open, counts) values ($1, $2, $3)
on conflict (unit) do update set open = excluded.open, counts = excluded.counts, updated = now()
"""
_TABLES = ("resource", "history", "token", "string", "date", "number")


@dataclass(slots=True)
class State:
    """How far a unit (a part of a file) has come: numbers of its items still to do, counts by type of the rest."""

    open: set[int]
    counts: dict[str, int] = field(default_factory=dict)


async def read(store: Store, units: Sequence[str]) -> dict[str, State]:
    """The units that are known."""
    return _states(await store.fetch(_READ, list(units)))


async def read_within(session: Session, units: Sequence[str]) -> dict[str, State]:
    """The same, as the session sees it; it should hold :func:`lock` of each unit."""
    return _states(await session._connection.fetch(_READ, list(units)))


async def write_within(session: Session, states: Mapping[str, State]) -> None:
    """Keep ``states``, to be committed with the session."""
    for unit, state in states.items():
        await session._connection.fetch(_WRITE, unit, sorted(state.open), json.dumps(state.counts))


def lock(unit: str) -> str:
    """The name of the lock that keeps two imports from taking in the same unit at once."""
    return f"import {unit}"


async def hold(session: Session, locks: Sequence[str]) -> None:
    """Take more named locks in a session that is open already; held until it ends."""
    await _lock(session._connection, set(locks))


async def untouched(dsn: str) -> bool:
    """Whether nothing has ever been written to the store."""
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        return not await connection.fetchval("select exists (select from resource)")
    finally:
        await connection.close()


async def settle(dsn: str) -> None:
    """Give the planner statistics of what was taken in."""
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        for table in _TABLES:
            await connection.execute(f"analyze {table}")
    finally:
        await connection.close()


def _states(rows: Iterable[Mapping[str, object]]) -> dict[str, State]:
    found = {}
    for row in rows:
        open_, counts = row["open"], row["counts"]
        assert isinstance(open_, list) and isinstance(counts, str)
        found[str(row["unit"])] = State(set(open_), json.loads(counts))
    return found
