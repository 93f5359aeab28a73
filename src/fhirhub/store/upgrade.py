"""Bring a database forward with Alembic: ``python -m fhirhub.store.upgrade``, the address in FHIRHUB_DATABASE_URL.

Kept apart from everything that serves requests: nothing else imports Alembic.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from fhirhub.packaged import folder
from fhirhub.settings import load
from fhirhub.store.migrate import PATIENCE, locked

_STATEMENT_TIMEOUT = "30min"


def execute_file(migration: str) -> None:
    """Run the SQL file beside a migration (``0001_record.py`` -> ``0001_record.sql``) in its transaction."""
    bind = op.get_bind()
    # Alembic's connection opens its transaction with the first statement; the driver's own would not.
    bind.execute(text("select 1"))
    driver = bind.connection.driver_connection
    assert driver is not None
    await_only(driver.execute(Path(migration).with_suffix(".sql").read_text(encoding="utf-8")))


def _migrate(connection: Connection, target: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)


async def upgrade(dsn: str, target: str = "head") -> None:
    """Migrate to the revision ``target``, one transaction each, alone by an advisory lock, with time limits."""
    keeper = await asyncpg.connect(dsn, timeout=30)
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(dsn, timeout=30), poolclass=NullPool
    )
    try:
        async with locked(keeper), engine.connect() as connection:
            await connection.execute(text(f"set lock_timeout = '{PATIENCE}'"))
            await connection.execute(text(f"set statement_timeout = '{_STATEMENT_TIMEOUT}'"))
            await connection.commit()
            await connection.run_sync(_migrate, target)
            await connection.commit()
    finally:
        await engine.dispose()
        await keeper.close()


if __name__ == "__main__":
    address = load().settings.database_url
    if not address:
        raise SystemExit("FHIRHUB_DATABASE_URL names no database.")
    asyncio.run(upgrade(address))
