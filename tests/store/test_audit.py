"""The audit trail in the store: every entry once, in the commit of what it tells of, and chained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.errors import Overloaded
from fhirhub.exchange import Caller
from fhirhub.store.audit.search import Condition, Wanted, find
from fhirhub.store.audit.trail import Entry, Trail, event
from fhirhub.store.audit.verify import Verified, verify
from fhirhub.store.engine import SESSION
from fhirhub.store.records import Dangling, StaleBase
from fhirhub.store.store import Store
from searching import definitions
from store.test_writes import Client, basic, patient, removal

KEY = bytes(range(32))
MANY_ROWS = """
insert into audit
select 1, n, n, 0, 200, 'rest', 'read', 'Patient', 'x', 'u' || (n % 200), 'r', array['p' || (n % 5000)], '{}', '\\x00'
from generate_series(1, 60000) as n
"""
ANN = Caller(user="ann", fhir_user="Practitioner/7", role="practitioner", client="app", address="10.0.0.1")


@pytest_asyncio.fixture
async def audited(fresh_dsn: str) -> AsyncIterator[Client]:
    store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    yield Client(store)
    await store.close()


async def rows(dsn: str) -> list[dict[str, Any]]:
    """Everything but checkpoints, in the order it was recorded."""
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetch(
            "select * from audit where kind <> 'checkpoint' order by at, chain, seq"
        )
    finally:
        await connection.close()
    return [dict(row) | {"detail": json.loads(row["detail"])} for row in found]


async def verified(dsn: str) -> Verified:
    connection = await asyncpg.connect(dsn)
    try:
        return await verify(connection, KEY)
    finally:
        await connection.close()


def entry(name: str) -> Entry:
    return event("login", "sign-in", ANN, request=name)


def trail(name: str = "", entry: int | None = None) -> Trail:
    return Trail(ANN, "update", request=name, entry=entry)


async def test_an_entry_is_kept_as_it_was_given(audited: Client, fresh_dsn: str) -> None:
    assert audited.store.audit is not None
    given = Trail(
        ANN, "search-type", "Observation", query=(("code", "a|b c"), ("name", "Özil")), request="r-1", entry=3
    )
    await audited.put(patient("p1"))
    await audited.put(basic("b1", "Patient/p1"))
    given.saw([await audited.present("Basic", "b1")])
    await audited.store.audit.record([given.finished(200)])
    (row,) = await rows(fresh_dsn)
    assert (row["kind"], row["interaction"], row["type"], row["id"]) == (
        "rest",
        "search-type",
        "Observation",
        "",
    )
    assert (row["outcome"], row["status"], row["agent"], row["request"]) == (0, 200, "ann", "r-1")
    assert row["patients"] == ["p1"]
    assert row["detail"] == {
        "user": "ann", "fhirUser": "Practitioner/7", "role": "practitioner", "client": "app",
        "address": "10.0.0.1", "query": "code=a|b%20c&name=%C3%96zil", "found": 1, "resources": ["Basic/b1"],
        "entry": 3,
    }  # fmt: skip
    assert (await verified(fresh_dsn)).problems == []


async def test_a_change_and_its_entry_share_a_commit(audited: Client, fresh_dsn: str) -> None:
    store = audited.store
    changes = [audited.change(patient("p1"), None), audited.change(basic("b1", "Patient/p1"), None)]
    await store.write(changes, trail("r-1").written(changes, (4, 2)))
    # Refused: neither the change nor its entry is there.
    dangling = [audited.change(basic("b2", "Patient/nobody"), None)]
    with pytest.raises(Dangling):
        await store.write(dangling, trail("r-2").written(dangling))
    stale = [
        audited.change(basic("b1", "Patient/p1", code={"text": "x"}), await audited.present("Basic", "b1"))
    ]
    await audited.put(basic("b1", "Patient/p1", code={"text": "y"}))
    with pytest.raises(StaleBase):
        await store.write(stale, trail("r-3").written(stale))
    gone = [removal(await audited.present("Basic", "b1"))]
    await store.write(gone, trail("r-4").written(gone))
    found = await rows(fresh_dsn)
    assert [(row["request"], row["interaction"], row["type"], row["status"]) for row in found] == [
        ("r-1", "update", "Patient", 201),
        ("r-1", "update", "Basic", 201),
        ("r-4", "delete", "Basic", 204),
    ]
    assert [row["patients"] for row in found] == [["p1"]] * 3
    assert [row["detail"].get("entry") for row in found] == [4, 2, None]
    assert found[2]["detail"]["base"] == 2
    assert (await verified(fresh_dsn)).problems == []


async def test_writers_that_share_a_commit_are_each_told_of(audited: Client, fresh_dsn: str) -> None:
    async def one(n: int) -> bool:
        changes = [audited.change(basic(f"c{n}", "Patient/nobody" if n % 5 == 0 else None), None)]
        try:
            await audited.store.write(changes, trail(f"r-{n}").written(changes))
        except Dangling:
            return False
        return True

    done = await asyncio.gather(*(one(n) for n in range(60)))
    assert sorted(row["request"] for row in await rows(fresh_dsn)) == sorted(
        f"r-{n}" for n, written in enumerate(done) if written
    )
    assert done.count(True) == 48
    assert (await verified(fresh_dsn)).problems == []


async def test_a_session_that_is_rolled_back_leaves_no_entry_and_no_gap(
    audited: Client, fresh_dsn: str
) -> None:
    async def one(name: str, *, fail: bool) -> None:
        async with audited.store.exclusively(["Basic"]) as session:
            for half in "ab":
                changes = [audited.change(basic(name + half), None)]
                await session.write(changes, trail(name + half).written(changes))
            if fail:
                raise LookupError

    await one("x", fail=False)
    with pytest.raises(LookupError):
        await one("y", fail=True)
    await one("z", fail=False)
    assert [row["request"] for row in await rows(fresh_dsn)] == ["xa", "xb", "za", "zb"]
    assert (await verified(fresh_dsn)).problems == []


async def test_many_writers_in_two_processes(audited: Client, fresh_dsn: str) -> None:
    other = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    try:
        names = [f"e{n}" for n in range(400)]
        stores = [audited.store, other]
        writers = [store.audit for store in stores]
        await asyncio.gather(
            *(
                writer.record([entry(name)])
                for name, writer in zip(names, writers * 200, strict=True)
                if writer
            )
        )
        found = await rows(fresh_dsn)
        assert sorted(row["request"] for row in found) == sorted(names)
        assert len({row["chain"] for row in found}) == 2
    finally:
        await other.close()
    assert (await verified(fresh_dsn)).problems == []


async def test_a_chain_is_taken_over_where_it_ended(fresh_dsn: str) -> None:
    for turn in range(3):
        store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
        assert store.audit is not None
        await store.audit.record([entry(f"t{turn}")])
        await store.close()
    found = await rows(fresh_dsn)
    assert [(row["chain"], row["seq"], row["request"]) for row in found] == [
        (1, 2, "t0"), (1, 4, "t1"), (1, 6, "t2")
    ]  # fmt: skip
    assert (await verified(fresh_dsn)).problems == []


async def _sessions(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            f"select {sql}(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and application_name = 'fhirhub'"
        )
    finally:
        await connection.close()


async def test_connections_that_die_lose_nothing_and_double_nothing(audited: Client, fresh_dsn: str) -> None:
    writer = audited.store.audit
    assert writer is not None
    kept: list[str] = []
    refused: list[str] = []

    async def one(name: str) -> None:
        try:
            await writer.record([entry(name)])
            kept.append(name)
        except Overloaded:
            refused.append(name)

    async def kill() -> None:
        for _ in range(25):
            await _sessions(fresh_dsn, "pg_terminate_backend")
            await asyncio.sleep(0.005)

    async def load() -> None:
        for wave in range(150):
            await asyncio.gather(*(one(f"{wave}-{n}") for n in range(4)))

    await asyncio.gather(load(), kill())
    names = [row["request"] for row in await rows(fresh_dsn)]
    assert len(names) == len(set(names))
    assert set(kept) <= set(names) <= {*kept, *refused}
    assert len(kept) > 100
    assert (await verified(fresh_dsn)).problems == []


async def test_a_place_that_others_took_is_given_up(audited: Client, fresh_dsn: str) -> None:
    """Two that hold the same chain, as after a connection that the server has not noticed to be dead."""
    other = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    assert audited.store.audit is not None and other.audit is not None
    try:
        await audited.store.audit.record([entry("a")])
        async with other.audit._lane.use() as connection:
            other.audit._chains.of(connection).number = 1
        for name in ("b", "c"):
            await other.audit.record([entry(f"other {name}")])
            await audited.store.audit.record([entry(name)])
    finally:
        await other.close()
    found = await rows(fresh_dsn)
    assert [row["request"] for row in found] == ["a", "other b", "b", "other c", "c"]
    assert {row["chain"] for row in found} == {1}
    assert (await verified(fresh_dsn)).problems == []


async def test_who_hangs_up_is_recorded_all_the_same(audited: Client, fresh_dsn: str) -> None:
    assert audited.store.audit is not None
    task = asyncio.create_task(audited.store.audit.record([entry("gone")]))
    await asyncio.sleep(0)
    task.cancel()
    await audited.store.audit.drain()
    assert [row["request"] for row in await rows(fresh_dsn)] == ["gone"]


@pytest.mark.parametrize(
    "sql",
    ["update audit set agent = 'x'", "delete from audit", "truncate audit", "delete from audit where false"],
)
async def test_rows_are_only_added(audited: Client, fresh_dsn: str, sql: str) -> None:
    assert audited.store.audit is not None
    await audited.store.audit.record([entry("kept")])
    connection = await asyncpg.connect(fresh_dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only added to"):
            await connection.execute(sql)
    finally:
        await connection.close()
    assert len(await rows(fresh_dsn)) == 1


@pytest.mark.parametrize(
    "text", ["NUL \0 and \ud800 half", "a" * 5000, 'quote " and \\ and \n', "{}", "null", "ö €"], ids=range(6)
)
async def test_whatever_a_caller_says_can_be_kept(audited: Client, fresh_dsn: str, text: str) -> None:
    assert audited.store.audit is not None
    who = Caller(user=text, client=text, reason=text)
    told = Trail(who, "read", text, text, query=((text, text),), request=text)
    given: Sequence[Entry] = [
        told.finished(404, text),
        event("login", text, who, request=text, patients=[text], more={"name": text, "list": [text, 1]}),
    ]
    await audited.store.audit.record(given)
    found = await rows(fresh_dsn)
    assert [row["outcome"] for row in found] == [4, 0]
    assert (await verified(fresh_dsn)).problems == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(patients=frozenset({"p7"})), "audit_patients"),
        (Wanted(patients=frozenset({"p7"}), total=True), "audit_patients"),
        (Wanted((Condition("agent", ("u7",)),)), "audit_agent"),
        (Wanted((Condition("row", (1, 7)),)), "audit_pkey"),
        (Wanted(), "audit_at"),
        (Wanted((Condition("since", (1,)), Condition("until", (2,))), ascending=True), "audit_at"),
    ],
)
async def test_what_is_asked_most_goes_by_an_index(fresh_dsn: str, wanted: Wanted, index: str) -> None:
    connection = await asyncpg.connect(fresh_dsn, server_settings=SESSION)
    try:
        await connection.execute(MANY_ROWS)
        await connection.execute("analyze audit")
        statements: list[tuple[str, tuple[Any, ...]]] = []

        async def fetch(sql: str, *values: Any) -> list[Any]:
            statements.append((sql, values))
            return list(await connection.fetch(sql, *values))

        found = await find(fetch, wanted)
        for number, (sql, values) in enumerate(statements):
            # As the store runs it: one plan for whatever values.
            await connection.execute(f"prepare s{number} as {sql}")
            given = f"({', '.join(literal(each) for each in values)})" if values else ""
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain execute s{number} {given}"))
            assert index in plan and "Seq Scan" not in plan, plan
        assert len(found.rows) == (
            1 if index == "audit_pkey" else 2 if wanted.ascending else 20 if wanted.patients is None else 12
        )
    finally:
        await connection.close()


def literal(value: Any) -> str:
    """A value of a statement, spelt out."""
    if isinstance(value, list):
        return "array[" + ", ".join(literal(each) for each in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)
