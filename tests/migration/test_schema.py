"""Migrations from nothing and ``schema.sql`` make the same schema, and their rules hold."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from fhirhub.store import migrate, upgrade
from fhirhub.store.postgres import Postgres
from fhirhub.store.programs import PostgresError


async def _empty(postgres: Postgres, name: str) -> str:
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute(f"drop database if exists {name}")
    await connection.execute(f"create database {name}")
    await connection.close()
    return postgres.dsn.replace("/fhirhub?", f"/{name}?")


def _dump(postgres: Postgres, dsn: str) -> str:
    """The schema as pg_dump writes it, without the lines that differ from run to run."""
    programs = postgres._programs
    assert programs is not None
    command = [str(programs.bin / "pg_dump"), "--schema-only", "--no-owner", dsn]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "\n".join(
        line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


async def test_migrations_and_schema_agree(postgres: Postgres) -> None:
    by_schema, by_steps = await _empty(postgres, "by_schema"), await _empty(postgres, "by_steps")
    await migrate.ensure(by_schema)
    await upgrade.upgrade(by_steps)
    assert _dump(postgres, by_steps) == _dump(postgres, by_schema)


async def test_parallel_starts_migrate_once(postgres: Postgres) -> None:
    dsn = await _empty(postgres, "raced")
    states = await asyncio.gather(*[migrate.ensure(dsn) for _ in range(6)])
    assert {state.expected for state in states} == {migrate.expected()}
    assert not (await migrate.ensure(dsn)).due


async def test_an_older_store_is_upgraded_by_alembic(postgres: Postgres) -> None:
    dsn = await _empty(postgres, "older")
    connection = await asyncpg.connect(dsn)
    await connection.execute(migrate.VERSION_TABLE)
    await connection.execute("insert into alembic_version values ('0000')")
    await connection.close()
    with pytest.raises(PostgresError, match="0000"):
        # No such revision: what matters is that Alembic was asked, and its reason is passed on.
        await migrate.ensure(dsn)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        ("create table resource (x int)", "another program"),
        (f"{migrate.VERSION_TABLE}; insert into alembic_version values ('9999')", "newer fhirhub"),
    ],
)
async def test_a_foreign_schema_is_refused(postgres: Postgres, prepare: str, reason: str) -> None:
    dsn = await _empty(postgres, "foreign_schema")
    connection = await asyncpg.connect(dsn)
    await connection.execute(prepare)
    await connection.close()
    with pytest.raises(PostgresError, match=reason):
        await migrate.ensure(dsn)


@pytest.mark.parametrize("setting", ["synchronous_commit"])
async def test_a_server_that_may_lose_writes_is_refused(postgres: Postgres, setting: str) -> None:
    dsn = await _empty(postgres, "careless")
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"alter database careless set {setting} = off")
    await connection.close()
    with pytest.raises(PostgresError, match=setting):
        await migrate.verify(dsn)
    await migrate.verify(postgres.dsn)


def test_the_first_migration_has_its_own_copy() -> None:
    """A migration never reads ``schema.sql``: it must go on making what it made when it was released."""
    for path in (Path(migrate.schema_files()[0]).parent / "versions").glob("*.py"):
        assert "schema.sql" not in path.read_text()
