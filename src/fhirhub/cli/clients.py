"""``fhirhub clients``: the apps and systems that may connect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fhirhub.auth.authority import Authority
from fhirhub.auth.policy import PolicyError
from fhirhub.auth.policy import load as load_policies
from fhirhub.cli.common import JSON, answer, cut_off, settings
from fhirhub.cli.record import done, looked
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.errors import BadRequest
from fhirhub.packaged import folder
from fhirhub.resource import json
from fhirhub.search.parse import SearchParser
from fhirhub.smart.demo import check_public
from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import KINDS, MAX_JWKS, Client, Clients, changes
from fhirhub.store.engine import Lane

app = typer.Typer(no_args_is_help=True)
_ID = typer.Argument(metavar="ID", help="The client_id.", show_default=False)


@app.callback()
def clients() -> None:
    """Register, list, change, deactivate and activate apps and systems, and give them new secrets."""


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

    async def work(lane: Lane) -> tuple[Client, str | None]:
        try:
            return await _clients(lane).add(**values)
        except BadRequest as error:
            raise typer.BadParameter(str(error)) from None

    client, secret = done(
        "client-add",
        work,
        lambda made: {"client": made[0].id, "name": name, "kind": kind, "scope": scope},
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
    found = looked(lambda lane: _clients(lane).list())
    rows = [
        f"{each.id:<26} {each.kind:<11} {each.name}{'' if each.active else ', deactivated'}"
        f"{', DEMO' if each.demo else ''}\n{'':<26} {each.scopes}"
        for each in found
    ]
    answer([each.as_json() for each in found], "\n".join(rows) or "There are no clients yet.", as_json)


@app.command()
def deactivate(client: Annotated[str, _ID], as_json: bool = JSON) -> None:
    """Cut a client off, at once and on every worker: all that people granted it, and all its tokens, end."""

    async def work(lane: Lane) -> tuple[Client, dict[str, int] | None]:
        named = await _clients(lane).named(client)
        return named, await _clients(lane).deactivate(named.id)

    named, cut = done("client-deactivate", work, lambda made: {"client": client, "cut": made[1] or {}})
    value = {"client_id": client, "deactivated": cut is not None, "cut": cut or {}}
    if cut is None:
        answer(value, f"{named.name} was deactivated before.", as_json)
        return
    answer(value, f"Deactivated {named.name}. Cut: {cut_off(cut)}.", as_json)


@app.command()
def activate(client: Annotated[str, _ID], as_json: bool = JSON) -> None:
    """Let a client in again that was deactivated; people have to allow it anew."""

    async def work(lane: Lane) -> tuple[Client, bool]:
        named = await _clients(lane).named(client)
        check_public(settings().settings, named.name, named.demo)
        return named, await _clients(lane).activate(named.id)

    named, changed = done("client-activate", work, lambda made: {"client": client, "changed": made[1]})
    text = f"{named.name} may connect again." if changed else f"{named.name} is active."
    answer({"client_id": client, "activated": changed}, text, as_json)


@app.command()
def update(
    client: Annotated[str, _ID],
    name: Annotated[str | None, typer.Option(help="What people know it by.")] = None,
    scope: Annotated[str | None, typer.Option(help="All it may ask for; what it was granted beyond that ends.")] = None,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where an app gets its answer, instead of before; may be repeated.")
    ] = None,
    launch_url: Annotated[str | None, typer.Option(help="Where an app is started from the record; '' for nowhere.")] = None,
    jwks: Annotated[
        Path | None, typer.Option(help="File with its public keys, instead of those of before.", dir_okay=False, exists=True)
    ] = None,
    jwks_url: Annotated[str | None, typer.Option(help="Where it publishes its keys (https).")] = None,
    publisher: Annotated[str | None, typer.Option(help="Who makes it, as the consent page says.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="File with a policy (JSON), instead of that of before.", dir_okay=False, exists=True)
    ] = None,
    no_policy: Annotated[bool, typer.Option("--no-policy", help="Confine it to its scopes only.")] = False,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Change what a client is registered with; only what is named changes, from the next request on every worker."""
    values = {
        "name": name,
        "scopes": scope,
        "redirect_uris": redirect_uri or None,
        "jwks": _object(jwks, "--jwks") if jwks else None,
        "jwks_url": jwks_url,
        "publisher": publisher,
        "policy": _checked(policy) if policy else None,
    }
    given: dict[str, Any] = {field: value for field, value in values.items() if value is not None}
    given |= {"launch_url": launch_url or None} if launch_url is not None else {}
    given |= {"policy": None} if no_policy else {}
    if not given or (policy and no_policy):
        raise typer.BadParameter("Name what is to be changed, each once.")

    async def work(lane: Lane) -> tuple[Client, tuple[str, ...]]:
        try:
            return await _clients(lane).change(client, given)
        except BadRequest as error:
            raise typer.BadParameter(str(error)) from None

    changed, names = done("client-update", work, lambda made: changes(*made))
    text = f"Changed of {changed.name}: {', '.join(names)}." if names else "Nothing was different before."
    answer(changed.as_json() | {"changed": list(names)}, text, as_json)


@app.command()
def rotate(client: Annotated[str, _ID], as_json: bool = JSON) -> None:
    """Give a client of the kind symmetric a new secret; the old one is worth nothing from now on."""
    secret = done("client-rotate", lambda lane: _clients(lane).rotate(client), lambda _: {"client": client})
    text = f"client_secret of {client} (shown only now): {secret}"
    answer({"client_id": client, "client_secret": secret}, text, as_json)


def _clients(lane: Lane) -> Clients:
    return Clients(lane, now)


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
        Authority(definitions, parser.registry, parser, policies).check_client(found)
    except PolicyError as error:
        raise typer.BadParameter(f"--policy: {error}") from None
    return found
