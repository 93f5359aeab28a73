"""Any statement of a search can be carried out for several at once, and gives each the rows that it would have had alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from fhirhub.errors import BadRequest
from fhirhub.store import ready
from fhirhub.store.gathering import common, literal
from fhirhub.store.store import Store
from property.queries import Queries
from property.rig import Rig
from property.worlds import World
from searching import definitions, registry

SEARCHES = 250


async def test_rows_are_the_same_together_and_alone(fresh_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "SHORT", float("inf"))
    store = await Store.open(fresh_dsn, definitions, integrity=False, connections=4)
    compared = 0

    async def together(sql: str, *values: Any) -> Sequence[Any]:
        nonlocal compared
        alone = await store.fetch(sql, *values)
        if values:
            text, arrays = common(sql)
            columns = [
                [literal(each) if is_array else each] * 2
                for each, is_array in zip(values, arrays, strict=True)
            ]
            found = await store.fetch(text, *columns)
            for nth in (1, 2):
                assert [tuple(row)[:-1] for row in found if row[-1] == nth] == list(map(tuple, alone)), sql
            compared += bool(alone)
        return alone

    try:
        rig = Rig(store)
        await rig.load(World(1))
        queries = Queries(registry, rig.documents.values(), Random(1))
        for number in range(SEARCHES):
            kind = queries.types[number % len(queries.types)]
            pairs = [queries.criterion(kind) for _ in range(number % 3)]
            pairs += [("_total", "accurate")] * (number % 5 == 0)
            try:
                request = rig.request(kind, pairs)
                await store.searcher.search(request, store.fetch, together=together)
            except BadRequest:
                continue
    finally:
        await store.close()
    assert compared > SEARCHES / 3
