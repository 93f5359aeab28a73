"""Is the schema what the code expects, and making it so.

``migrations/versions/NNNN_title.py`` is revision ``NNNN``; the highest is the one the code expects. A database
without any gets the whole current schema at once; an older one is brought up by Alembic, in a process of its own,
since loading it would cost every start a third of a second and every worker 30 MB.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from fhirhub.packaged import folder
from fhirhub.store.programs import OLDEST, PostgresError

LOCK = 0x66686972
"""Key of the advisory lock under which the schema is changed."""

PATIENCE = "60s"
"""How long to wait for somebody else's migration, or for one lock on a table."""

DSN_VARIABLE = "FHIRHUB_DATABASE_URL"

VERSION_TABLE = (
    "create table if not exists alembic_version (version_num varchar(32) not null, "
    "constraint alembic_version_pkc primary key (version_num))"
)
"""As Alembic makes it."""
_CURRENT = "select version_num from alembic_version"
_EXISTS = "select to_regclass('alembic_version') is not null, to_regclass('resource') is not null"
_FORBIDDEN = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True, slots=True)
class State:
    """The revision a database has (None: an empty one), and the one the code expects."""

    current: str | None
    expected: str

    @property
    def due(self) -> bool:
        """Whether a migration is needed."""
        return self.current != self.expected


def expected() -> str:
    """The revision the code expects."""
    names = [path.name for path in (folder("migrations") / "versions").glob("[0-9]*.py")]
    return max(match.group() for name in names if (match := re.match(r"\d{4}", name)))


def schema_files() -> list[Path]:
    """The files that make the whole current schema, in order."""
    base = folder("migrations")
    rest = sorted(path for path in base.glob("*.sql") if path.name != "schema.sql")
    return [base / "schema.sql", *rest]


async def connect(dsn: str) -> asyncpg.Connection:
    """A connection for an administrator's work; PostgresError with the reason when there is none to be had."""
    try:
        return await asyncpg.connect(dsn, timeout=30)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        raise PostgresError(f"The database cannot be reached: {error or type(error).__name__}") from error


async def state(connection: asyncpg.Connection) -> State:
    """Compare one row. Raises PostgresError for a schema that fhirhub did not make, or that is too new for it."""
    has_version, has_record = await connection.fetchrow(_EXISTS)
    current = await connection.fetchval(_CURRENT) if has_version else None
    wanted = expected()
    if current is None and has_record:
        raise PostgresError("The database has tables of another program; give fhirhub a database of its own.")
    if current is not None and current > wanted:
        raise PostgresError(
            f"The database was migrated to revision {current} by a newer fhirhub; this one knows {wanted}. "
            "Migrations only go forward: run the newer version."
        )
    return State(current, wanted)


async def ensure(dsn: str) -> State:
    """Bring the schema to the expected revision if it is not there yet; the state found is returned.

    Any number of processes may call it at the same time. Raises PostgresError when it cannot be done.
    """
    connection = await connect(dsn)
    try:
        found = await state(connection)
        if found.due and found.current is None:
            async with locked(connection):
                if (await state(connection)).current is None:
                    await _create(connection)
    finally:
        await connection.close()
    if found.due and found.current is not None:
        await _upgrade(dsn)
    return found


async def _create(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        for path in schema_files():
            await connection.execute(path.read_text(encoding="utf-8"))
        await connection.execute(VERSION_TABLE)
        await connection.execute("insert into alembic_version values ($1)", expected())


async def _upgrade(dsn: str) -> None:
    """Run Alembic in a process of its own; the address travels by environment, where no process list shows it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fhirhub.store.upgrade",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {DSN_VARIABLE: dsn},
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise PostgresError(f"The migration failed:\n{said.decode(errors='replace').strip()}")


@asynccontextmanager
async def locked(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the migration lock on this connection; PostgresError when somebody keeps it too long."""
    await connection.execute(f"set lock_timeout = '{PATIENCE}'")
    try:
        await connection.fetchval("select pg_advisory_lock($1)", LOCK)
    except asyncpg.LockNotAvailableError:
        raise PostgresError(f"Another migration has been running for more than {PATIENCE}.") from None
    try:
        yield
    finally:
        await connection.fetchval("select pg_advisory_unlock($1)", LOCK)


async def shortcomings(connection: asyncpg.Connection) -> list[str]:
    """Why this server may not keep a record: one sentence for each reason; empty when all is well."""
    problems = []
    version = connection.get_server_version()
    if version.major < OLDEST:
        problems.append(
            f"PostgreSQL {OLDEST} or newer is needed, the server is {version.major}.{version.minor}."
        )
    for name, value in _FORBIDDEN.items():
        if (found := await connection.fetchval("select current_setting($1)", name)) == value:
            problems.append(
                f"{name} is {found}: what was acknowledged could be lost. Set it to on (alter system set {name} "
                "= on; select pg_reload_conf();)."
            )
    if await connection.fetchval("select current_setting('server_encoding')") != "UTF8":
        problems.append("The database's encoding is not UTF8; create it with encoding 'UTF8'.")
    if await connection.fetchval("select pg_is_in_recovery()"):
        problems.append("The server is a standby and takes no writes; name the primary.")
    return problems


async def verify(dsn: str) -> None:
    """Raise PostgresError, naming every reason, when this server may not keep a record."""
    connection = await connect(dsn)
    try:
        problems = await shortcomings(connection)
    finally:
        await connection.close()
    if problems:
        raise PostgresError(
            "This Postgres cannot keep a record.\n" + "\n".join("- " + text for text in problems)
        )


async def invalid_indexes(connection: asyncpg.Connection) -> list[str]:
    """Indexes that Postgres does not use because their making was interrupted; one sentence for each."""
    rows = await connection.fetch(
        "select indexrelid::regclass::text as name from pg_index where not indisvalid and indrelid in "
        "(select oid from pg_class where relnamespace = 'public'::regnamespace)"
    )
    return [f"The index {row['name']} is not valid: reindex index {row['name']};" for row in rows]
