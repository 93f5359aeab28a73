"""``fhirhub keys``: the keys that id_tokens are signed with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import typer

from fhirhub import keys as keyring
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.record import record
from fhirhub.settings import Settings
from fhirhub.smart.people import now
from fhirhub.smart.signing import Signing
from fhirhub.smart.storage.signing import SigningKey
from fhirhub.store import migrate
from fhirhub.store.engine import Lane
from fhirhub.store.postgres import database

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """List and renew the keys that sign who signed in (id_tokens)."""


@app.command(name="list")
def list_(as_json: bool = JSON) -> None:
    """The keys that are published, the current one first."""
    found = _run(lambda signing: signing.all(), "")
    text = "\n".join(
        f"{key.kid}  {key.alg}  since {_day(key.created)}"
        + (f", retired {_day(key.retired)}" if key.retired else ", current")
        for key in found
    )
    answer([_shown(key) for key in found], text or "No key has been needed yet.", as_json)


@app.command()
def rotate(as_json: bool = JSON) -> None:
    """Sign with a new key from now on; the old one stays published for 30 days."""

    async def work(signing: Signing) -> list[SigningKey]:
        return [await signing.rotate()]

    made = _run(work, "key-rotate")[0]
    answer(_shown(made), f"New key: {made.kid}. The old one stays published for 30 days.", as_json)


def _shown(key: SigningKey) -> dict[str, Any]:
    retired = _day(key.retired) if key.retired else None
    return {"kid": key.kid, "alg": key.alg, "created": _day(key.created), "retired": retired}


def _day(micro: int) -> str:
    return datetime.fromtimestamp(micro / 1_000_000, UTC).isoformat(timespec="seconds")


def _run(work: Callable[[Signing], Awaitable[list[SigningKey]]], what: str) -> list[SigningKey]:
    chosen = settings().settings
    with database(chosen) as dsn:
        return asyncio.run(_work(chosen, dsn, work, what))


async def _work(
    chosen: Settings, dsn: str, work: Callable[[Signing], Awaitable[list[SigningKey]]], what: str
) -> list[SigningKey]:
    await migrate.ensure(dsn)
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        found = await work(Signing(lane, keyring.load(chosen), now))
        if what:
            await record(chosen, lane, what, {"kid": found[0].kid})
        return found
    finally:
        await lane.close()
