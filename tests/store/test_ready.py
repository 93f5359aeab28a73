"""What is asked again runs a statement that was kept, and yet finds what has been written since, by other processes too."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import pytest

from fhirhub.search.request import SearchRequest
from fhirhub.store.resolve import RESOLVE
from fhirhub.store.search import Searcher
from property.rig import Rig
from store.test_codings import two

UCUM = "http://unitsofmeasure.org"
ONE = {"system": "http://codes.test/one", "code": "1-1", "display": "One thing"}
OTHER = {"system": "http://codes.test/two", "code": "1-1", "display": "One other thing"}


def observation(
    id: str, coding: dict[str, str] = ONE, unit: str = "g", value: float = 2, **more: Any
) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [coding]},
        "effectiveDateTime": "2020-03-01",
        "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit},
        **more,
    }


SUBJECT = {
    "contained": [{"resourceType": "Patient", "id": "p", "gender": "male"}],
    "subject": {"reference": "#p"},
}
TO_BE = {"subject": {"reference": "Patient/late"}}
WAYS: dict[str, tuple[tuple[tuple[str, str], ...], dict[str, Any]]] = {
    "code": ((("code", "1-1"),), observation("new", OTHER)),
    "code of nothing": ((("code", "2-2"),), observation("new", OTHER | {"code": "2-2"})),
    "coding": ((("code", "http://codes.test/one|1-1"),), observation("new")),
    "words": ((("code:text", "one"),), observation("new", OTHER)),
    "unit": ((("value-quantity", f"2|{UCUM}|g"),), observation("new", unit="mg", value=2000)),
    "date": ((("date", "ge2020-02"), ("_total", "accurate")), observation("new")),
    "count": ((("code", "1-1"), ("_summary", "count")), observation("new", OTHER)),
    "contained": ((("patient.gender", "male"),), observation("new", **SUBJECT)),
    "reference": ((("subject", "Patient/late"),), observation("new", **TO_BE)),
    "one of two": ((("subject", "Patient/here,Patient/late"),), observation("new", **TO_BE)),
    "not": ((("code:not", "2-2"),), observation("new", OTHER)),
    "sorted": ((("code", "1-1"), ("_sort", "-date")), observation("new", OTHER)),
}  # fmt: skip
FROM_THE_RECORD = ("reference", "one of two")
"""What is referred to is not there, which is looked up each time."""


async def ask(rig: Rig, request: SearchRequest) -> tuple[set[str], int | None, list[str]]:
    """(ids, total, statements)."""
    statements: list[str] = []

    async def fetch(sql: str, *values: Any) -> Sequence[Any]:
        statements.append(sql)
        return await rig.store.fetch(sql, *values)

    page = await rig.store.searcher.search(request, fetch)
    return {each.id for each in page.matches}, page.total, statements


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_new_is_found_by_what_was_kept(
    fresh_dsn: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, new = WAYS[way]
    async with two(fresh_dsn) as (here, there):
        await there.put({"resourceType": "Patient", "id": "here"})
        await there.put(observation("old"))
        request = here.request("Observation", parameters)
        before = await ask(here, request)
        for _ in range(2):
            again = await ask(here, request)
            assert again[:2] == before[:2] and len(again[2]) == 1 + (way == "one of two")
        if way not in FROM_THE_RECORD:
            with monkeypatch.context() as patched:
                patched.setattr(Searcher, "_ready", None)
                assert await ask(here, request) == again
        if way in FROM_THE_RECORD:
            await there.put({"resourceType": "Patient", "id": "late"})
        await there.put(new)
        after = await ask(here, request)
        assert after[0] == (before[0] | {"new"} if way != "count" else set())
        if before[1] is not None:
            assert after[1] == before[1] + 1
        assert (await ask(here, request))[:2] == after[:2]


async def test_new_statistics_and_definitions_make_new_statements(fresh_dsn: str) -> None:
    async with two(fresh_dsn) as (here, _):
        await here.put(observation("old"))
        request = here.request("Observation", (("date", "2020"),))
        searcher = here.store.searcher
        await ask(here, request)
        kept = searcher.again.get(request, searcher._stamp)  # noqa: SLF001
        assert kept is not None
        await here.store.statistics.refresh(here.store.fetch)
        assert searcher.again.get(request, searcher._stamp) is None  # noqa: SLF001
        await ask(here, request)
        searcher.definitions = copy(searcher.definitions)
        assert searcher.again.get(request, searcher._stamp) is None  # noqa: SLF001


async def test_only_the_very_request_is_known_again(fresh_dsn: str) -> None:
    async with two(fresh_dsn) as (here, _):
        await here.put(observation("old"))
        for number in range(50):
            # Objects of this kind come to lie where others have been.
            found, _, _ = await ask(
                here, here.request("Observation", (("date", ("2020", "2019")[number % 2]),))
            )
            assert found == ({"old"} if number % 2 == 0 else set())


async def test_nothing_is_kept_under_a_stamp_that_came_while_it_was_made(fresh_dsn: str) -> None:
    async with two(fresh_dsn) as (here, there):
        await there.put({"resourceType": "Patient", "id": "here"})
        searcher = here.store.searcher
        request = here.request("Observation", (("subject", "Patient/here"),))
        other = here.request("Observation", (("date", "2020"),))

        async def fetch(sql: str, *values: Any) -> Sequence[Any]:
            found = await here.store.fetch(sql, *values)
            if sql == RESOLVE:
                searcher.statistics.edition += 1
                await searcher.search(other, here.store.fetch)
            return found

        await searcher.search(request, fetch)
        assert searcher.again.get(other, searcher._stamp) is not None  # noqa: SLF001
        assert searcher.again.get(request, searcher._stamp) is None  # noqa: SLF001
        await searcher.search(request, fetch)
        assert searcher.again.get(request, searcher._stamp) is not None  # noqa: SLF001


async def test_of_what_is_long_nothing_is_kept(fresh_dsn: str) -> None:
    async with two(fresh_dsn) as (here, _):
        await here.put(observation("old"))
        searcher = here.store.searcher
        for long in (False, True):
            text = "x" * (20_000 if long else 10)
            for _ in range(2):
                request = here.request("Observation", (("identifier", f"urn:a|{text}"),))
                assert (await ask(here, request))[0] == set()
                kept = searcher.again.get(request, searcher._stamp)  # noqa: SLF001
                assert (kept is None) == long
