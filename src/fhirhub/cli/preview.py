"""``fhirhub preview``: what somebody may see and do by the practice's policies, and which rule says so."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from fhirhub.auth.policy import Policies, PolicyError
from fhirhub.auth.policy import load as load_policies
from fhirhub.auth.preview import Preview, TypeView, of_role
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.packaged import folder
from fhirhub.settings import Settings, SettingsError
from fhirhub.smart.people import now
from fhirhub.smart.storage.accounts import ROLES, Account, Accounts
from fhirhub.store import migrate
from fhirhub.store.engine import Lane
from fhirhub.store.postgres import database

app = typer.Typer()
_DOING = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


@app.command()
def preview(
    who: Annotated[str, typer.Argument(help=f"A username, or a role: {', '.join(ROLES)}.", show_default=False)],
    type: Annotated[str | None, typer.Option(help="Only this resource type.", show_default=False)] = None,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """What a user or a role may see and do, type by type, and why. A token never reaches further than this."""
    chosen = settings().settings
    policies = _policies(chosen)
    account = None if who in ROLES else asyncio.run(_account(chosen, who))
    if account is None and who not in ROLES:
        raise typer.BadParameter(f"{who!r} is neither a username nor one of {', '.join(ROLES)}.")
    role = account.role if account is not None else who
    found = of_role(policies, role, account.fhir_user if account is not None else None)
    views = [view for view in found.types if type in (None, view.type)]
    if account is not None and not account.active:
        views = []
    value = asdict(found) | {"types": [asdict(view) for view in views]}
    if account is not None:
        value |= {"user": account.username, "active": account.active}
    answer(value, "\n".join(_lines(found, views, account, type)), as_json)


def _policies(chosen: Settings) -> Policies:
    types = load_definitions().resource_types
    try:
        return load_policies(chosen.policies or folder("capability") / "policies", types)
    except PolicyError as error:
        raise SettingsError(str(error)) from error


async def _account(chosen: Settings, username: str) -> Account | None:
    with database(chosen) as dsn:
        await migrate.ensure(dsn)
        lane = Lane(dsn, 1)
        await lane.open()
        try:
            return await Accounts(lane, now).by_name(username)
        finally:
            await lane.close()


def _lines(found: Preview, views: list[TypeView], account: Account | None, type: str | None) -> list[str]:
    lines = [f"{found.title or found.role}: {found.why}".rstrip(": ")]
    if account is not None and not account.active:
        return [*lines, f"{account.username} is deactivated and may do nothing."]
    if not views:
        return [*lines, f"Nothing of {type}." if type else "Nothing."]
    for view in views:
        lines.append(view.type)
        for way in view.ways:
            what = ", ".join(_DOING[letter] for letter in way.letters)
            lines.append(f"  {what}{f'  {way.condition}' if way.condition else ''}   ({way.rule}: {way.why})")
        if view.hidden:
            lines.append(f"  without {', '.join(view.hidden)}")
        if view.writable:
            lines.append(f"  changes only {', '.join(view.writable)}")
    for label in found.closed:
        glass = ", unless the glass is broken" if label.glass else ""
        lines.append(f"Not what is labelled {label.name}{glass}: {label.why}")
    return lines
