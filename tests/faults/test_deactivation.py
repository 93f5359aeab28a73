"""Who is cut off is out with the commit that says so, on both workers of a real server that are asked all the time.

As often as ``FAULT_CUTS`` says: deactivations of people, and revocations (``1000,200`` at night).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import pytest_asyncio

from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.cutting import CUTS
from support.holders import REDIRECT, Holder, an_app, holder
from support.process import Server
from support.smart import bearer, issue
from support.workers import pairs

DEACTIVATIONS, REVOCATIONS = map(int, os.environ.get("FAULT_CUTS", "120,40").split(","))
BY_COMMAND = 4
TOGETHER = 2
"""Trials under way at once."""
AFTER = 3
"""Requests over each connection that begin after the commit, at least."""
BOTH = ("offline", "online")
Pair = list[httpx.AsyncClient]
"""Connections to both workers for asking all the time, and to both for what is done meanwhile."""
Cut = Callable[[Holder, Pair], Awaitable[object]]
pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def guarded(dsn: str) -> Iterator[Server]:
    """Two workers that ask for tokens, on the module's database."""
    with TemporaryDirectory(prefix="fhirhub-test-", ignore_cleanup_errors=True) as home:
        variables = {"FHIRHUB_NO_AUTH": "off", "FHIRHUB_DATABASE_URL": dsn}
        with Server(Path(home), "--workers", "2", variables=variables) as started:
            started.wait_ready()
            yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smart(dsn: str) -> AsyncIterator[Smart]:
    made = await open_smart(Settings(database_url=dsn), keys=Keys(bytes(32)))
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(guarded: Server) -> AsyncIterator[list[Pair]]:
    async with AsyncExitStack() as stack:
        found = await pairs(guarded, stack, 2 * TOGETHER)
        yield [asking + acting for asking, acting in zip(found[::2], found[1::2], strict=True)]


@dataclass
class Tally:
    """All answers of a kind of cut: those to requests that began before the commit was known, and after it."""

    before: Counter[int] = field(default_factory=Counter)
    after: Counter[int] = field(default_factory=Counter)
    spared: Counter[int] = field(default_factory=Counter)
    """Answers after the commit to tokens that were not to be cut."""


async def hammer(
    who: Holder, line: httpx.AsyncClient, log: list[tuple[float, str, int]], over: asyncio.Future[float]
) -> None:
    """Ask with both tokens in turn until there were enough answers after the commit."""
    late = 0
    while late < AFTER * len(BOTH):
        for name in BOTH:
            began = time.monotonic()
            status = await who.read(line, getattr(who, name))
            log.append((began, name, status))
            late += over.done() and began > over.result()


async def trial(who: Holder, pair: Pair, cut: Cut, tally: Tally, dead: tuple[str, ...] = BOTH) -> None:
    """Cut ``who`` off at a moment that is drawn, while both workers are asked."""
    log: list[tuple[float, str, int]] = []
    over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    asking = [asyncio.create_task(hammer(who, line, log, over)) for line in pair[:2]]
    async with asyncio.timeout(60):
        while len(log) < 2 * len(BOTH) and not any(task.done() for task in asking):
            await asyncio.sleep(0.001)
        await asyncio.sleep(random.uniform(0, 0.02))
        await cut(who, pair)
        over.set_result(time.monotonic())
        await asyncio.gather(*asking)
    assert [status for _, _, status in log[:4]] == [404] * 4, "they could not ask before"
    for began, name, status in log:
        kept = tally.before if began <= over.result() else tally.after if name in dead else tally.spared
        kept[status] += 1


async def everybody(lines: list[Pair], count: int, one: Callable[[int, Pair], Awaitable[None]]) -> None:
    """``one`` for each number, as many at once as there are pairs of connections."""
    numbers = iter(range(count))

    async def work(pair: Pair) -> None:
        for number in numbers:
            await one(number, pair)

    async with asyncio.TaskGroup() as group:
        for pair in lines:
            group.create_task(work(pair))


async def check_all_is_over(who: Holder, pair: Pair, number: int) -> None:
    """Whatever else was given out is worth nothing, at either worker."""
    one, other = pair[:2] if number % 2 else pair[1::-1]
    assert await who.refreshed(one) == await who.refreshed(other) == (400, "invalid_grant")
    assert await who.exchanged(other) == (400, "invalid_grant")
    for line in pair[:2]:
        page = await who.apps(line)
        assert page.status_code == 303 and page.headers["location"].startswith("/auth/sign-in")
    launched = await who.launched(one)
    assert launched.headers["location"].startswith(f"{REDIRECT}?error="), launched.headers


