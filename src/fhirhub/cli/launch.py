"""``fhirhub launch``: start an app on a patient, as from the record."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.definitions.tables import load
from fhirhub.errors import BadRequest, Issue, NotFound
from fhirhub.resource import json
from fhirhub.settings import Settings
from fhirhub.smart.context import open_smart
from fhirhub.smart.launch import check, mint
from fhirhub.smart.storage.authorizations import LAUNCH_SECONDS, Context
from fhirhub.store import migrate
from fhirhub.store.postgres import database
from fhirhub.store.store import Store

app = typer.Typer()


@app.command()
def launch(
    client: Annotated[str, typer.Argument(help="client_id of the app.", show_default=False)],
    user: Annotated[str, typer.Option(help="Who starts it: a username.", show_default=False)],
    patient: Annotated[str, typer.Option(help="Logical id of the patient.", show_default=False)],
    encounter: Annotated[
        str | None, typer.Option(help="Logical id of the visit.", show_default=False)
    ] = None,
    as_json: bool = JSON,
) -> None:
    """Print the URL that starts an app on a patient (SMART EHR launch): good once, for five minutes, for this user."""
    loaded = settings().settings
    with database(loaded) as dsn:
        url = asyncio.run(
            _launch(loaded, dsn, client, user, Context(patient, encounter, need_patient_banner=True))
        )
    answer({"url": url, "expires_in": LAUNCH_SECONDS}, url, as_json)


async def _launch(chosen: Settings, dsn: str, client: str, user: str, context: Context) -> str:
    await migrate.ensure(dsn)
    smart = await open_smart(chosen, dsn)
    try:
        account = await smart.people.accounts.named(user)
        check(account, context)
        await _check_record(dsn, context)
        return await mint(smart, origin(chosen), client, account, context)
    finally:
        await smart.close()


async def _check_record(dsn: str, context: Context) -> None:
    """The patient is there, and the visit is theirs. Raises NotFound and BadRequest."""
    store = await Store.open(dsn, load(), connections=2)
    try:
        await _resource(store, "Patient", context.patient)
        if context.encounter is None:
            return
        visit = json.parse(await _resource(store, "Encounter", context.encounter))
        whose = visit.get("subject", {}).get("reference")
        if whose != f"Patient/{context.patient}":
            text = f"Encounter/{context.encounter} is not one of Patient/{context.patient}."
            raise BadRequest(Issue("business-rule", text, "encounter"))
    finally:
        await store.close()


async def _resource(store: Store, type: str, id: str | None) -> bytes:
    found = await store.read(type, id or "")
    if found is None or found.deleted:
        raise NotFound(Issue("not-found", f"There is no {type}/{id} in this store.", type.lower()))
    return found.render()


def origin(chosen: Settings) -> str:
    """Where the server of these settings is."""
    if chosen.base_url:
        return chosen.base_url
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    return f"{'https' if chosen.tls_cert else 'http'}://{host}:{chosen.port}"
