"""``fhirhub users``: the people who sign in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from fhirhub import keys
from fhirhub.cli.common import JSON, answer, settings
from fhirhub.cli.record import record
from fhirhub.errors import BadRequest
from fhirhub.settings import Settings
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.passwords import LONGEST, check, one_time
from fhirhub.smart.people import People, people, reset_password
from fhirhub.smart.storage.accounts import ROLES, Account, checked
from fhirhub.store import migrate
from fhirhub.store.engine import Lane
from fhirhub.store.postgres import database

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")
_USERNAME = typer.Argument(help="The name somebody signs in with.", show_default=False)


@app.callback()
def users() -> None:
    """Add, list, deactivate people, and reset their passwords."""


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

    async def work(found: People) -> Account:
        stored = await found.passwords.hash(password)
        return await found.accounts.add(name, role, fhir_user, stored, must_change=not password_stdin)

    account = _run(work, "user-add", lambda made: {"user": made.username, "role": made.role})
    value: dict[str, Any] = account.as_json()
    text = f"Added {account.username} ({account.role})."
    if not password_stdin:
        value["password"] = password
        text += f" One-time password, shown only now: {password}"
    answer(value, text, as_json)


@app.command(name="list")
def list_(as_json: bool = JSON) -> None:
    """All accounts, deactivated ones too."""
    found = _run(lambda one: one.accounts.all())
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

    async def work(found: People) -> tuple[str, dict[str, int] | None]:
        account = await found.accounts.named(username)
        return account.username, await found.accounts.deactivate(account.id, CUTS)

    name, cut = _run(work, "user-deactivate", lambda done: {"user": done[0], "cut": done[1] or {}})
    if cut is None:
        answer(
            {"username": name, "deactivated": False, "cut": {}}, f"{name} was deactivated before.", as_json
        )
        return
    told = ", ".join(f"{count} {what}" for what, count in cut.items() if count) or "nothing else was open"
    answer({"username": name, "deactivated": True, "cut": cut}, f"Deactivated {name}. Cut: {told}.", as_json)


@app.command()
def reset(username: Annotated[str, _USERNAME], as_json: bool = JSON) -> None:
    """Give somebody a one-time password; their second factor, sessions and connected apps end."""
    password = one_time()

    async def work(found: People) -> tuple[str, dict[str, int]]:
        account = await found.accounts.named(username)
        return account.username, await reset_password(found, account, password)

    name, cut = _run(work, "user-reset", lambda done: {"user": done[0], "cut": done[1]})
    told = ", ".join(f"{count} {what}" for what, count in cut.items() if count) or "nothing was open"
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


def _run(
    work: Callable[[People], Awaitable[T]],
    what: str = "",
    detail: Callable[[T], dict[str, Any]] = lambda result: {},
) -> T:
    """``work`` on the people of the store the environment names; ``what`` and ``detail`` of it go on record."""
    chosen = settings().settings
    with database(chosen) as dsn:
        return asyncio.run(_work(chosen, dsn, work, what, detail))


async def _work(
    chosen: Settings,
    dsn: str,
    work: Callable[[People], Awaitable[T]],
    what: str,
    detail: Callable[[T], dict[str, Any]],
) -> T:
    await migrate.ensure(dsn)
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        result = await work(people(chosen, lane, keys.load(chosen)))
        if what:
            await record(chosen, lane, what, detail(result))
        return result
    finally:
        await lane.close()
