"""What is done on the command line to people, clients and keys: in one transaction with its row of the audit trail."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import asyncpg

from fhirhub import keys
from fhirhub.cli.common import settings
from fhirhub.errors import FhirError, Issue
from fhirhub.exchange import Caller
from fhirhub.settings import Settings
from fhirhub.store import migrate
from fhirhub.store.audit.chain import INSERT, Chains
from fhirhub.store.audit.trail import event
from fhirhub.store.engine import Connection, Lane
from fhirhub.store.postgres import database

CLIENT = "command line"
ATTEMPTS = 3
T = TypeVar("T")
Work = Callable[[Lane], Awaitable[T]]
Detail = Callable[[T], Mapping[str, Any]]
"""Result of the work -> what its row says of it; no secrets."""


class _Held(Lane):
    """The connection of a transaction under way, for those who take a lane; transactions of theirs are part of it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("", 0)
        self._connection = connection

    async def take(self) -> Connection:
        return self._connection

    def give(self, connection: Connection | None) -> None:
        """It stays with the transaction."""


def looked(work: Work[T]) -> T:
    """``work`` on the store the environment names, which it changes nothing of."""
    return _on_store(lambda chosen, lane: work(lane))


def done(what: str, work: Work[T], detail: Detail[T]) -> T:
    """``work`` on the store the environment names, and that somebody at this machine did ``what``: both, or neither.

    Nothing is put on record where there is no trail.
    """
    return _on_store(lambda chosen, lane: _recorded(chosen, lane, what, work, detail))


async def note(
    chosen: Settings, dsn: str, kind: str, what: str, outcome: int, detail: Mapping[str, Any]
) -> None:
    """Put on record what is no single transaction, in the migrated store at ``dsn``; ``outcome`` as in AuditEvent."""

    async def nothing(lane: Lane) -> None:
        """It has been done already."""

    lane = Lane(dsn, 1)
    await lane.open()
    try:
        await _recorded(chosen, lane, what, nothing, lambda _: detail, kind, outcome)
    finally:
        await lane.close()


async def _recorded(
    chosen: Settings,
    lane: Lane,
    what: str,
    work: Work[T],
    detail: Detail[T],
    kind: str = "admin",
    outcome: int = 0,
) -> T:
    """``work`` and its row in one transaction on an open ``lane`` to a migrated store."""
    key = keys.load(chosen).derive("audit") if chosen.is_audited else None
    for _ in range(ATTEMPTS):
        try:
            async with lane.use() as connection, connection.raw.transaction():
                result = await work(_Held(connection))
                if key is not None:
                    row = event(kind, what, _caller(), outcome=outcome, more=detail(result))
                    chain = Chains(key).of(connection)
                    await connection.fetch(INSERT, *await chain.rows([row], connection.fetch))
            return result
        except asyncpg.UniqueViolationError:
            # A row of a connection that was lost came in late, and has the place in the chain.
            continue
    raise FhirError(Issue("exception", "The audit trail cannot be written at the moment; nothing was done."))


def _on_store(work: Callable[[Settings, Lane], Awaitable[T]]) -> T:
    chosen = settings().settings
    with database(chosen) as dsn:
        return asyncio.run(_connected(chosen, dsn, work))


async def _connected(chosen: Settings, dsn: str, work: Callable[[Settings, Lane], Awaitable[T]]) -> T:
    await migrate.ensure(dsn)
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        return await work(chosen, lane)
    finally:
        await lane.close()


def _caller() -> Caller:
    return Caller(client=CLIENT, client_name=f"fhirhub, by {_operator()} on the server's machine")


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return "somebody"
