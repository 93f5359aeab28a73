"""Histories: every version once, newest first, also while more are made; ``_since`` and ``_at``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fhirhub.errors import BadRequest
from fhirhub.store.records import Stored
from fhirhub.store.store import Store
from searching import definitions
from store.test_writes import Client, basic, patient, removal

Version = tuple[str, str, int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(dsn: str) -> AsyncIterator[Client]:
    store = await Store.open(dsn, definitions, connections=4)
    made = Client(store)
    for number in range(8):
        await made.put(patient(f"p{number}"))
        await made.put(basic(f"b{number}", f"Patient/p{number}"))
    for turn in range(4):
        for number in range(turn, 8):
            await made.put(patient(f"p{number}", multipleBirthInteger=turn))
    await made.delete("Basic", "b3")
    await made.put(basic("b3"))
    await made.delete("Basic", "b4")
    yield made
    await store.close()


def named(versions: list[Stored]) -> list[Version]:
    return [(each.type, each.id, each.version) for each in versions]


async def walk(
    client: Client,
    type: str | None,
    id: str | None,
    count: int,
    since: int | None = None,
    at: tuple[int, int] | None = None,
) -> list[Stored]:
    """All pages of a history."""
    found: list[Stored] = []
    cursor = None
    types = [type] if type else client.store.definitions.resource_types
    for _ in range(1000):
        page = await client.store.history(types, id, since, at, count, cursor)
        found += page.versions
        cursor = page.next
        if cursor is None:
            return found
        assert len(page.versions) == count
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("count", [1, 4, 1000])
@pytest.mark.parametrize(
    ("type", "id"), [(None, None), ("Patient", None), ("Patient", "p5"), ("Basic", "b3")]
)
async def test_every_version_once_and_the_newest_first(
    client: Client, type: str | None, id: str | None, count: int
) -> None:
    versions = await walk(client, type, id, count)
    rows = await client.store.fetch(
        "select (select count(*) from resource where version > 0 and ($1::smallint is null or rt = $1) and ($2::text is null or id = $2))"
        " + (select count(*) from history h join resource r using (rt, rid) where ($1::smallint is null or rt = $1) and ($2::text is null or r.id = $2))",
        definitions.type_number[type] if type else None,
        id,
    )
    assert len(versions) == len(set(named(versions))) == rows[0][0]
    assert [each.updated for each in versions] == sorted((each.updated for each in versions), reverse=True)
    gone = [each for each in versions if each.deleted]
    assert all(each.method == "DELETE" and each.content is None for each in gone)


async def test_since_and_at(client: Client) -> None:
    versions = await walk(client, "Patient", None, 1000)
    for pivot in versions[::7]:
        since = await walk(client, "Patient", None, 3, since=pivot.updated)
        assert named(since) == named([each for each in versions if each.updated >= pivot.updated])
        for length in (0, 5_000):
            at = await walk(client, "Patient", None, 3, at=(pivot.updated, pivot.updated + length))
            ends = {
                (each.id, each.version): next(
                    (
                        later.updated
                        for later in versions
                        if later.id == each.id and later.version == each.version + 1
                    ),
                    None,
                )
                for each in versions
            }
            in_force = [
                each
                for each in versions
                if each.updated <= pivot.updated + length
                and ((end := ends[each.id, each.version]) is None or end > pivot.updated)
            ]
            assert named(at) == named(in_force)


@pytest.mark.parametrize(("type", "id"), [(None, None), ("Patient", None), ("Patient", "p5")])
async def test_pages_stay_while_more_is_written(client: Client, type: str | None, id: str | None) -> None:
    before = named(await walk(client, type, id, 1000))

    async def write() -> None:
        for turn in range(40):
            await client.put(patient(f"p{turn % 8}", multipleBirthInteger=1000 + turn))
            await client.put(patient(f"new{turn}-{type}-{id}"))
            await client.put(basic("b6", created=f"20{turn + 10}"))

    writer = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    for count in (2, 5):
        versions = named(await walk(client, type, id, count))
        assert len(versions) == len(set(versions)), "twice"
        kept = set(before)
        assert [each for each in versions if each in kept] == before
    await writer


async def test_a_page_link_belongs_to_its_history(client: Client) -> None:
    page = await client.store.history(["Patient"], None, None, None, 2, None)
    for type, id in (("Basic", None), ("Patient", "p1"), (None, None)):
        types = [type] if type else client.store.definitions.resource_types
        with pytest.raises(BadRequest):
            await client.store.history(types, id, None, None, 2, page.next)
    with pytest.raises(BadRequest):
        await client.store.history(["Patient"], None, None, None, 2, (page.next or "")[:-2] + "AA")


async def test_a_grave_stays_in_the_history_of_what_came_after(client: Client) -> None:
    versions = await walk(client, "Basic", "b3", 10)
    assert [(each.version, each.deleted, each.method) for each in versions] == [
        (3, False, "PUT"), (2, True, "DELETE"), (1, False, "PUT"),
    ]  # fmt: skip
    await client.store.write([removal(await client.present("Basic", "b3"))])
    assert [each.deleted for each in await walk(client, "Basic", "b3", 10)] == [True, False, True, False]
