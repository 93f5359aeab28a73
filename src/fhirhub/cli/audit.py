"""``fhirhub audit``: look through the audit trail, prove that nobody changed it, take it out."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import asyncpg
import typer

from fhirhub import keys
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.interactions.audit_criteria import asked
from fhirhub.resource.meta import instant
from fhirhub.settings import Settings
from fhirhub.store import migrate
from fhirhub.store.audit import anchors
from fhirhub.store.audit.event import as_event, id_of
from fhirhub.store.audit.search import Fetch, Row, Wanted, find
from fhirhub.store.audit.told import app as program
from fhirhub.store.audit.told import what, who
from fhirhub.store.audit.verify import Verified, verify
from fhirhub.store.postgres import database

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")
PAGE = 1_000
_SINCE = typer.Option(
    help="From this date or moment on: 2026-11-24 or 2026-11-24T09:00:00Z.", show_default=False
)
_UNTIL = typer.Option(help="Up to and with this date or moment.", show_default=False)


@app.callback()
def audit() -> None:
    """Search, verify and export the audit trail."""


@app.command()
def search(
    user: Annotated[str | None, typer.Option(help="Username, or the id of a client.", show_default=False)] = None,
    patient: Annotated[str | None, typer.Option(help="Id of a patient.", show_default=False)] = None,
    since: Annotated[str | None, _SINCE] = None,
    until: Annotated[str | None, _UNTIL] = None,
    action: Annotated[str | None, typer.Option(help="C, R, U, D or E; several with commas.", show_default=False)] = None,
    outcome: Annotated[str | None, typer.Option(help="0 done, 4 refused, 8 or 12 failed.", show_default=False)] = None,
    entity: Annotated[str | None, typer.Option(help="A resource: Observation/ID.", show_default=False)] = None,
    request: Annotated[str | None, typer.Option(help="X-Request-Id of a request.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Who did what, newest first. With --json one object a line, every detail included."""
    given = {
        "agent:identifier": user, "patient": patient, "date": since and f"ge{since}", "action": action,
        "outcome": outcome, "entity": entity, "entity:identifier": request,
    }  # fmt: skip
    pairs = [(name, value) for name, value in given.items() if value]
    pairs += [("date", f"le{until}")] if until else []
    wanted = asked(pairs, "", 0).wanted

    async def work(connection: asyncpg.Connection) -> list[Row]:
        return [row async for row in _rows(connection.fetch, wanted, limit)]

    for row in _run(work):
        sys.stdout.write((json.dumps(asdict(row) | {"name": id_of(row)}) if as_json else _line(row)) + "\n")


def _line(row: Row) -> str:
    patients = (
        f"  [{', '.join(row.patients[:5])}{' …' if len(row.patients) > 5 else ''}]" if row.patients else ""
    )
    by = f" with {program(row)}" if row.detail.get("user") and program(row) else ""
    glass = f"  EMERGENCY: {row.detail['reason']}" if row.detail.get("reason") else ""
    return f"{instant(row.at)}  {who(row)}{by} {what(row)}{patients}{glass}"


@app.command(name="verify")
def check(
    anchor: Annotated[
        Path | None,
        typer.Option(help=f"Where the ends of the chains are kept (data directory, {anchors.FILE})."),
    ] = None,
    as_json: bool = JSON,
) -> None:
    """Was a row changed, removed or inserted? Exit code 1 when so, with what and where.

    The server keeps the ends of all chains in a file now and then, so that rows missing at the very end are noticed,
    too; so does this command. Keep a copy of it where nobody with access to the database can reach it.
    """
    chosen = settings().settings
    path = anchor or chosen.data_dir / anchors.FILE
    key = keys.load(chosen).derive("audit")
    try:
        known = anchors.read(path, key)
    except ValueError as error:
        answer({"rows": 0, "problems": [str(error)]}, str(error), as_json)
        raise typer.Exit(1) from None

    async def work(connection: asyncpg.Connection) -> Verified:
        return await verify(connection, key, known)

    found = _run(work, chosen)
    if not found.problems and found.ends:
        anchors.append(path, anchors.line(key, found.ends, time.time_ns() // 1000))
    lines = found.problems or ["Nothing was changed, removed or inserted."]
    looked = f"{found.rows:,} rows in {len(found.ends)} chains; anchored before: {'yes' if known else 'no'}."
    answer({"rows": found.rows, "chains": len(found.ends), "problems": found.problems},
           "\n".join([looked, *lines]), as_json)  # fmt: skip
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="A folder for AuditEvent.ndjson and the anchors.", show_default=False)],
    since: Annotated[str | None, _SINCE] = None,
    until: Annotated[str | None, _UNTIL] = None,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Write the trail as AuditEvents, one a line, oldest first, and where each chain ended when it was written."""
    chosen = settings().settings
    key = keys.load(chosen).derive("audit")
    pairs = [("date", f"ge{since}")] if since else []
    pairs += [("date", f"le{until}")] if until else []
    wanted = replace(asked(pairs, "", 0).wanted, ascending=True)
    target.mkdir(parents=True, exist_ok=True)
    base = f"{chosen.base_url}/fhir" if chosen.base_url else "urn:fhirhub"

    async def work(connection: asyncpg.Connection) -> tuple[int, Verified]:
        checked = await verify(connection, key)
        count = 0
        with (target / "AuditEvent.ndjson").open("w", encoding="utf-8") as file:
            async for row in _rows(connection.fetch, wanted):
                file.write(json.dumps(as_event(row, base), ensure_ascii=False) + "\n")
                count += 1
                if count % 100_000 == 0:
                    sys.stderr.write(f"{count:,} events\n")
        return count, checked

    count, checked = _run(work, chosen)
    anchors.append(target / anchors.FILE, anchors.line(key, checked.ends, time.time_ns() // 1000))
    for problem in checked.problems:
        sys.stderr.write(f"fhirhub: warning: {problem}\n")
    answer({"events": count, "problems": checked.problems}, f"Wrote {count:,} events to {target}.", as_json)


async def _rows(fetch: Fetch, wanted: Wanted, limit: int | None = None) -> AsyncIterator[Row]:
    """All that is wanted, page by page."""
    left = limit
    while left is None or left > 0:
        page = await find(fetch, replace(wanted, count=PAGE if left is None else min(left, PAGE)))
        for row in page.rows:
            yield row
        if page.next is None:
            return
        left = None if left is None else left - len(page.rows)
        wanted = replace(wanted, after=page.next)


def _run(work: Callable[[asyncpg.Connection], Awaitable[T]], chosen: Settings | None = None) -> T:
    """``work`` on a connection to the migrated store."""

    async def connected(dsn: str) -> T:
        await migrate.ensure(dsn)
        connection: Any = await migrate.connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    with database(chosen or settings().settings) as dsn:
        return asyncio.run(connected(dsn))
