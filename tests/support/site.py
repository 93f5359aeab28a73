"""The pages on a real Postgres, with hooks into the record that answer from lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import pyotp
from fastapi import FastAPI

from fhirhub.auth.policy import Policies
from fhirhub.auth.policy import load as load_policies
from fhirhub.auth.preview import of_role
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.exchange import Caller
from fhirhub.keys import Keys
from fhirhub.packaged import folder
from fhirhub.pages import routes
from fhirhub.settings import Settings
from fhirhub.smart.context import Smart
from fhirhub.smart.context import smart as put_together
from fhirhub.smart.hooks import Event, Look
from fhirhub.smart.passwords import Passwords
from fhirhub.smart.people import now
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import Context, new_handle
from fhirhub.smart.storage.grants import GrantRow
from fhirhub.store.engine import Lane
from support.browsing import Browser
from support.smart import a_client

BEGAN = 1_800_000_000_000_000
GOOD = "ladder umbrella quartz"
STANDS_FOR = {"practitioner": "Practitioner/1", "patient": "Patient/1"}


class Clock:
    """The clock of the machine, put forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return now() + self.ahead

    def pass_(self, seconds: float) -> None:
        self.ahead += int(seconds * 1_000_000)


class Site:
    """A site, and what a test does to it."""

    def __init__(self, app: FastAPI, smart: Smart, clock: Clock) -> None:
        self.app, self.smart, self.clock = app, smart, clock
        self.people = smart.people
        self.events: list[tuple[str, Caller, int, dict[str, Any]]] = []
        self._addresses = 0

    async def noted(self, event: str, caller: Caller, outcome: int, detail: dict[str, Any]) -> None:
        """What the audit trail is told."""
        self.events.append((event, caller, outcome, detail))

    async def connect(self, account: Account, name: str, scopes: str) -> str:
        """An app that ``account`` let in: the id of its grant."""
        client = await a_client(self.smart.lane, name)
        now_ = self.clock()
        row = GrantRow(
            id=new_handle(), client=client.id, account=account.id, scopes=scopes, context=Context(), access="offline",
            session=None, reason="", nonce=None, signed_in=None, created=now_, expires=now_ + 10**12,
        )  # fmt: skip
        await grants.create(self.smart.lane, row)
        await grants.issue(self.smart.lane, row.id, "access", now_, now_ + 10**12)
        return row.id

    def browser(self, address: str = "") -> Browser:
        """A browser nobody has used yet, on a machine of its own."""
        self._addresses += 1
        return Browser(self.app, address=address or f"10.1.{self._addresses // 250}.{self._addresses % 250}")

    async def person(self, username: str, role: str) -> Account:
        """An account with the password :data:`GOOD`; the one there is, if there is one."""
        found = await self.people.accounts.by_name(username)
        if found is not None:
            return found
        stored = await self.people.passwords.hash(GOOD)
        return await self.people.accounts.add(username, role, STANDS_FOR.get(role), stored)

    def code(self, secret: str) -> str:
        """What an authenticator app shows now."""
        return pyotp.TOTP(secret).at(self.clock() // 1_000_000)


async def looked_at(patient: str, cursor: str) -> Any:
    rows = [Look(BEGAN + number, "Dr. Hale", "Chart", "read your lab results") for number in range(3)]
    return rows, "more" if not cursor else ""


async def trail(conditions: Mapping[str, str], cursor: str) -> tuple[Sequence[Event], str]:
    rows = [Event(BEGAN, "doc", "Chart", "read Patient/1", "1", "done", "192.0.2.1", f"r{cursor}")]
    return ([] if conditions["user"] == "nobody" else rows), "" if cursor else "older"


class Patients:
    """Patients as the record gives them to pages."""

    def __init__(self, *names: str) -> None:
        self._all = [
            SimpleNamespace(id=str(number), name=name, birth_date="1970-01-01")
            for number, name in enumerate(names, 1)
        ]

    async def find(self, account: Account, text: str, limit: int) -> Sequence[Any]:
        return [one for one in self._all if text.lower() in one.name.lower()][:limit]

    async def named(self, account: Account, id: str) -> Any:
        return next((one for one in self._all if one.id == id), None)


@cache
def policies() -> Policies:
    """The policies that come with the program."""
    return load_policies(folder("capability") / "policies", load_definitions().resource_types)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Site]:
    """A site on the database at ``dsn``."""
    lane, clock, settings = Lane(dsn, 4), Clock(), Settings(database_url=dsn)
    hooks = {
        "patients": Patients("Ada Abbott", "Ben Becker"), "looked_at": looked_at, "preview": partial(of_role, policies()), "trail": trail,
        "check_policy": policies().client,
    }  # fmt: skip
    smart = put_together(settings, lane, Keys(bytes(32)), clock, hooks)
    smart.people = replace(smart.people, passwords=Passwords(time_cost=1, memory_cost=64))
    made = Site(FastAPI(openapi_url=None), smart, clock)
    smart.audit = made.noted
    made.app.include_router(routes.router(smart))
    try:
        yield made
    finally:
        await smart.close()
