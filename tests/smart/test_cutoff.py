"""Who is cut off is out by the next request: on every worker of a real server, with requests under way all the time."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import httpx
import pytest
import pytest_asyncio

from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.cutting import CUTS
from support.process import Server
from support.smart import bearer, issue

DEACTIVATIONS, REVOCATIONS, CLIENTS = 60, 25, 25
CONNECTIONS = 12
"""Each ends at one worker; a trial uses four, and the next trial the next four."""


@pytest.fixture(scope="module")
def guarded(dsn: str) -> Iterator[Server]:
    """Two workers that ask for tokens, on the module's database."""
    home = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    variables = {"FHIRHUB_NO_AUTH": "off", "FHIRHUB_DATABASE_URL": dsn, "FHIRHUB_LOG_LEVEL": "error"}
    try:
        with Server(home, "--workers", "2", variables=variables) as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smart(dsn: str) -> AsyncIterator[Smart]:
    made = await open_smart(Settings(database_url=dsn), keys=Keys(bytes(32)))
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(guarded: Server) -> AsyncIterator[Iterator[httpx.AsyncClient]]:
    """Connections, in turn."""
    limits = httpx.Limits(max_connections=1)
    clients = [
        httpx.AsyncClient(base_url=guarded.base, limits=limits, timeout=30, trust_env=False)
        for _ in range(CONNECTIONS)
    ]
    yield itertools.cycle(clients)
    for client in clients:
        await client.aclose()


@dataclass
class Caller:
    """Asks with one token over one connection, again and again."""

    line: httpx.AsyncClient
    token: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    """When each request began, and its status; 404 is that of somebody who may ask."""

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = perf_counter()
            answer = await self.line.get("/Patient/nobody", headers=bearer(self.token))
            self.answers.append((began, answer.status_code))

    async def until(self, ready: Callable[[Caller], bool]) -> None:
        while not ready(self):
            await asyncio.sleep(0.001)


async def trial(lines: Iterator[httpx.AsyncClient], token: str, cut: Callable[[], Awaitable[object]]) -> None:
    """Ask over four connections, cut the token off, and hold every request that began after that against it."""
    callers, stop = [Caller(next(lines), token) for _ in range(4)], asyncio.Event()
    running = [asyncio.ensure_future(caller.run(stop)) for caller in callers]
    async with asyncio.timeout(60):
        await asyncio.gather(*(caller.until(lambda one: bool(one.answers)) for caller in callers))
        assert all(caller.answers[0][1] == 404 for caller in callers), [
            caller.answers[0] for caller in callers
        ]
        await cut()
        over = perf_counter()
        await asyncio.gather(*(caller.until(lambda one: one.answers[-1][0] > over) for caller in callers))
        stop.set()
        await asyncio.gather(*running)
    late = [status for caller in callers for began, status in caller.answers if began > over]
    assert len(late) >= 4 and set(late) == {401}


async def test_a_person_who_is_deactivated(
    smart: Smart, lines: Iterator[httpx.AsyncClient], dsn: str
) -> None:
    for number in range(DEACTIVATIONS):
        token = await issue(dsn, "user/*.cruds", username=f"leaver-{number}")
        account = await smart.people.accounts.named(f"leaver-{number}")

        async def cut(id: str = account.id) -> object:
            return await smart.people.accounts.deactivate(id, CUTS)

        await trial(lines, token, cut)


async def test_an_app_that_its_owner_revokes(
    smart: Smart, lines: Iterator[httpx.AsyncClient], dsn: str
) -> None:
    for number in range(REVOCATIONS):
        token = await issue(dsn, "user/*.cruds", username=f"owner-{number}")
        account = await smart.people.accounts.named(f"owner-{number}")
        (app,) = await smart.connections.of_account(account.id)

        async def cut(id: str = account.id, grant: str = app.grant) -> object:
            return await smart.connections.revoke(id, grant)

        await trial(lines, token, cut)


async def test_a_system_that_is_deactivated(
    smart: Smart, lines: Iterator[httpx.AsyncClient], dsn: str
) -> None:
    for number in range(CLIENTS):
        token = await issue(dsn, "system/*.cruds", client=f"System {number}")
        client = next(one for one in await smart.clients.list() if one.name == f"System {number}")

        async def cut(id: str = client.id) -> object:
            return await smart.clients.deactivate(id)

        await trial(lines, token, cut)
