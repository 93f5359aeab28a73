"""``:contains`` by trigrams: the same matches with the index and without, and few rows read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.search.match import Subject
from fhirhub.store.records import Change
from fhirhub.store.store import Store
from fhirhub.store.texts import LOOK
from property.rig import Rig, flat
from searching import definitions
from store.test_plans import asked, explained, nodes, outline, rows_read

PATIENTS = 3000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    store = await Store.open(dsn, definitions, connections=4)
    made = Rig(store)
    documents, changes = [], []
    for number in range(PATIENTS):
        family = (
            ["Müller-Lüdenscheidt", "Жуковский", "O'Brien"][number % 3]
            if number < 30
            else f"Vandermeer{number}"
        )
        document = {
            "resourceType": "Patient",
            "id": f"p{number}",
            "name": [{"family": family, "given": [f"Xx{number}"]}],
        }
        documents.append(document)
        changes.append(Change("PUT", "Patient", f"p{number}", None, document, made.extractor.rows(document)))
    for document, written in zip(documents, await store.write(changes), strict=True):
        name = "Patient", written.id
        made.subjects[name] = Subject(*name, written.updated, made.extractor.rows(document))
    await store.fetch("analyze")
    await store.statistics.refresh(store.fetch)
    yield made
    await store.close()


FREQUENT = ("0", "vandermeer", "r l")
QUERIES = [
    "denscheid",
    "uden",
    "уковск",
    "brien",
    "meer12",
    "0",
    "vandermeer",
    "nobody has this",
    "r l",
    "x29",
]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("text", QUERIES)
async def test_the_index_changes_no_answer(rig: Rig, text: str, index: bool) -> None:
    usual = rig.store.statistics.trigrams
    assert usual == "all"
    rig.store.statistics.trigrams = usual if index else ""
    try:
        for query in ([("name:contains", text)], [("family:contains", text), ("_sort", "-family")],
                      [("_filter", f'family ew "{text}"')], [("name:contains", f"{text},{text}y")]):  # fmt: skip
            request = rig.request("Patient", query)
            found = [each.id for each in flat(await rig.walk(request, 500 if text in FREQUENT else 7))]
            assert set(found) == rig.expected(request) and len(found) == len(set(found))
    finally:
        rig.store.statistics.trigrams = usual


@pytest.mark.parametrize("text", ["denscheid", "meer123", "x2998"])
async def test_what_is_rare_is_found_without_looking_at_the_rest(rig: Rig, text: str) -> None:
    page, kinds, sql, values = await asked(
        rig, replace(rig.request("Patient", [("name:contains", text)]), count=20)
    )
    assert kinds == ["sort"] and page.matches
    assert rows_read(await explained(rig, sql, values)) <= 6 * len(page.matches)


async def test_the_lookup_uses_the_trigrams(rig: Rig) -> None:
    plan = await explained(rig, LOOK, [1, "%denscheid%", 100])
    assert any(node.get("Index Name") == "string_general_trigram" for node in nodes(plan)), "\n".join(
        outline(plan)
    )


async def test_without_the_extension_everything_else_works(fresh_dsn: str) -> None:
    connection = await asyncpg.connect(fresh_dsn)
    await connection.execute("drop extension pg_trgm cascade")
    await connection.close()
    store = await Store.open(fresh_dsn, definitions, connections=4)
    try:
        assert store.statistics.trigrams == ""
        made = Rig(store)
        await made.put({"resourceType": "Patient", "id": "a", "name": [{"family": "Vandermeer"}]})
        assert len((await store.search(made.request("Patient", [("family:contains", "derme")]))).matches) == 1
    finally:
        await store.close()
