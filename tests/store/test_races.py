"""Several processes on one database: two stores with nothing in common but that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest_asyncio

from fhirhub.store.records import Dangling, Referenced, StaleBase
from fhirhub.store.store import Store
from fhirhub.store.verify import verify
from searching import definitions
from store.test_writes import Client, basic, patient, removal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(dsn: str) -> AsyncIterator[tuple[Client, Client]]:
    stores = [await Store.open(dsn, definitions, connections=8) for _ in range(2)]
    yield Client(stores[0]), Client(stores[1])
    for store in stores:
        await store.close()


async def deadlocks(client: Client) -> int:
    await client.store.fetch("select pg_stat_force_next_flush()")
    rows = await client.store.fetch(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return int(rows[0][0])


async def test_who_deletes_and_who_refers_do_not_both_succeed(pair: tuple[Client, Client]) -> None:
    one, other = pair
    for turn in range(40):
        await one.put(patient(f"r{turn}"))
        base = await one.present("Patient", f"r{turn}")
        orders = [
            one.store.write([removal(base)]),
            other.store.write([other.change(basic(f"r{turn}", f"Patient/r{turn}"), None)]),
        ]
        answers = await asyncio.gather(*(orders if turn % 2 else orders[::-1]), return_exceptions=True)
        refused = [answer for answer in answers if not isinstance(answer, list)]
        assert len(refused) == 1 and isinstance(refused[0], Dangling | Referenced), answers


async def test_one_of_sixty_four_writers_wins_each_version(pair: tuple[Client, Client]) -> None:
    await pair[0].put(patient("w"))
    for version in range(1, 6):
        base = await pair[0].present("Patient", "w")
        assert base.version == version
        orders = [
            pair[n % 2].store.write(
                [pair[n % 2].change(patient("w", multipleBirthInteger=100 * version + n), replace(base))]
            )
            for n in range(64)
        ]
        answers = await asyncio.gather(*orders, return_exceptions=True)
        winners = [n for n, answer in enumerate(answers) if isinstance(answer, list)]
        assert len(winners) == 1 and all(
            isinstance(a, StaleBase) for n, a in enumerate(answers) if n not in winners
        )
        now = await pair[1].present("Patient", "w")
        assert now.content == f'{{"multipleBirthInteger": {100 * version + winners[0]}}}'


async def test_units_that_cross_do_not_wait_for_each_other(dsn: str, pair: tuple[Client, Client]) -> None:
    """The same resources in another order: one of two goes first, and nobody waits in a circle."""
    rng = Random(1)
    clients = [Client(await Store.open(dsn, definitions, connections=4)) for _ in range(6)]
    before = await deadlocks(pair[0])
    for turn in range(12):
        names = [f"x{turn}-{n}" for n in range(60)]
        for step in range(2):
            units = []
            for n, client in enumerate(clients):
                rng.shuffle(names)
                bases = await client.store.read_many([("Patient", name) for name in names])
                units.append(
                    client.store.write(
                        [
                            client.change(patient(name, multipleBirthInteger=2 * n + step), base)
                            for name, base in zip(names, bases, strict=True)
                        ]
                    )
                )
            answers = await asyncio.gather(*units, return_exceptions=True)
            assert sum(isinstance(answer, list) for answer in answers) == 1
            assert all(isinstance(answer, list | StaleBase) for answer in answers), answers
    assert await deadlocks(pair[0]) == before
    for client in clients:
        await client.store.close()


async def test_large_units_do_not_use_up_the_locks_of_the_server(pair: tuple[Client, Client]) -> None:
    one, other = pair
    await asyncio.gather(*(one.store.write([one.change(patient(f"m{n}"), None)]) for n in range(2000)))
    units = []
    for n in range(8):
        client = pair[n % 2]
        units.append([client.change(basic(f"m{n}-{k}", f"Patient/m{k}"), None) for k in range(2000)])

    async def within(client: Client, changes: list) -> None:
        async with client.store.exclusively([f"name {n}" for n in range(2000)]) as session:
            await session.write(changes)

    await asyncio.gather(
        *(client.store.write(unit) for client, unit in zip((one, other) * 2, units[:4], strict=True)),
        *(within(client, unit) for client, unit in zip((one, other) * 2, units[4:], strict=True)),
    )


async def test_after_all_this_the_index_says_what_the_documents_say(
    dsn: str, pair: tuple[Client, Client]
) -> None:
    assert (await verify(dsn, definitions)).disagreements == []
