"""Whoever owns the tables and changes the audit trail is found out: a thousand tamperings, each of them noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from fhirhub.exchange import Caller
from fhirhub.store.audit import anchors
from fhirhub.store.audit.anchors import ends
from fhirhub.store.audit.trail import Trail
from fhirhub.store.audit.verify import verify
from fhirhub.store.store import Store
from searching import definitions

KEY = bytes(range(32))
TRIALS = 1_000
OFF = "alter table audit disable trigger audit_is_kept"
TEXTS = ("kind", "interaction", "type", "id", "agent", "request")
NUMBERS = ("chain", "seq", "at", "outcome", "status")


@dataclass
class Tampering:
    """A connection inside a transaction that is rolled back, and what stands in the trail."""

    connection: asyncpg.Connection
    random: Random
    places: list[tuple[int, int]]

    def place(self) -> tuple[int, int]:
        return self.random.choice(self.places)

    async def do(self, sql: str, *values: Any) -> None:
        done = await self.connection.execute(sql, *values)
        assert done.split()[-1] != "0", "nothing was changed"


async def change_text(trail: Tampering) -> None:
    name = trail.random.choice(TEXTS)
    await trail.do(f"update audit set {name} = {name} || 'x' where (chain, seq) = ($1, $2)", *trail.place())


async def change_number(trail: Tampering) -> None:
    name = trail.random.choice(NUMBERS)
    step = 7_777 if name in ("chain", "seq") else 1
    await trail.do(f"update audit set {name} = {name} + {step} where (chain, seq) = ($1, $2)", *trail.place())


async def change_patients(trail: Tampering) -> None:
    change = trail.random.choice(("array_append(patients, 'other')", "patients || patients || '{x}'"))
    await trail.do(f"update audit set patients = {change} where (chain, seq) = ($1, $2)", *trail.place())


async def hide_a_patient(trail: Tampering) -> None:
    rows = await trail.connection.fetch("select chain, seq from audit where patients <> '{}'")
    await trail.do(
        "update audit set patients = '{}' where (chain, seq) = ($1, $2)", *trail.random.choice(rows)
    )


async def change_detail(trail: Tampering) -> None:
    place = trail.place()
    text = await trail.connection.fetchval(
        "select detail::text from audit where (chain, seq) = ($1, $2)", *place
    )
    held = json.loads(text)
    held["user"] = "somebody else"
    await trail.do(
        "update audit set detail = $3::text::json where (chain, seq) = ($1, $2)", *place, json.dumps(held)
    )


async def respell_detail(trail: Tampering) -> None:
    sql = "update audit set detail = (' ' || detail::text)::json where (chain, seq) = ($1, $2)"
    await trail.do(sql, *trail.place())


async def change_mac(trail: Tampering) -> None:
    place = trail.random.randrange(32)
    sql = "update audit set mac = set_byte(mac, $3, get_byte(mac, $3) # 1) where (chain, seq) = ($1, $2)"
    await trail.do(sql, *trail.place(), place)


async def remove_one(trail: Tampering) -> None:
    await trail.do("delete from audit where (chain, seq) = ($1, $2)", *trail.place())


async def remove_the_end(trail: Tampering) -> None:
    await trail.do("delete from audit where chain = $1 and seq >= $2", *trail.place())


async def remove_a_chain(trail: Tampering) -> None:
    await trail.do("delete from audit where chain = $1", trail.place()[0])


async def remove_all_since(trail: Tampering) -> None:
    at = await trail.connection.fetchval("select at from audit where (chain, seq) = ($1, $2)", *trail.place())
    await trail.do("delete from audit where at >= $1", at)


async def remove_and_close_the_gap(trail: Tampering) -> None:
    chain, seq = trail.place()
    await trail.do("delete from audit where (chain, seq) = ($1, $2)", chain, seq)
    await trail.connection.execute("update audit set seq = -seq where chain = $1 and seq > $2", chain, seq)
    await trail.connection.execute("update audit set seq = -seq - 1 where chain = $1 and seq < 0", chain)


async def swap_two(trail: Tampering) -> None:
    chain, seq = trail.place()
    rows = [other for other in trail.places if other != (chain, seq)]
    other = trail.random.choice(rows)
    sql = "update audit set chain = $3, seq = $4 where (chain, seq) = ($1, $2)"
    await trail.do(sql, chain, seq, 9_999, 1)
    await trail.do(sql, *other, chain, seq)
    await trail.do(sql, 9_999, 1, *other)


async def insert_a_copy(trail: Tampering) -> None:
    chain = trail.place()[0]
    columns = "at, outcome, status, kind, interaction, type, id, agent, request, patients, detail, mac"
    await trail.do(
        f"insert into audit (chain, seq, {columns}) select $3, (select max(seq) + 1 from audit where chain = $3),"
        f" {columns} from audit where (chain, seq) = ($1, $2)",
        *trail.place(),
        chain,
    )


async def insert_between(trail: Tampering) -> None:
    chain, seq = trail.place()
    await trail.connection.execute("update audit set seq = -seq where chain = $1 and seq >= $2", chain, seq)
    await trail.connection.execute("update audit set seq = -seq + 1 where chain = $1 and seq < 0", chain)
    await trail.do(
        "insert into audit select chain, $2::bigint, at, outcome, status, kind, interaction, type, id, 'forged', request,"
        " patients, detail, mac from audit where chain = $1 and seq = $2::bigint + 1",
        chain,
        seq,
    )


async def start_a_chain(trail: Tampering) -> None:
    columns = "at, outcome, status, kind, interaction, type, id, agent, request, patients, detail, mac"
    sql = f"insert into audit (chain, seq, {columns}) select 5_000, 1, {columns} from audit where (chain, seq) = ($1, $2)"
    await trail.do(sql.replace("5_000", "5000"), *trail.place())


TAMPERINGS: tuple[Callable[[Tampering], Any], ...] = (
    change_text, change_number, change_patients, hide_a_patient, change_detail, respell_detail, change_mac,
    remove_one, remove_the_end, remove_a_chain, remove_all_since, remove_and_close_the_gap, swap_two,
    insert_a_copy, insert_between, start_a_chain,
)  # fmt: skip


async def fill(dsn: str) -> None:
    """A trail of two processes in turns, so that there are several chains and checkpoints between them."""
    random = Random(7)
    for turn in range(3):
        stores = [await Store.open(dsn, definitions, audit_key=KEY) for _ in range(2)]
        for n in range(40):
            told = Trail(Caller(user=f"u{n % 5}"), "read", "Observation", f"o{n}", request=f"{turn}-{n}")
            told.patients = {f"p{random.randrange(9)}" for _ in range(random.randrange(4))}
            audit = random.choice(stores).audit
            assert audit is not None
            await audit.record([told.finished(random.choice((200, 200, 404)))])
        for store in stores:
            await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trail(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    await fill(dsn)
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def tampered(
    connection: asyncpg.Connection, tamper: Callable[[Tampering], Any], random: Random, known: anchors.Known
) -> list[str]:
    """What is found after ``tamper``, which is taken back again."""
    rows = await connection.fetch("select chain, seq from audit order by chain, seq")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(OFF)
        await tamper(Tampering(connection, random, [tuple(row) for row in rows]))
        return (await verify(connection, KEY, known)).problems
    finally:
        await transaction.rollback()


async def test_a_thousand_tamperings_are_found(trail: asyncpg.Connection) -> None:
    known = anchors.known(await ends(trail.fetch))
    clean = await verify(trail, KEY, known)
    assert clean.problems == [] and clean.rows > 120 and len(clean.ends) >= 2
    assert anchors.known(clean.ends) == known
    missed = []
    for number in range(TRIALS):
        tamper = TAMPERINGS[number % len(TAMPERINGS)]
        if not await tampered(trail, tamper, Random(number), known):
            missed.append((number, tamper.__name__))
    assert missed == []
    assert (await verify(trail, KEY, known)).problems == []


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda each: each.__name__)
async def test_without_anchors_only_the_very_end_can_go_unnoticed(
    trail: asyncpg.Connection, tamper: Callable[[Tampering], Any]
) -> None:
    missed = [number for number in range(12) if not await tampered(trail, tamper, Random(number), {})]
    if tamper is remove_all_since:
        return  # The whole trail as it once was: only an anchor from later can tell.
    if tamper in (remove_one, remove_the_end):
        # The last rows of the chain that had the last checkpoint are known to nobody else.
        assert len(missed) < 12
    else:
        assert missed == []


async def test_a_forger_without_the_key_is_found(trail: asyncpg.Connection) -> None:
    found = await verify(trail, bytes(32))
    assert len(found.problems) == found.rows


async def test_anchors_are_kept_outside_and_cannot_be_made_up(
    trail: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "anchors"
    known = await ends(trail.fetch)
    anchors.append(path, anchors.line(KEY, known, 1_800_000_000_000_000))
    assert anchors.read(path, KEY) == anchors.known(known)
    held = json.loads(path.read_text())
    held["chains"]["1"][0] -= 1
    for text in (
        json.dumps(held),
        json.dumps(held) + "\n",
        "{}",
        "[]",
        '{"chains": {}, "mac": 1}',
        '{"chains": {}, "mac": "ab"}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="anchors"):
            anchors.read(path, KEY)


async def test_verifying_beside_writers_finds_nothing(fresh_dsn: str) -> None:
    store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    audit = store.audit
    assert audit is not None
    connection = await asyncpg.connect(fresh_dsn)
    try:
        told = Trail(Caller(user="ann"), "read", "Patient", "1")
        writing = [asyncio.create_task(audit.record([told.finished(200)])) for _ in range(300)]
        known: anchors.Known = {}
        while not all(task.done() for task in writing):
            found = await verify(connection, KEY, known)
            assert found.problems == []
            known = anchors.known(found.ends)
        assert (await verify(connection, KEY, known)).rows >= 300
    finally:
        await connection.close()
        await store.close()
