"""Sign-in sessions on a real Postgres: their ends, their cookie values, their stages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.smart.storage.accounts import Accounts
from fhirhub.smart.storage.sessions import TOUCH, Sessions, hashed
from fhirhub.store.engine import Lane

SECOND = 1_000_000
IDLE, ABSOLUTE = 900, 43_200


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.micro = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.micro


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lane(dsn: str) -> AsyncIterator[Lane]:
    made = Lane(dsn, 2)
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def account(lane: Lane, clock: Clock) -> str:
    return (await Accounts(lane, clock).add("somebody", "biller", None, "$argon2id$none")).id


@pytest.fixture
def sessions(lane: Lane, clock: Clock) -> Sessions:
    return Sessions(lane, clock, idle=IDLE, absolute=ABSOLUTE)


async def test_an_idle_session_ends(sessions: Sessions, account: str, clock: Clock) -> None:
    _, value = await sessions.start(account, "complete")
    clock.micro += IDLE * SECOND - 1
    assert await sessions.current(value) is not None
    clock.micro += IDLE * SECOND - 1
    assert await sessions.current(value) is not None, "use did not keep it"
    clock.micro += IDLE * SECOND
    assert await sessions.current(value) is None


async def test_a_busy_session_ends_too(sessions: Sessions, account: str, clock: Clock) -> None:
    _, value = await sessions.start(account, "complete")
    for _ in range(ABSOLUTE // 600 - 1):
        clock.micro += 600 * SECOND
        assert await sessions.current(value) is not None
    clock.micro += 600 * SECOND
    assert await sessions.current(value) is None


async def test_looking_does_not_write_each_time(
    sessions: Sessions, account: str, clock: Clock, lane: Lane
) -> None:
    id, value = await sessions.start(account, "complete")
    began = clock.micro
    clock.micro += TOUCH
    await sessions.current(value)
    assert (await lane.fetch("select seen from session where id = $1", id))[0]["seen"] == began
    clock.micro += 1
    await sessions.current(value)
    assert (await lane.fetch("select seen from session where id = $1", id))[0]["seen"] == clock.micro


async def test_each_stage_has_its_own_value(sessions: Sessions, account: str) -> None:
    id, first = await sessions.start(account, "totp")
    second = await sessions.advance(id, "change")
    third = await sessions.advance(id, "complete")
    assert second is not None and third is not None and len({first, second, third}) == 3
    assert await sessions.current(first) is None and await sessions.current(second) is None
    found = await sessions.current(third)
    assert found is not None and (found.id, found.stage, found.account.username) == (
        id,
        "complete",
        "somebody",
    )
    await sessions.end(id)
    assert await sessions.current(third) is None
    assert await sessions.advance(id, "complete") is None


async def test_the_database_does_not_know_the_value(sessions: Sessions, account: str, dsn: str) -> None:
    id, value = await sessions.start(account, "complete")
    connection = await asyncpg.connect(dsn)
    row = await connection.fetchrow("select * from session where id = $1", id)
    await connection.close()
    assert row is not None and row["cookie"] == hashed(value)
    assert value not in " ".join(str(part) for part in row.values())


@pytest.mark.parametrize("value", ["", "x", "a" * 43, "a" * 5000, "'or 1=1 --" * 4, "é" * 43])
async def test_a_made_up_value_opens_nothing(sessions: Sessions, value: str) -> None:
    assert await sessions.current(value) is None


async def test_an_inactive_account_has_no_session(sessions: Sessions, clock: Clock, lane: Lane) -> None:
    accounts = Accounts(lane, clock)
    other = await accounts.add("leaving", "biller", None, "$argon2id$none")
    _, value = await sessions.start(other.id, "complete")
    await lane.fetch("update account set active = false where id = $1", other.id)
    assert await sessions.current(value) is None


async def test_the_glass_mends_by_itself(sessions: Sessions, account: str, clock: Clock) -> None:
    id, value = await sessions.start(account, "complete")
    until = await sessions.break_glass(id, "unconscious, no history at hand", 600)
    found = await sessions.current(value)
    assert found is not None and (found.reason, found.reason_until) == (
        "unconscious, no history at hand",
        until,
    )
    clock.micro += 600 * SECOND
    found = await sessions.current(value)
    assert found is not None and (found.reason, found.reason_until) == ("", 0)
