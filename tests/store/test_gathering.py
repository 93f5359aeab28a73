"""Statements that leave together answer each as it would have been answered alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import fhirhub.store.gathering as module
from fhirhub.search.predicate import Predicate
from fhirhub.store.engine import Lane
from fhirhub.store.gathering import FLIGHTS, TOGETHER, Gathering
from store.test_codings import two


class Counted(Lane):
    """A lane that knows what it was asked."""

    asked: list[str]

    async def fetch(self, sql: str, *args: Any) -> Sequence[asyncpg.Record]:
        self.asked.append(sql)
        return await super().fetch(sql, *args)


@pytest_asyncio.fixture
async def lane(dsn: str) -> AsyncIterator[Counted]:
    made = Counted(dsn, 2)
    made.asked = []
    await made.open()
    yield made
    await made.close()


MIXED = (
    "select g as n, $1::bigint + $2::double precision as sum, $3::text as word, $4::bigint[] as numbers,"
    " $5::text[] as words, $6::boolean as is_so from generate_series(1, $1::bigint) as g order by g desc"
)
AWKWARD = ['"', "\\", "{a,b}", "", "null", "a b", "\n", "ä\u2028", "NULL", "'"]


async def test_each_has_its_own_rows_in_their_order(lane: Counted) -> None:
    given = [
        (n % 5, n / 4, AWKWARD[n % 10], list(range(n % 3)), AWKWARD[: n % 11], n % 2 == 0)
        for n in range(3 * TOGETHER)
    ]
    gathering = Gathering(lane)
    found = await asyncio.gather(*(gathering.fetch(MIXED, *each) for each in given))
    for values, rows in zip(given, found, strict=True):
        size, more, word, numbers, words, is_so = values
        assert [tuple(row)[:6] for row in rows] == [
            (n, size + more, word, numbers, words, is_so) for n in range(size, 0, -1)
        ]
    assert len(lane.asked) < FLIGHTS + len(given) / TOGETHER + 3


async def test_what_fails_fails_for_itself_only(lane: Counted) -> None:
    gathering = Gathering(lane)
    found = await asyncio.gather(
        *(gathering.fetch("select 10 / $1::bigint as part", n) for n in range(10)), return_exceptions=True
    )
    assert isinstance(found[0], asyncpg.DivisionByZeroError)
    late = await asyncio.gather(
        *(gathering.fetch("select 10 / $1::bigint as part", n) for n in (5, 2, 1, 0, 10)),
        return_exceptions=True,
    )
    assert isinstance(late[3], asyncpg.DivisionByZeroError)
    assert [each[0]["part"] for each in (*found[1:], *late[:3], late[4])] == [10 // n for n in (*range(1, 10), 5, 2, 1, 10)]  # fmt: skip


@pytest.mark.parametrize(("size", "gone"), [(6, 0), (6, 1), (6, 2), (6, 5), (3, 0), (3, 2)])
async def test_who_goes_away_holds_up_nobody(lane: Counted, size: int, gone: int) -> None:
    gathering = Gathering(lane)
    sql = "select $1::bigint as n, pg_sleep(0.01)"
    tasks = [asyncio.create_task(gathering.fetch(sql, n)) for n in range(size)]
    await asyncio.sleep(0.002)
    tasks[gone].cancel()
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert isinstance(found.pop(gone), asyncio.CancelledError)
    assert [each[0]["n"] for each in found] == [n for n in range(size) if n != gone]
    assert not gathering._lines  # noqa: SLF001


async def test_nobody_waits_for_the_like_of_what_was_slow(
    lane: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW", 0.05)
    gathering = Gathering(lane)
    sql = "select $1::bigint as n, pg_sleep($1::bigint * 0.1)"
    slow = [asyncio.create_task(gathering.fetch(sql, 1)) for _ in range(FLIGHTS)]
    await asyncio.sleep(0)
    found = await asyncio.gather(*(gathering.fetch(sql, 0) for _ in range(5)), *slow)
    assert [rows[0]["n"] for rows in found] == [0] * 5 + [1] * FLIGHTS
    assert set(lane.asked) == {sql} and not gathering._lines  # noqa: SLF001
    lane.asked.clear()
    await asyncio.gather(*(gathering.fetch(sql, 0) for _ in range(8)))
    assert lane.asked == [sql] * 8
    gathering._apart[sql] = 0.0  # noqa: SLF001
    lane.asked.clear()
    await asyncio.gather(*(gathering.fetch(sql, 0) for _ in range(8)))
    assert len(lane.asked) < 8


async def test_what_is_looked_up_for_includes_stays_alone(
    fresh_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads rows by their place is not given wider ones."""
    async with two(fresh_dsn) as (rig, _):
        subject = {"reference": "Patient/a"}
        coding = {"coding": [{"system": "urn:c", "code": "x"}]}
        await rig.put({"resourceType": "Patient", "id": "a", "maritalStatus": coding})
        await rig.put({"resourceType": "Condition", "id": "c", "subject": subject, "code": coding})

        def shows(type: str) -> Predicate:
            return rig.request(type, (("code", "x"),) if type == "Condition" else ()).where

        request = rig.request("Patient", (("_revinclude", "Condition:subject"),))
        monkeypatch.setattr(module, "FLIGHTS", 1)
        asked = [replace(request, within=shows) for _ in range(10)]
        pages = await asyncio.gather(*map(rig.store.search, asked))
        assert [[each.id for each in page.included] for page in pages] == [["c"]] * 10