async def command(server: Server, dsn: str, *arguments: str) -> None:
    """``fhirhub`` with these arguments, beside the server."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fhirhub", *arguments, env=variables | server.variables,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0


async def test_people_who_are_deactivated(guarded: Server, smart: Smart, lines: list[Pair], dsn: str) -> None:
    client, tally = await an_app(smart, "Chart"), Tally()

    async def by_storage(who: Holder, pair: Pair) -> object:
        return await smart.people.accounts.deactivate(who.account.id, CUTS)

    async def by_command(who: Holder, pair: Pair) -> object:
        return await command(guarded, dsn, "users", "deactivate", who.account.username)

    async def one(number: int, pair: Pair) -> None:
        who = await holder(smart, client, f"leaver-{number}")
        await trial(who, pair, by_command if number < BY_COMMAND else by_storage, tally)
        await check_all_is_over(who, pair, number)

    await everybody(lines, DEACTIVATIONS, one)
    assert set(tally.after) == {401} and tally.after[401] >= DEACTIVATIONS * 2 * AFTER * 2
    assert tally.before[404] >= DEACTIVATIONS * 4 and set(tally.before) <= {404, 401}


async def test_apps_that_are_revoked(smart: Smart, lines: list[Pair]) -> None:
    """By the person on the page, by the app itself (RFC 7009), by the practice."""
    shared, tally = await an_app(smart, "Weight Watch"), Tally()

    async def by_the_practice(who: Holder, pair: Pair) -> object:
        return await smart.clients.deactivate(who.client.id)

    async def one(number: int, pair: Pair) -> None:
        way = number % 4
        client = shared if way else await an_app(smart, f"Ended {number}")
        who = await holder(smart, client, f"owner-{number}")
        line = pair[2 + number // 4 % 2]
        if way == 0:
            await trial(who, pair, by_the_practice, tally)
            assert (await who.refreshed(pair[0]))[1] == (await who.exchanged(pair[1]))[1] == "invalid_client"
        elif way == 1:
            await trial(who, pair, lambda who, pair: who.give_back(line), tally, ("offline",))
            assert await who.refreshed(pair[0]) == await who.refreshed(pair[1]) == (400, "invalid_grant")
        else:
            await trial(who, pair, lambda who, pair: who.revoke(line), tally)
            assert await who.refreshed(pair[0]) == await who.refreshed(pair[1]) == (400, "invalid_grant")
            assert (await who.apps(pair[0])).status_code == 200, "the person is still there"

    await everybody(lines, REVOCATIONS, one)
    assert set(tally.after) == {401} and tally.after[401] >= REVOCATIONS * AFTER * 2
    assert set(tally.spared) == {404}, "an app that gave one grant back was cut off altogether"


CONSENT = {
    "resourceType": "Consent", "id": "no", "status": "active", "patient": {"reference": "Patient/ana"},
    "scope": {"coding": [{"code": "patient-privacy"}]},
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
    "policyRule": {"coding": [{"code": "OPTIN"}]},
    "provision": {
        "type": "deny",
        "actor": [{"role": {"text": "recipient"}, "reference": {"reference": "Practitioner/other"}}],
    },
}  # fmt: skip


async def test_consents_that_are_taken_back(guarded: Server, lines: list[Pair], dsn: str) -> None:
    desk = bearer(await issue(dsn, "system/*.cruds"))
    other = bearer(await issue(dsn, "user/*.rs", fhir_user="Practitioner/other", username="other"))
    pair, writing = lines[0], lines[1][0]
    for one in ({"resourceType": "Practitioner", "id": "other"}, {"resourceType": "Patient", "id": "ana"}):
        stored = await writing.put(f"{one['resourceType']}/{one['id']}", json=one, headers=desk)
        assert stored.status_code == 201, stored.text
    for number in range(max(REVOCATIONS // 4, 5)):
        for status, expected in (("active", 404), ("inactive", 200)):
            over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            asking = [asyncio.create_task(_late(line, other, over)) for line in pair[:2]]
            await asyncio.sleep(random.uniform(0.005, 0.02))
            stored = await writing.put("Consent/no", json={**CONSENT, "status": status}, headers=desk)
            over.set_result(time.monotonic())
            assert stored.status_code in (200, 201), stored.text
            assert await asyncio.gather(*asking) == [[expected] * AFTER] * 2, (number, status)


async def _late(line: httpx.AsyncClient, who: dict[str, str], over: asyncio.Future[float]) -> list[int]:
    """Ask until there were enough answers to requests that began after the commit; those."""
    late: list[int] = []
    while len(late) < AFTER:
        began = time.monotonic()
        answer = await line.get("Patient/ana", headers=who)
        if over.done() and began > over.result():
            late.append(answer.status_code)
    return late
