"""``fhirhub db``: the schema and the index of the store."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.definitions.tables import load
from fhirhub.jobs.process import KINDS, work_off
from fhirhub.store import migrate as migrations
from fhirhub.store.engine import Lane
from fhirhub.store.jobs import Job, Jobs
from fhirhub.store.postgres import database
from fhirhub.store.reindex import Reindexed
from fhirhub.store.reindex import reindex as make_anew
from fhirhub.store.store import Store
from fhirhub.store.verify import verify

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Migrate, check and reindex the store."""


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
def check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare every index row with its document, too.")
    ] = False,
    as_json: bool = JSON,
) -> None:
    """Are the server's settings and the schema what the code expects? Exit code 1 when not."""
    loaded = settings().settings
    with database(loaded) as dsn:
        found = asyncio.run(_check(dsn))
        if deep and not found["problems"]:
            bases = (f"{loaded.base_url}/fhir",) if loaded.base_url else ()
            looked = asyncio.run(verify(dsn, load(), integrity=loaded.referential_integrity, bases=bases))
            found["problems"] += looked.disagreements
            found |= {"resources": looked.resources, "disagreements": looked.wrong}
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


@app.command()
def reindex(
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this resource type; may be repeated.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Only tell what is being indexed in the background.")
    ] = False,
    as_json: bool = JSON,
) -> None:
    """Make all index rows anew, beside a running server; searches go on meanwhile.

    Search parameters of one's own that wait to be indexed are indexed first.
    """
    unknown = [each for each in types or () if each not in load().type_number]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} is no R4 resource type")
    loaded = settings().settings
    bases = (f"{loaded.base_url}/fhir",) if loaded.base_url else ()
    with database(loaded) as dsn:
        if status:
            return _tell(asyncio.run(_open(dsn)), as_json)
        found = asyncio.run(_reindex(dsn, types or [], bases))
    text = (
        f"Indexed {found.resources:,} resources anew; {found.overtaken:,} were changed by others meanwhile."
    )
    answer({"resources": found.resources, "overtaken": found.overtaken}, text, as_json)


def _said(job: Job) -> None:
    print(f"{job.kind}: {job.done:,} of {job.total:,} resources", file=sys.stderr)


async def _open(dsn: str) -> list[Job]:
    lane = Lane(dsn, 1)
    try:
        return [job for job in await Jobs(lane.fetch).open() if job.kind in KINDS]
    finally:
        await lane.close()


def _tell(jobs: list[Job], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"kind": job.kind, "state": job.state, "done": job.done, "total": job.total, "percent": job.percent}
        | {name: job.payload[name] for name in ("type", "types") if name in job.payload}
        for job in jobs
    ]
    lines = [
        f"{row['kind']} {row.get('type') or ', '.join(row.get('types') or ['all types'])}: {row['state']},"
        f" {row['done']:,} of {row['total']:,} ({row['percent']} %)"
        for row in rows
    ]
    answer(rows, "\n".join(lines) or "Nothing is being indexed.", as_json)


async def _reindex(dsn: str, types: list[str], bases: tuple[str, ...]) -> Reindexed:
    await migrations.ensure(dsn)
    await work_off(dsn, load(), bases, _said)
    store = await Store.open(dsn, load(), integrity=False)

    def progress(type_: str, done: int, total: int) -> None:
        print(f"{done:,} of {total:,} resources ({type_})", file=sys.stderr)

    try:
        return await make_anew(store, types=types, bases=bases, progress=progress)
    finally:
        await store.close()
