"""Counts that are kept are those that counting gives, whatever happens between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import pytest_asyncio

import fhirhub.store.reindex as reindex_module
import fhirhub.store.totals as totals_module
from fhirhub.search.predicate import And, Keys
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Change
from fhirhub.store.reindex import reindex
from fhirhub.store.store import Store
from property.rig import BASES, Rig
from searching import definitions

QUERIES = (
    "Observation?",
    "Observation?code=a",
    "Observation?code=http://x|b",
    "Observation?code=a,http://x|c",
)
LEFT_OUT = ("Observation?code:not=http://x|c", "Observation?code=http://x|b&code:not=a,c")
"""The same without what few have."""
WRONG = 1_000_000
"""Added to what is kept: a count that says so was not made anew."""


def observation(id: str, rng: Random) -> dict[str, Any]:
    codes = rng.sample("abc", rng.choice((1, 1, 2)))
    coding = [{"system": "http://x", "code": code} for code in codes]
    return {"resourceType": "Observation", "id": id, "status": "final", "code": {"coding": coding}}


@pytest_asyncio.fixture
async def rig(fresh_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    store = await Store.open(fresh_dsn, definitions, integrity=False, connections=6)
    # A frequent key and rare ones, as far as anybody knows: all counts are kept.
    monkeypatch.setattr(totals_module, "KEPT", 90.0)
    monkeypatch.setattr(store.statistics, "frequent", Frequent())
    yield Rig(store)
    await store.close()


class Frequent(dict[int, float]):
    """The first key that is asked for is frequent, all others are rare."""

    def get(self, key: int, default: Any = None) -> Any:
        return 100.0 if key == self.setdefault(0, key) else 1.0


def asked(rig: Rig, query: str) -> SearchRequest:
    type, _, rest = query.partition("?")
    rig.store.statistics.frequent.clear()
    pairs = [(name, value) for name, _, value in (piece.partition("=") for piece in rest.split("&") if piece)]
    made = replace(rig.request(type, pairs), summary="count")
    parts = made.where.parts if isinstance(made.where, And) else ()
    if parts and isinstance(parts[0], Keys):
        rig.store.statistics.key(parts[0].keys[0])
    return made


async def count(rig: Rig, query: str) -> int | None:
    return (await rig.store.search(asked(rig, query))).total


async def check(rig: Rig, query: str) -> None:
    assert await count(rig, query) == len(rig.expected(asked(rig, query))), query


async def long_ago(rig: Rig) -> None:
    """As if all changes had been made a minute earlier."""
    await rig.store.fetch("update resource set updated = updated - 60000000")
    await rig.store.fetch("delete from tally")


@pytest.mark.parametrize("seed", range(3))
async def test_counts_follow_every_change(rig: Rig, seed: int) -> None:
    rng = Random(seed)
    for step in range(150):
        way, alive = rng.random(), [id for _, id in rig.documents]
        if way < 0.6 or not alive:
            await rig.put(observation(f"o{rng.randrange(10**9)}", rng))
        elif way < 0.8:
            await rig.put(observation(rng.choice(alive), rng))
        elif way < 0.95:
            await rig.delete(("Observation", rng.choice(alive)))
        else:
            await long_ago(rig)
        if step % 3 == 0:
            await check(rig, rng.choice(QUERIES + LEFT_OUT))


@pytest.mark.parametrize("query", QUERIES + LEFT_OUT)
async def test_what_is_kept_is_used_until_anything_but_new_resources_comes(rig: Rig, query: str) -> None:
    rng = Random(1)
    for number in range(20):
        await rig.put(observation(f"o{number}", rng))
    await long_ago(rig)
    await check(rig, query)
    await rig.store.fetch(f"update tally set n = n + {WRONG}")
    for number in range(20, 24):
        await rig.put(observation(f"o{number}", rng))
        assert await count(rig, query) == len(rig.expected(asked(rig, query))) + WRONG
    await rig.put(observation("o3", rng))
    await check(rig, query)


async def test_more_new_resources_than_are_worth_adding_are_counted_anew(rig: Rig) -> None:
    rng = Random(2)
    await rig.put(observation("o", rng))
    await long_ago(rig)
    await check(rig, "Observation?")
    await rig.store.fetch(f"update tally set n = n + {WRONG}")
    for number in range(301):
        await rig.put(observation(f"o{number}", rng))
    await check(rig, "Observation?")


@pytest.mark.parametrize("query", QUERIES)
async def test_what_was_not_committed_when_it_was_counted_is_counted_later(rig: Rig, query: str) -> None:
    rng = Random(3)
    await rig.put(observation("o1", rng))
    before = await count(rig, query)
    document = {
        **observation("o2", rng),
        "code": {"coding": [{"system": "http://x", "code": c} for c in "abc"]},
    }
    async with rig.store.exclusively(["Patient"]) as session:
        await session.write(
            [Change("PUT", "Observation", "o2", None, document, rig.extractor.rows(document, BASES))]
        )
        # Longer than clocks may be set back.
        await asyncio.sleep(1.2)
        await rig.store.fetch("delete from tally")
        assert before is not None
        assert await count(rig, query) == before
    assert await count(rig, query) == before + 1


async def test_rows_that_are_made_anew_are_counted_anew(rig: Rig) -> None:
    rng = Random(4)
    for number in range(20):
        await rig.put(observation(f"o{number}", rng))
    await long_ago(rig)
    await rig.store.fetch("delete from token_measurement")
    assert await count(rig, "Observation?code=http://x|b") == 0
    await reindex(rig.store, types=("Observation",), bases=BASES)
    await check(rig, "Observation?code=http://x|b")


async def test_a_count_beside_writers_is_that_of_its_moment(rig: Rig) -> None:
    begun = done = 0

    async def write(seed: int) -> None:
        nonlocal begun, done
        rng = Random(seed)
        for number in range(40):
            begun += 1
            await rig.put(observation(f"w{seed}-{number}", rng))
            done += 1
            if rng.random() < 0.1:
                await asyncio.sleep(0.3)

    async def watch() -> None:
        while done < 200:
            least = done
            found = await count(rig, "Observation?")
            assert found is not None and least <= found <= begun
            await asyncio.sleep(0.002)

    await asyncio.gather(watch(), watch(), *(write(seed) for seed in range(5)))
    await check(rig, "Observation?")


async def test_no_count_outlives_a_reindex_that_was_broken_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, rng = "Observation?code=http://x|b", Random(4)
    for number in range(20):
        await rig.put(observation(f"o{number}", rng))
    await rig.store.fetch("delete from token")
    await rig.store.fetch("update resource set keys = '{}'")
    await long_ago(rig)
    assert await count(rig, query) == 0
    replaced = reindex_module._replace  # noqa: SLF001

    async def killed(store: Store, change: Change) -> bool:
        await replaced(store, change)
        raise ConnectionError

    monkeypatch.setattr(reindex_module, "_replace", killed)
    with pytest.raises(ConnectionError):
        await reindex(rig.store, types=("Observation",), bases=BASES)
    await asyncio.sleep(0.5)
    await check(rig, query)
