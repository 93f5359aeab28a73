"""Connections keep their statements prepared."""

from __future__ import annotations

from fhirhub.store.engine import STATEMENTS, Lane

_PREPARED = (
    "select count(*), coalesce(sum(generic_plans), 0) from pg_prepared_statements where statement like $1"
)


async def test_statements_stay_prepared(dsn: str) -> None:
    lane = Lane(dsn, 1)
    for number in range(5):
        assert (await lane.fetch("select $1::int as stays", number))[0]["stays"] == number
    count, planned = (await lane.fetch(_PREPARED, "select $1::int as stays"))[0]
    assert (count, planned) == (1, 5)
    await lane.close()


async def test_the_longest_unused_makes_room(dsn: str) -> None:
    lane = Lane(dsn, 1)
    for number in range(STATEMENTS + 20):
        await lane.fetch(f"select {number} as different")
        await lane.fetch("select 'kept' as different")
    count, _ = (await lane.fetch(_PREPARED, "select%different"))[0]
    kept, _ = (await lane.fetch(_PREPARED, "select 'kept'%"))[0]
    assert count <= STATEMENTS
    assert kept == 1
    await lane.close()
