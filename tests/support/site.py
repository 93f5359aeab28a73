"""The pages on a real Postgres, with hooks into the record that answer from lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pyotp
from fastapi import FastAPI

from fhirhub.keys import Keys
from fhirhub.pages import account, admin, admin_clients, admin_trail, launch, security, signin, static
from fhirhub.settings import Settings
from fhirhub.smart.hooks import Event, Look, Permission
from fhirhub.smart.passwords import Passwords
from fhirhub.smart.people import People, now, people
from fhirhub.smart.storage.accounts import Account
from fhirhub.store.engine import Lane
from support.browsing import Browser

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

    def __init__(self, app: Any, smart: Any, clock: Clock) -> None:
        self.app, self.smart, self.clock = app, smart, clock
        self.people: People = smart.people
        self._addresses = 0

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


class Connections:
    def __init__(self) -> None:
        self.apps: list[Any] = []

    async def of_account(self, account: str) -> list[Any]:
        return [one for one in self.apps if one.account == account]

    async def revoke(self, account: str, grant: str) -> bool:
        kept = [one for one in self.apps if (one.account, one.grant) != (account, grant)]
        done, self.apps = len(kept) < len(self.apps), kept
        return done


class Clients:
    def __init__(self) -> None:
        self.all: list[Any] = []

    async def list(self) -> list[Any]:
        return self.all

    async def get(self, id: str) -> Any:
        return next((one for one in self.all if one.id == id), None)

    async def add(self, **given: Any) -> Any:
        self.all.append(SimpleNamespace(id=f"c{len(self.all)}", active=True, **given))
        return self.all[-1], "shown-once" if given["kind"] == "symmetric" else None

    async def deactivate(self, id: str) -> dict[str, int]:
        (await self.get(id)).active = False
        return {"tokens": 2}

    async def rotate(self, id: str) -> str:
        return "another-secret"


async def looked_at(patient: str, cursor: str) -> Any:
    rows = [Look(BEGAN + number, "Dr. Hale", "Chart", "read your lab results") for number in range(3)]
    return rows, "more" if not cursor else ""


async def trail(conditions: Mapping[str, str], cursor: str) -> tuple[Sequence[Event], str]:
    rows = [Event(BEGAN, "doc", "Chart", "read Patient/1", "1", "done", "192.0.2.1", f"r{cursor}")]
    return ([] if conditions["user"] == "nobody" else rows), "" if cursor else "older"


def preview(role: str) -> Sequence[Permission]:
    return [] if role == "admin" else [Permission("Patient", "read, search", "", "photo", f"roles.{role}")]


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


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Site]:
    """A site on the database at ``dsn``."""
    lane, clock, keys, settings = Lane(dsn, 4), Clock(), Keys(bytes(32)), Settings(database_url=dsn)
    found = people(settings, lane, keys, clock)
    cheap = People(found.accounts, found.sessions, Passwords(time_cost=1, memory_cost=64), found.totp, clock)
    smart = SimpleNamespace(
        settings=settings, lane=lane, keys=keys, clock=clock, people=cheap, audit=None,
        patients=Patients("Ada Abbott", "Ben Becker"), connections=Connections(), clients=Clients(), looked_at=looked_at, preview=preview, trail=trail,
    )  # fmt: skip
    app = FastAPI(openapi_url=None)
    app.include_router(static.router())
    for room in (signin, account, security, launch, admin, admin_clients, admin_trail):
        app.include_router(room.router(smart))
    try:
        yield Site(app, smart, clock)
    finally:
        await lane.close()
