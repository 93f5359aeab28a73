"""``fhirhub explain 'Observation?code=…'``: how a search runs."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import parse_qsl

import typer

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.definitions.tables import load
from fhirhub.store import migrate
from fhirhub.store.explain import KINDS, Explained
from fhirhub.store.postgres import database
from fhirhub.store.store import Store

app = typer.Typer()


@app.command()
def explain(
    search: Annotated[
        str, typer.Argument(help="As in a URL: 'Observation?patient=1&code=8480-6&_sort=-date'.")
    ],
    run: Annotated[bool, typer.Option("--run", help="Run it, too, and tell what each step took.")] = False,
    as_json: bool = JSON,
) -> None:
    """Show the plan of a search, the rows expected for each condition, the steps in the database, and advice."""
    loaded = settings().settings
    bases = (f"{loaded.base_url}/fhir",) if loaded.base_url else ()
    with database(loaded) as dsn:
        found = asyncio.run(_explain(dsn, search, bases, run))
    answer(found.as_dict(), _shown(found), as_json)


async def _explain(dsn: str, search: str, bases: tuple[str, ...], run: bool) -> Explained:
    await migrate.ensure(dsn)
    type, _, query = search.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    store = await Store.open(dsn, load(), connections=2)
    try:
        parser = store.indexing.parser
        if type:
            request = parser.parse(type, parameters, bases=bases)
        else:
            request = parser.parse_across(parameters, bases=bases)
        return await store.explain(request, run=run)
    finally:
        await store.close()


def _shown(found: Explained) -> str:
    lines = [f"It {KINDS[found.plan.kind]}.", f"It begins with: {found.driver}."]
    lines += [f"  {rows:>12,.0f} rows  {text}" for text, rows in found.parts]
    lines.append(f"A first page looks at about {found.cost.entries:,.0f} index entries.")
    lines += [f"Advice: {text}" for text in found.advice]
    return "\n".join([*lines, "", "In the database:", *found.steps])
