"""Page after page while others create, change and delete: what stays is seen once, in one order, both ways."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page, StaleBase
from fhirhub.store.store import Store
from property.rig import Rig, any_plan, plans
from searching import definitions

WALKS = int(os.environ.get("FHIRHUB_PROPERTY_WALKS", "3"))
"""Walks of each kind; 60 or more for a night."""
STAY = 60
KINDS: dict[str, tuple[str, str]] = {
    "token, newest first": ("Observation?code=a", "token"),
    "token, oldest first": ("Observation?code=a&_sort=date", "token"),
    "several tokens": ("Observation?code=a,b,x&_sort=-date", "token"),
    "a reference and a date": ("Observation?subject=Patient/p1&date=ge2010", "token"),
    "all of the type": ("Observation?status=final,amended", "resource"),
    "all, oldest first": ("Observation?_sort=date", "resource"),
    "last changed first": ("Observation?_sort=-_lastUpdated", "updated"),
    "last changed last": ("Observation?_sort=_lastUpdated&status=final,amended", "updated"),
    "quantities": ("Observation?value-quantity=gt3", "range"),
    "strings": ("Observation?value-string=word", "range"),
    "alternatives": ("Observation?_filter=code eq a or value-quantity gt 3", "merged"),
    "alternatives, oldest first": (
        "Observation?_filter=code eq a or value-string sw word&_sort=date",
        "merged",
    ),
    "gathered": ("Observation?code=a,b&_sort=value-quantity,-date", "sort"),
    "gathered by id": ("Observation?_sort=-_id", "sort"),
    "gathered by several": (
        "Observation?_has:Observation:has-member:code=m&_sort=-value-quantity,_id",
        "sort",
    ),
}
_DATES = [None, *(f"20{year:02}-0{month}-11" for year in range(9, 16) for month in (1, 5))]


def observation(id: str, rng: Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": id,
        "status": rng.choice(("final", "amended")),
        "code": {"coding": [{"code": code} for code in rng.sample("abx", rng.choice((1, 2)))]},
        "subject": {"reference": f"Patient/p{rng.choice((1, 1, 2))}"},
    }
    date = rng.choice(_DATES)
    if date:
        made["effectiveDateTime"] = date
    if rng.random() < 0.6:
        made["valueQuantity"] = {"value": rng.randrange(8)}
    elif rng.random() < 0.8:
        made["valueString"] = rng.choice(("word", "words", "word b", "wordless"))
    return made


class Crowd:
    """Others at work: they create, change and delete observations that match, but never those that stay."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.rng = Random(seed)
        self.numbers = itertools.count()
        self.alive: list[str] = []

    async def work(self, steps: int) -> None:
        for _ in range(steps):
            way = self.rng.random()
            try:
                if way < 0.5 or not self.alive:
                    id = f"c{self.rng.randrange(10**9)}"
                    self.alive.append(id)
                    await self.rig.put(observation(id, self.rng))
                elif way < 0.8:
                    await self.rig.put(observation(self.rng.choice(self.alive), self.rng))
                else:
                    await self.rig.delete(
                        ("Observation", self.alive.pop(self.rng.randrange(len(self.alive))))
                    )
            except (StaleBase, AssertionError, KeyError):
                continue
            await asyncio.sleep(0.001)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    store = await Store.open(dsn, definitions, integrity=False, connections=6)
    made = Rig(store)
    rng = Random(5)
    documents = [observation(f"s{number}", rng) for number in range(STAY)]
    await asyncio.gather(*(made.put(each) for each in documents))
    groups = [
        {
            **observation(f"g{number}", rng),
            "code": {"coding": [{"code": "m"}]},
            "hasMember": [{"reference": f"Observation/s{rng.randrange(STAY)}"} for _ in range(5)],
        }
        for number in range(12)
    ]
    await asyncio.gather(*(made.put(each) for each in groups))
    yield made
    await store.close()


async def pages(
    store: Store, request: SearchRequest, back: bool, start: Page | None = None
) -> tuple[list[str], Page]:
    """The ids from page to page, and the last page."""
    page = start or await store.search(request)
    ids = [] if start else [each.id for each in page.matches]
    for _ in range(5000):
        cursor = page.previous if back else page.next
        if cursor is None:
            return ids, page
        page = await store.search(replace(request, cursor=cursor))
        found = [each.id for each in page.matches]
        ids += found[::-1] if back else found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("walk", range(WALKS))
@pytest.mark.parametrize("kind", KINDS)
async def test_what_stays_is_seen_once_in_one_order(rig: Rig, kind: str, walk: int) -> None:
    query, plan = KINDS[kind]
    type, _, rest = query.partition("?")
    rng = Random(f"{kind} {walk}")
    pairs = [tuple(piece.split("=", 1)) for piece in rest.split("&")]
    request = replace(rig.request(type, pairs), count=rng.choice((1, 3, 5, 11)))
    at_rest = [each.id for each in (await rig.store.search(replace(request, count=1000))).matches]
    stays = [id for id in at_rest if id[0] != "c"]
    assert len(stays) > 5
    crowd = asyncio.ensure_future(Crowd(rig, walk).work(40))
    with any_plan(rng, [], lambda *asked: [each for each in plans(*asked) if each.kind == plan]):
        first, last = await pages(rig.store, request, back=False)
    back, _ = await pages(rig.store, request, True, last)
    back = [each.id for each in reversed(last.matches)] + back
    await crowd
    for ids in (first, back):
        seen = [id for id in ids if id in stays]
        assert len(seen) == len(set(seen)), "seen twice"
        assert set(seen) == set(stays), "skipped"
    # Which order it is, the plan decides; it is the same in both directions.
    seen = [id for id in first if id in stays]
    assert [id for id in back if id in stays] == seen[::-1]
