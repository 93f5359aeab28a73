"""Reindexing makes lost rows anew and touches nothing else."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from fhirhub.cli.import_ import load_demo
from fhirhub.definitions.tables import load
from fhirhub.settings import Settings
from fhirhub.store.reindex import reindex
from fhirhub.store.store import Store
from fhirhub.store.verify import verify

_VERSIONS = "select rt, id, version, updated, content::text from resource order by rt, id"


@pytest.fixture
def practice(dsn: str, tmp_path: Path) -> str:
    errors = tmp_path / "errors.ndjson"
    load_demo(Settings(database_url=dsn, no_auth=True), workers=1, dry_run=False, again=False, errors=errors)
    return dsn


async def test_lost_rows_come_back(practice: str) -> None:
    dsn = practice
    connection = await asyncpg.connect(dsn)
    before = await connection.fetch(_VERSIONS)
    for table in ("token_measurement", "string_general", "date_clinical", "number_measurement"):
        await connection.execute(f"delete from {table}")
    await connection.execute("update resource set date = 0, params = null where rt = 96")
    assert (await verify(dsn, load())).wrong > 1000

    store = await Store.open(dsn, load(), integrity=False)
    seen: list[int] = []
    found = await reindex(store, progress=lambda _, done, total: seen.append(total - done))
    await store.close()

    assert (await verify(dsn, load())).disagreements == []
    assert (found.resources, found.overtaken) == (len(before), 0)
    assert seen[-1] == 0
    assert await connection.fetch(_VERSIONS) == before
    assert await connection.fetchval("select count(*) from history") == 0
    await connection.close()
