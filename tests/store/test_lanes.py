"""Connections: requests given up, a server that goes away, statements kept and not kept, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.errors import FhirError, Overloaded
from fhirhub.store import engine
from fhirhub.store.engine import Lane
from fhirhub.store.store import Store
from searching import definitions
from store.test_writes import Client, patient

SLEEP = "select pg_sleep($1::float8)::text, 'marked'"
KILL = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@pytest_asyncio.fixture
async def lane(dsn: str) -> AsyncIterator[Lane]:
    made = Lane(dsn, 2)
    await made.open()
    yield made
    await made.close()


async def kill(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.fetch(KILL)
    await connection.close()


async def test_a_statement_that_is_given_up_does_not_run_on(dsn: str, lane: Lane) -> None:
    task = asyncio.ensure_future(lane.fetch(SLEEP, 60.0))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lane.in_use == 0
    watcher = await asyncpg.connect(dsn)
    running = "select count(*) from pg_stat_activity where query like '%marked%' and pid <> pg_backend_pid()"
    for _ in range(100):
        if not await watcher.fetchval(running):
            break
        await asyncio.sleep(0.1)
    assert not await watcher.fetchval(running)
    await watcher.close()


async def test_who_gives_up_waiting_takes_no_connection_along(lane: Lane) -> None:
    busy = [asyncio.ensure_future(lane.fetch(SLEEP, 0.3)) for _ in range(2)]
    await asyncio.sleep(0.1)
    waiting = [asyncio.ensure_future(lane.fetch("select 1")) for _ in range(20)]
    await asyncio.sleep(0)
    for each in waiting[::2]:
        each.cancel()
    busy[0].cancel()
    answers = await asyncio.gather(*busy, *waiting, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 11
    assert lane.in_use == 0
    assert len(await asyncio.gather(*(lane.fetch("select 1") for _ in range(5)))) == 5


async def test_a_server_that_goes_away_is_a_503_and_then_all_is_well(dsn: str) -> None:
    store = await Store.open(dsn, definitions, connections=6)
    client = Client(store)
    written: list[str] = []

    async def write(name: str) -> None:
        await store.write([client.change(patient(name), None)])
        written.append(name)
        await store.read("Patient", name)
        async with store.exclusively(["Patient"]) as session:
            await session.read("Patient", name)

    for turn in range(5):
        tasks = [asyncio.ensure_future(write(f"k{turn}-{n}")) for n in range(60)]
        await asyncio.sleep(0.01 * turn)
        await kill(dsn)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(answer is None or isinstance(answer, Overloaded) for answer in answers), answers
    assert store.in_use == 0
    await write("after")
    found = await store.read_many([("Patient", name) for name in written])
    assert all(found)
    await store.close()


async def test_idle_connections_that_broke_are_replaced(dsn: str, lane: Lane) -> None:
    await asyncio.gather(lane.fetch("select 1"), lane.fetch("select 1"))
    await kill(dsn)
    assert [row[0] for row in await lane.fetch("select 7")] == [7]


async def test_too_much_at_once_is_a_503(lane: Lane) -> None:
    with pytest.raises(Overloaded):
        await lane.fetch("do $$ begin raise exception using errcode = '53200', message = 'full'; end $$")
    assert [row[0] for row in await lane.fetch("select 7")] == [7]


async def test_few_statements_are_kept_and_no_long_ones(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STATEMENTS", 10)
    kept = "select count(*), coalesce(max(length(statement)), 0) from pg_prepared_statements"
    async with lane.use() as connection:
        for number in range(50):
            await connection.fetch(f"select {number}, $1::int", number)
            await connection.fetch(f"select {number} -- {'x' * 25_000}")
        (row,) = await connection.raw.fetch(kept)
    assert row[0] <= 13 and row[1] < 1000


async def test_the_end_sends_away_who_waits(dsn: str) -> None:
    lane = Lane(dsn, 1)
    await lane.open()
    tasks = [asyncio.ensure_future(lane.fetch(SLEEP, 30.0)) for _ in range(3)]
    await asyncio.sleep(0.1)
    await lane.close()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert all(isinstance(answer, FhirError) for answer in answers)
    with pytest.raises(Overloaded):
        await lane.fetch("select 1")
