"""What searches are expected to cost, and what is refused for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.errors import BadRequest, FhirError
from fhirhub.search.predicate import Keys
from fhirhub.store.cost import Cost, Guard
from fhirhub.store.store import Store
from property.rig import Rig
from searching import definitions

MILLION = 1_000_000.0
NUMBER = definitions.type_number


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    """An empty store whose statistics speak of millions."""
    store = await Store.open(dsn, definitions, connections=4)
    store.statistics.types = {NUMBER["Observation"]: 6 * MILLION, NUMBER["Patient"]: 16_000}
    store.statistics.total = 8 * MILLION
    yield Rig(store)
    await store.close()


def frequent(rig: Rig, query: str, rows: float) -> None:
    """Let the statistics know how often the one token of ``query`` occurs."""
    name, _, value = query.partition("?")[2].partition("=")
    where = rig.parser.criterion(query.partition("?")[0], name, value)
    assert isinstance(where, Keys)
    rig.store.statistics.frequent |= dict.fromkeys(where.keys, rows)


async def cost(rig: Rig, query: str) -> Cost:
    """The cost of the first page of ``query``."""
    type_, _, rest = query.partition("?")
    pairs = [tuple(piece.split("=", 1)) for piece in rest.split("&") if piece]
    return (await rig.store.explain(rig.request(type_, pairs))).cost


@pytest.mark.parametrize(
    ("query", "lowest", "highest"),
    [
        ("Observation?", 10, 50),
        ("Observation?identifier=n1", 10, 100),
        ("Observation?status=final", 10, 50),
        ("Observation?status=final&_sort=-date", 10, 100),
        ("Observation?status:not=final", 500, 2000),
        ("Observation?status:not=registered", MILLION, 2.5 * MILLION),
        ("Observation?status:not=registered&_sort=value-quantity", MILLION, 2.5 * MILLION),
        ("Observation?status:not=registered&identifier=n1", 10, 100),
        ("Observation?subject:missing=true", MILLION, 2.5 * MILLION),
        ("Observation?device:missing=false", MILLION, 2.5 * MILLION),
        ("Observation?device:missing=true", 10, 100),
        ("Observation?status=final&_sort=status", 20 * MILLION, 40 * MILLION),
        ("Observation?_sort=value-quantity", 10 * MILLION, 20 * MILLION),
        ("Observation?subject:Patient.gender=male", 3 * MILLION, 10 * MILLION),
        ("Observation?subject:Patient.identifier=n1", 1000, 100_000),
        ("Observation?subject:Patient.family=Mueller", 100, 2000),
        ("Patient?_has:Observation:subject:status=final", 10 * MILLION, 30 * MILLION),
        ("Patient?_has:Observation:subject:identifier=n1", 10, 500),
        ("Patient?gender=male&_has:Observation:subject:status=final", 5000, 20_000),
    ],
)
async def test_estimates_are_of_the_right_size(rig: Rig, query: str, lowest: float, highest: float) -> None:
    frequent(rig, "Observation?status=final", 5.5 * MILLION)
    frequent(rig, "Patient?gender=male", 8000)
    frequent(rig, "Observation?status=registered", 5.9 * MILLION)
    present = {"subject": 6 * MILLION, "device": 5.0}
    rig.store.statistics.present = {
        definitions.search_parameters("Observation")[code].pid: rows for code, rows in present.items()
    }
    found = await cost(rig, query)
    assert lowest <= found.entries <= highest, found
    assert found.entries == pytest.approx(sum(share[0] for share in found.shares))


async def test_a_refusal_names_the_part_and_what_would_help(rig: Rig) -> None:
    frequent(rig, "Patient?gender=male", 8000)
    found = await cost(rig, "Observation?subject:Patient.gender=male&_count=10")
    with pytest.raises(BadRequest) as refused:
        found.check(Guard(MILLION), "Observation")
    (issue,) = refused.value.issues
    assert issue.code == "too-costly" and issue.expression == "Observation"
    assert "subject:Patient.(1 value(s) of gender)" in issue.text
    assert " M index entries" in issue.text and "add a patient, a code or a date" in issue.text
    found.check(Guard(0), "Observation")
    found.check(Guard(100 * MILLION), "Observation")


async def test_the_store_refuses_before_it_searches(rig: Rig) -> None:
    seen: list[str] = []

    async def fetch(sql: str, *values: object) -> list[object]:
        seen.append(sql)
        return []

    request = rig.request("Observation", [("_sort", "value-quantity")])
    rig.store.searcher.guard = Guard(MILLION)
    try:
        with pytest.raises(BadRequest, match="sorting all Observation resources|gathering all Observation"):
            await rig.store.searcher.search(request, fetch)
    finally:
        rig.store.searcher.guard = Guard(0)
    assert not seen
    assert (await rig.store.search(request)).cost > MILLION


async def test_what_takes_too_long_is_given_up(dsn: str) -> None:
    store = await Store.open(dsn, definitions, connections=4, guard=Guard(timeout=0.05))
    try:
        with pytest.raises(FhirError) as given_up:
            await store.fetch("select pg_sleep(20)")
        assert given_up.value.status == 503 and given_up.value.issues[0].code == "timeout"
        assert "Retry-After" in given_up.value.headers
        assert await store.fetch("select 1")
    finally:
        await store.close()


async def test_what_a_write_looks_for_has_limits_too(dsn: str) -> None:
    store = await Store.open(dsn, definitions, connections=4, guard=Guard(timeout=0.05))
    other = await asyncpg.connect(dsn)
    request = Rig(store).request("Patient", [("identifier", "a|b")])
    try:
        async with other.transaction():
            await other.execute("lock table resource in access exclusive mode")
            with pytest.raises(FhirError) as given_up:
                async with store.exclusively(["Patient"]) as session:
                    await session.search(request)
        assert given_up.value.status == 503 and given_up.value.issues[0].code == "timeout"
        store.searcher.guard = Guard(1)
        with pytest.raises(BadRequest, match="too costly"):
            async with store.exclusively(["Patient"]) as session:
                await session.search(request)
        store.searcher.guard = Guard(0)
        async with store.exclusively(["Patient"]) as session:
            assert not (await session.search(request)).matches
    finally:
        await other.close()
        await store.close()
