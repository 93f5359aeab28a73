"""Connections to Postgres: an own list of prepared connections, since the stock pool halves the rate."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import asyncpg

from fhirhub.errors import FhirError, Issue, Overloaded

SESSION = {
    "application_name": "fhirhub",
    # Every statement of the store is written so that one plan is right for all values: index walks and probes.
    # Generic plans made while a table was still small must not freeze a sequential scan.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "synchronous_commit": "on",
    # What nobody waits for any more stops within this time, instead of running on without a client.
    "client_connection_check_interval": "2s",
    "timezone": "UTC",
}

STATEMENTS = 300
"""Prepared statements of one connection; the one longest unused makes room."""
LONG = 20_000
"""Characters of a statement that is too large to keep: its plan takes megabytes, and its like comes seldom."""
NAMED = 1
"""asyncpg's own cache is not used, but where it is off (0) it gives statements no name, and the server parses and
plans them again on every call: that costs more than the statement."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,
    OSError,
)
"""What asyncpg raises when the server has gone away; an internal error of the client when that happens between two
messages."""
PATIENCE = 30.0
"""Seconds that a start waits for a server that is itself still starting."""
FULL = asyncpg.InsufficientResourcesError
"""Too many locks, connections or megabytes at once: the connection is sound, the request has to come again."""


def unavailable() -> Overloaded:
    """503: the database is not there at the moment."""
    return Overloaded(
        Issue("transient", "The database is not available at the moment; try again shortly."),
        headers={"Retry-After": "1"},
    )


def given_up() -> FhirError:
    """503 ``timeout``: a statement ran into the statement timeout of its lane."""
    text = (
        "The search was given up because it took too long; add a criterion that few resources fulfil (a patient, a"
        " code, a date), or leave _sort or _total out."
    )
    return FhirError(Issue("timeout", text), status=503, headers={"Retry-After": "5"})


class Connection:
    """One connection with its prepared statements."""

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self._statements: dict[str, Any] = {}

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of ``sql``, prepared on first use."""
        statement = self._statements.pop(sql, None)
        if statement is None:
            return await (await self._prepared(sql)).fetch(*args)
        self._statements[sql] = statement
        found: list[asyncpg.Record] = await statement.fetch(*args)
        return found

    async def fetch_within(self, seconds: float, sql: str, *args: Any) -> list[asyncpg.Record]:
        """The same, given up after so many seconds (a 503; a transaction can then only be rolled back)."""
        try:
            return await (await self._prepared(sql, seconds)).fetch(*args, timeout=seconds)
        except TimeoutError as error:
            raise given_up() from error

    async def _prepared(self, sql: str, seconds: float | None = None) -> Any:
        statement = self._statements.get(sql)
        if statement is None:
            if len(sql) > LONG:
                return await self.raw.prepare(sql, timeout=seconds)
            while len(self._statements) >= STATEMENTS:
                del self._statements[next(iter(self._statements))]
            statement = await self.raw.prepare(sql, timeout=seconds)
        else:
            del self._statements[sql]
        self._statements[sql] = statement
        return statement


class Lane:
    """A fixed number of connections handed out last in, first out; whoever finds none waits in line."""

    def __init__(self, dsn: str, size: int, settings: dict[str, str] | None = None) -> None:
        self._dsn = dsn
        self._size = size
        self._settings = SESSION | (settings or {})
        self._free: list[Connection | None] = [None] * size
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._all: set[Connection] = set()
        self._closed = False
        self.in_use = 0

    async def open(self) -> None:
        """Make the first connection, so that a wrong address is noticed at start."""
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                self._free[-1] = await self._connect()
                return
            except asyncpg.CannotConnectNowError:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Close all connections, those at work too; who waits for one is sent away, and so is who comes later."""
        self._closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(unavailable())
        for connection in list(self._all):
            connection.raw.terminate()
        self._all.clear()

    async def _connect(self) -> Connection:
        raw = await asyncpg.connect(
            self._dsn, server_settings=self._settings, statement_cache_size=NAMED, timeout=5
        )
        if self._closed:
            raw.terminate()
            raise unavailable()
        connection = Connection(raw)
        self._all.add(connection)
        return connection

    async def take(self) -> Connection:
        """A live connection, to be given back with :meth:`give`."""
        if self._closed:
            raise unavailable()
        if self._free:
            connection = self._free.pop()
        else:
            waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                connection = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self.in_use += 1
                    self.give(waiter.result())
                raise
        self.in_use += 1
        if connection is not None and not connection.raw.is_closed():
            return connection
        if connection is not None:
            self._all.discard(connection)
        try:
            return await self._connect()
        except BaseException as error:
            self.give(None)
            if isinstance(error, (*LOST, TimeoutError, asyncpg.PostgresError)):
                raise unavailable() from error
            raise

    def give(self, connection: Connection | None) -> None:
        """Give a connection back; None when it was lost."""
        self.in_use -= 1
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._free.append(connection)

    def use(self) -> Use:
        """A connection for the time of a ``with``; a lost server becomes a 503."""
        return Use(self)

    async def fetch(self, sql: str, *args: Any) -> Sequence[asyncpg.Record]:
        """The rows of one statement, tried once more on a fresh connection if the first was lost."""
        try:
            async with self.use() as connection:
                return await connection.fetch(sql, *args)
        except Overloaded:
            async with self.use() as connection:
                return await connection.fetch(sql, *args)


class Use:
    """A connection of ``lane``, taken and given back; written out because every statement passes here."""

    __slots__ = ("_connection", "_lane")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def __aenter__(self) -> Connection:
        self._connection = await self._lane.take()
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                self._tell(error)
        finally:
            self._lane.give(self._connection)

    def _tell(self, error: BaseException) -> None:
        """Raise what ``error`` means to a caller, if that is something else."""
        if isinstance(error, LOST):
            self._connection.raw.terminate()
            raise unavailable() from error
        if isinstance(error, FULL):
            raise unavailable() from error
        if isinstance(error, asyncpg.QueryCanceledError):
            raise given_up() from error
        if isinstance(error, asyncio.CancelledError):
            # The statement may still be running: a half-used connection is not handed to the next.
            self._connection.raw.terminate()
