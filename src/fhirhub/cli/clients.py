"""``fhirhub clients``: the apps and systems that may connect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from fhirhub.auth.authority import Authority
from fhirhub.auth.policy import PolicyError
from fhirhub.auth.policy import load as load_policies
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.record import record
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.errors import BadRequest
from fhirhub.packaged import folder
from fhirhub.resource import json
from fhirhub.search.parse import SearchParser
from fhirhub.settings import Settings
from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import KINDS, MAX_JWKS, Client, Clients
from fhirhub.store import migrate
from fhirhub.store.engine import Lane
from fhirhub.store.postgres import database

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")
_ID = typer.Argument(metavar="ID", help="The client_id.", show_default=False)


@app.callback()
def clients() -> None:
    """Register, list and deactivate apps and systems, and give them new secrets."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people know it by.", show_default=False)],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.", show_default=False)],
    scope: Annotated[str, typer.Option(help="All it may ask for, separated by blanks.", show_default=False)],
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where an app gets its answer, exactly; may be repeated.")
    ] = None,
    launch_url: Annotated[str | None, typer.Option(help="Where an app is started from the record.")] = None,
    jwks: Annotated[
        Path | None, typer.Option(help="File with its public keys (JSON Web Key Set).", dir_okay=False, exists=True)
    ] = None,
    jwks_url: Annotated[str | None, typer.Option(help="Where it publishes its keys (https).")] = None,
    publisher: Annotated[str, typer.Option(help="Who makes it, as the consent page says.")] = "",
    policy: Annotated[
        Path | None, typer.Option(help="File with a policy (JSON) that narrows its scopes; docs/access.md.", dir_okay=False, exists=True)
    ] = None,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Register a client. Prints its client_id and, for the kind symmetric, its client_secret: now and never again."""
    values: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "scopes": scope,
        "redirect_uris": redirect_uri or (),
        "launch_url": launch_url,
        "jwks": _object(jwks, "--jwks") if jwks else None,
        "jwks_url": jwks_url,
        "publisher": publisher,
        "policy": _checked(policy) if policy else None,
    }

    async def work(found: Clients) -> tuple[Client, str | None]:
        try:
            return await found.add(**values)
        except BadRequest as error:
            raise typer.BadParameter(str(error)) from None

    client, secret = _run(
        work, "client-add", lambda made: {"client": made[0].id, "name": name, "kind": kind, "scope": scope}
    )
    value = client.as_json()
    text = f"client_id: {client.id}"
    if secret is not None:
        value["client_secret"] = secret
        text += f"\nclient_secret (shown only now): {secret}"
    answer(value, text, as_json)


@app.command(name="list")
def list_(as_json: bool = JSON) -> None:
    """All clients, deactivated ones too."""
    found = _run(lambda one: one.list())
    rows = [
        f"{each.id:<26} {each.kind:<11} {each.name}{'' if each.active else ', deactivated'}"
        f"{', DEMO' if each.demo else ''}\n{'':<26} {each.scopes}"
        for each in found
    ]
    answer([each.as_json() for each in found], "\n".join(rows) or "There are no clients yet.", as_json)


@app.command()
def deactivate(client: Annotated[str, _ID], as_json: bool = JSON) -> None:
    """Cut a client off, at once and on every worker: all that people granted it, and all its tokens, end."""

    async def work(found: Clients) -> tuple[Client, dict[str, int] | None]:
        named = await found.named(client)
        return named, await found.deactivate(named.id)

    named, cut = _run(work, "client-deactivate", lambda done: {"client": client, "cut": done[1] or {}})
    value = {"client_id": client, "deactivated": cut is not None, "cut": cut or {}}
    if cut is None:
        answer(value, f"{named.name} was deactivated before.", as_json)
        return
    told = ", ".join(f"{count} {what}" for what, count in cut.items() if count) or "nothing was open"
    answer(value, f"Deactivated {named.name}. Cut: {told}.", as_json)


@app.command()
def rotate(client: Annotated[str, _ID], as_json: bool = JSON) -> None:
    """Give a client of the kind symmetric a new secret; the old one is worth nothing from now on."""
    secret = _run(lambda found: found.rotate(client), "client-rotate", lambda _: {"client": client})
    text = f"client_secret of {client} (shown only now): {secret}"
    answer({"client_id": client, "client_secret": secret}, text, as_json)


def _object(path: Path, option: str) -> dict[str, Any]:
    """The JSON object in the file of an option."""
    try:
        if path.stat().st_size > MAX_JWKS:
            raise ValueError(f"it has more than {MAX_JWKS} bytes")
        found = json.parse(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, BadRequest) as error:
        raise typer.BadParameter(f"{option}: {path} cannot be used: {error}.") from None
    return found


def _checked(path: Path) -> dict[str, Any]:
    """The policy in a file, which can be applied: one that cannot would open nothing."""
    found = _object(path, "--policy")
    definitions = load_definitions()
    # It finds out whether the criteria mean something; it keys nothing, so its secret is of no account.
    parser = SearchParser(definitions, bytes(32))
    folder_ = settings().settings.policies or folder("capability") / "policies"
    try:
        policies = load_policies(folder_, definitions.resource_types)
        role = policies.client(found)
        if role is not None:
            Authority(definitions, parser.registry, parser, policies).rules.check(role)
    except PolicyError as error:
        raise typer.BadParameter(f"--policy: {error}") from None
    return found


def _run(
    work: Callable[[Clients], Awaitable[T]],
    what: str = "",
    detail: Callable[[T], dict[str, Any]] = lambda result: {},
) -> T:
    """``work`` on the clients of the store the environment names; ``what`` and ``detail`` of it go on record."""
    chosen = settings().settings
    with database(chosen) as dsn:
        return asyncio.run(_work(chosen, dsn, work, what, detail))


async def _work(
    chosen: Settings,
    dsn: str,
    work: Callable[[Clients], Awaitable[T]],
    what: str,
    detail: Callable[[T], dict[str, Any]],
) -> T:
    await migrate.ensure(dsn)
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        result = await work(Clients(lane, now))
        if what:
            await record(chosen, lane, what, detail(result))
        return result
    finally:
        await lane.close()
