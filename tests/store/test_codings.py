"""What a code stands for is remembered, and yet no search misses what another process has just coded otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fhirhub.store.codings import CODINGS, FEW
from fhirhub.store.records import Change
from fhirhub.store.store import Store
from property.rig import Rig
from searching import BASES, definitions


@asynccontextmanager
async def two(dsn: str) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two processes on one database, as far as memory goes."""
    stores = [await Store.open(dsn, definitions, connections=4) for _ in range(2)]
    try:
        yield Rig(stores[0]), Rig(stores[1])
    finally:
        for store in stores:
            await store.close()


def observation(id: str, system: str, code: str = "8480-6", status: str = "final") -> dict[str, Any]:
    coding = {"system": f"http://codes.test/{system}", "code": code}
    return {"resourceType": "Observation", "id": id, "status": status, "code": {"coding": [coding]}}


async def answer(rig: Rig, *pairs: tuple[str, str]) -> tuple[list[str], int | None, list[str]]:
    """(ids found, total, the statements that it took)."""
    statements: list[str] = []

    async def fetch(sql: str, *values: Any) -> Sequence[Any]:
        statements.append(sql)
        return await rig.store.fetch(sql, *values)

    page = await rig.store.searcher.search(rig.request("Observation", pairs), fetch)
    return sorted(each.id for each in page.matches), page.total, statements


CODE = ("code", "8480-6")
WAYS: dict[str, tuple[tuple[str, str], ...]] = {
    "page": (CODE,),
    "page and total": (CODE, ("_total", "accurate")),
    "gathered": (CODE, ("_sort", "status")),
    "count": (CODE, ("_summary", "count")),
    "nothing before": (CODE, ("status", "amended")),
    "not": (("code:not", "8480-6"),),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_coding_that_another_process_brings_is_found_at_once(fresh_dsn: str, way: str) -> None:
    pairs = WAYS[way]
    async with two(fresh_dsn) as (here, there):
        await there.put(observation("first", "one"))
        await there.put(observation("other", "one", code="1-1"))
        before = await answer(here, *pairs)
        assert CODINGS in before[2]
        again = await answer(here, *pairs)
        assert again[:2] == before[:2]
        assert len(again[2]) == 1
        await there.put(observation("second", "two", status="amended"))
        found, total, _ = await answer(here, *pairs)
    seen = {"nothing before": ["second"], "not": ["other"], "count": []}
    assert found == seen.get(way, ["first", "second"])
    assert total == (2 if way in ("count", "page and total") else None)


async def test_what_a_transaction_that_fails_has_coded_is_not_remembered(fresh_dsn: str) -> None:
    document = observation("gone", "one")
    async with two(fresh_dsn) as (here, there):
        change = Change("PUT", "Observation", "gone", None, document, here.extractor.rows(document, BASES))
        with pytest.raises(RuntimeError):
            async with here.store.exclusively(["x"]) as session:
                await session.write([change])
                page = await session.search(here.request("Observation", [CODE]))
                assert [each.id for each in page.matches] == ["gone"]
                raise RuntimeError
        await there.put(observation("first", "two"))
        found, _, statements = await answer(here, CODE)
    assert found == ["first"] and CODINGS in statements


async def test_a_system_of_many_codes_is_looked_up_each_time(fresh_dsn: str) -> None:
    async with two(fresh_dsn) as (here, _):
        for number in range(FEW + 1):
            await here.put(observation(f"o{number}", "one", code=f"{number}-1"))
        for _ in range(2):
            found, total, statements = await answer(
                here, ("code", "http://codes.test/one|"), ("_total", "accurate")
            )
            assert total == FEW + 1 and len(found) == 20
            assert CODINGS in statements
