"""``fhirhub users``: the people who sign in."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fhirhub import keys
from fhirhub.cli.common import JSON, answer, cut_off, settings
from fhirhub.cli.record import done, looked
from fhirhub.errors import BadRequest
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.demo import check_public
from fhirhub.smart.passwords import LONGEST, check, one_time
from fhirhub.smart.people import People, people, reset_password
from fhirhub.smart.storage.accounts import ROLES, Account, checked
from fhirhub.store.engine import Lane

app = typer.Typer(no_args_is_help=True)
_USERNAME = typer.Argument(help="The name somebody signs in with.", show_default=False)


@app.callback()
def users() -> None:
    """Add, list, deactivate and activate people, and reset their passwords."""


@app.command()
def add(
    username: Annotated[str, _USERNAME],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.", show_default=False)],
    fhir_user: Annotated[
        str | None, typer.Option(help="The resource that stands for the person: Practitioner/ID or Patient/ID.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
    ] = False,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Add somebody. Without --password-stdin a one-time password is made and printed; it has to be changed at sign-in."""
    try:
        name = checked(username, role, fhir_user)
        password = _typed() if password_stdin else one_time()
        if password_stdin:
            check(password, name)
    except BadRequest as error:
        raise typer.BadParameter(str(error)) from None

    async def work(lane: Lane) -> Account:
        found = _people(lane)
        stored = await found.passwords.hash(password)
        return await found.accounts.add(name, role, fhir_user, stored, must_change=not password_stdin)

    account = done("user-add", work, lambda made: {"user": made.username, "role": made.role})
    value: dict[str, Any] = account.as_json()
    text = f"Added {account.username} ({account.role})."
    if not password_stdin:
        value["password"] = password
        text += f" One-time password, shown only now: {password}"
    answer(value, text, as_json)


@app.command(name="list")
def list_(as_json: bool = JSON) -> None:
    """All accounts, deactivated ones too."""
    found = looked(lambda lane: _people(lane).accounts.all())
    rows = [
        f"{each.username:<24} {each.role:<13} {each.fhir_user or '-':<28} "
        f"{'active' if each.active else 'deactivated'}{', second factor' if each.totp else ''}"
        f"{', DEMO' if each.demo else ''}"
        for each in found
    ]
    answer([each.as_json() for each in found], "\n".join(rows) or "There are no accounts yet.", as_json)


@app.command()
def deactivate(username: Annotated[str, _USERNAME], as_json: bool = JSON) -> None:
    """Cut somebody off, at once and on every worker: sessions, apps, tokens, launches and codes end."""

    async def work(lane: Lane) -> tuple[str, dict[str, int] | None]:
        accounts = _people(lane).accounts
        account = await accounts.named(username)
        return account.username, await accounts.deactivate(account.id, CUTS)

    name, cut = done("user-deactivate", work, lambda made: {"user": made[0], "cut": made[1] or {}})
    if cut is None:
        answer(
            {"username": name, "deactivated": False, "cut": {}}, f"{name} was deactivated before.", as_json
        )
        return
    told = cut_off(cut, "nothing else was open")
    answer({"username": name, "deactivated": True, "cut": cut}, f"Deactivated {name}. Cut: {told}.", as_json)


@app.command()
def activate(username: Annotated[str, _USERNAME], as_json: bool = JSON) -> None:
    """Let somebody in again who was deactivated, with the password of before; apps have to be connected anew."""

    async def work(lane: Lane) -> tuple[str, bool]:
        accounts = _people(lane).accounts
        account = await accounts.named(username)
        check_public(settings().settings, account.username, account.demo)
        return account.username, await accounts.activate(account.id)

    name, changed = done("user-activate", work, lambda made: {"user": made[0], "changed": made[1]})
    text = f"{name} may sign in again." if changed else f"{name} is active."
    answer({"username": name, "activated": changed}, text, as_json)


@app.command()
def reset(username: Annotated[str, _USERNAME], as_json: bool = JSON) -> None:
    """Give somebody a one-time password; their second factor, sessions and connected apps end."""
    password = one_time()

    async def work(lane: Lane) -> tuple[str, dict[str, int]]:
        found = _people(lane)
        account = await found.accounts.named(username)
        return account.username, await reset_password(found, account, password)

    name, cut = done("user-reset", work, lambda made: {"user": made[0], "cut": made[1]})
    told = cut_off(cut)
    text = (
        f"One-time password of {name}, shown only now: {password}\n"
        f"It has to be changed at sign-in. The second factor is off. Cut: {told}."
    )
    value = {"username": name, "password": password, "mustChangePassword": True, "cut": cut}
    answer(value, text, as_json)


def _typed() -> str:
    """One line of standard input, without its end."""
    line = sys.stdin.readline(LONGEST * 4 + 2)
    return line[:-1] if line.endswith("\n") else line


def _people(lane: Lane) -> People:
    chosen = settings().settings
    return people(chosen, lane, keys.load(chosen))
