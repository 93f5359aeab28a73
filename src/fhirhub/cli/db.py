"""``fhirhub db``: the schema and the index of the store."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.store import migrate as migrations
from fhirhub.store.postgres import database

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Migrate and check the store."""


@app.command()
def migrate(as_json: bool = JSON) -> None:
    """Bring the schema to what this version expects; safe beside a running server and beside another migration."""
    with database(settings().settings) as dsn:
        found = asyncio.run(_migrate(dsn))
    was = found.current or "empty"
    text = (
        f"Migrated from {was} to {found.expected}." if found.due else f"Nothing to do: at {found.expected}."
    )
    answer({"from": found.current, "to": found.expected, "migrated": found.due}, text, as_json)


async def _migrate(dsn: str) -> migrations.State:
    await migrations.verify(dsn)
    return await migrations.ensure(dsn)


@app.command()
def check(as_json: bool = JSON) -> None:
    """Are the server's settings and the schema what the code expects? Exit code 1 when not."""
    with database(settings().settings) as dsn:
        found = asyncio.run(_check(dsn))
    lines = [f"Schema revision {found['current'] or 'none'}, expected {found['expected']}."]
    answer(found, "\n".join([*lines, *(found["problems"] or ["All is well."])]), as_json)
    raise typer.Exit(1 if found["problems"] else 0)


async def _check(dsn: str) -> dict[str, Any]:
    connection = await migrations.connect(dsn)
    try:
        problems = await migrations.shortcomings(connection)
        state = await migrations.state(connection)
        if state.due:
            problems.append("The schema is not up to date: run 'fhirhub db migrate'.")
        problems += await migrations.invalid_indexes(connection)
    finally:
        await connection.close()
    return {"current": state.current, "expected": state.expected, "problems": problems}
