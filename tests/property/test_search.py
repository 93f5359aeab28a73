"""Random searches of random worlds: Postgres must find, page by page, what the predicates find in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import pytest_asyncio

import fhirhub.store.search as searching_module
from fhirhub.errors import BadRequest
from fhirhub.store.cost import Estimator
from fhirhub.store.plan import Plan
from fhirhub.store.store import Store
from property.queries import Queries
from property.rig import Rig, any_plan, flat, plans
from property.worlds import World
from searching import definitions, registry

WORLDS = int(os.environ.get("FHIRHUB_PROPERTY_WORLDS", "4"))
"""Worlds that are made and searched; 100 or more for a night."""
FIRST = int(os.environ.get("FHIRHUB_PROPERTY_FIRST", "0"))
"""The number of the first world."""
SEARCHES = 250
"""Searches of each world."""
COUNTS = (1, 2, 3, 7, 50)


@pytest_asyncio.fixture
async def store(fresh_dsn: str) -> AsyncIterator[Store]:
    opened = await Store.open(fresh_dsn, definitions, integrity=False, connections=4)
    yield opened
    await opened.close()


async def check(rig: Rig, kind: str, pairs: list[tuple[str, str]], rng: Random) -> None:
    request = rig.request(kind, pairs)
    expected = rig.expected(request)
    pages = await rig.walk(request, rng.choice(COUNTS))
    ids = [each.id for each in flat(pages)]
    assert len(ids) == len(set(ids)), f"found twice: {[id for id, n in Counter(ids).items() if n > 1]}"
    assert set(ids) == expected, f"too many {set(ids) - expected}, too few {expected - set(ids)}"
    assert all(each.type == kind and not each.deleted for each in flat(pages))
    rig.check_order(request, ids)
    page = await rig.store.search(replace(request, count=rng.choice((0, 1, 50)), total="accurate"))
    assert page.total == len(expected)
    page = await rig.store.search(replace(request, count=3))
    included = {(each.type, each.id) for each in page.included}
    assert len(included) == len(page.included)
    assert included == rig.included(request, page.matches)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WORLDS))
async def test_searches_find_what_they_must(store: Store, seed: int) -> None:
    world = World(seed)
    rig = Rig(store)
    await rig.load(world)
    rng = Random(f"searches {seed}")
    queries = Queries(registry, rig.documents.values(), rng)
    refused = 0
    used: list[Plan] = []
    with any_plan(rng, used):
        for _ in range(SEARCHES):
            kind, pairs = queries.search()
            try:
                await check(rig, kind, pairs, rng)
            except BadRequest:
                refused += 1
            except Exception as error:
                shown = "&".join(f"{name}={value}" for name, value in pairs)
                raise AssertionError(f"world {seed}: {kind}?{shown} by {used[-1:]}: {error}") from error
    assert refused < SEARCHES / 10
    assert {plan.kind for plan in used} == {
        "token",
        "range",
        "merged",
        "absent",
        "resource",
        "updated",
        "sort",
    }


async def test_codes_come_in_their_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every order by codes alone, walked page by page, with other criteria and without."""
    world = World(FIRST)
    rig = Rig(store)
    await rig.load(world)
    rng = Random(f"codes {FIRST}")
    queries = Queries(registry, rig.documents.values(), rng)
    monkeypatch.setattr(searching_module, "FEW", 0.0)
    monkeypatch.setattr(Estimator, "ranked", lambda *about: 0.0)
    walked = 0
    for kind in queries.types:
        for code, facet in registry.facets(kind).items():
            if facet.kind != "token" or not facet.routes or rng.random() < 0.5:
                continue
            criteria = [queries.criterion(kind) for _ in range(rng.choice((0, 0, 0, 1)))]
            pairs = [*criteria, ("_sort", rng.choice(("", "-")) + code)]
            try:
                request = rig.request(kind, pairs)
            except BadRequest:
                continue
            pages = await rig.walk(request, rng.choice((1, 2, 3)))
            ids = [each.id for each in flat(pages)]
            assert set(ids) == rig.expected(request) and len(ids) == len(set(ids)), (kind, pairs)
            rig.check_order(request, ids)
            walked += bool(store.searcher.ranks.codes) and len(pages) > 1
    assert walked > 30


async def test_what_is_not_there_comes_page_by_page(store: Store) -> None:
    """Resources passed by beside the rows that must not be there, newest first and oldest first."""
    world = World(FIRST)
    rig = Rig(store)
    await rig.load(world)
    rng = Random(f"absent {FIRST}")
    queries = Queries(registry, rig.documents.values(), rng)

    def absent(*about: Any) -> list[Plan]:
        return [plan for plan in plans(*about) if plan.kind == "absent"] or plans(*about)

    used: list[Plan] = []
    walked: Counter[str] = Counter()
    with any_plan(rng, used, absent):
        for kind in queries.types:
            main = definitions.sort_date.get(kind)
            for code, facet in registry.facets(kind).items():
                modifier = rng.choice(["missing", "not"][: 1 + (facet.kind == "token")])
                value = queries.value(facet, "") if modifier == "not" else rng.choice(("true", "false"))
                pairs = [(f"{code}:{modifier}", value)]
                pairs += [queries.criterion(kind) for _ in range(rng.choice((0, 0, 1)))]
                pairs += [("_sort", rng.choice(("", "-")) + main)] if main and rng.random() < 0.7 else []
                try:
                    request = rig.request(kind, pairs)
                except BadRequest:
                    continue
                pages = await rig.walk(request, rng.choice((1, 2, 3, 7)))
                ids = [each.id for each in flat(pages)]
                assert set(ids) == rig.expected(request) and len(ids) == len(set(ids)), (kind, pairs)
                rig.check_order(request, ids)
                walked[modifier] += used[-1].kind == "absent" and len(pages) > 2
    assert walked["missing"] > 5 and walked["not"] > 5, walked
