"""Jobs that index go on where they were broken off, and wait for every process; a change of definitions makes one."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from fhirhub.app import create_app
from fhirhub.definitions.tables import load
from fhirhub.jobs import parameters
from fhirhub.jobs.process import work_off
from fhirhub.jobs.reindex import notice_changes
from fhirhub.settings import Settings
from fhirhub.store.jobs import Job
from fhirhub.store.parameters import Membership
from fhirhub.store.verify import verify
from support.lifespan import running
from support.process import Server

SEX = {
    "resourceType": "SearchParameter", "id": "sex", "url": "http://example.org/sex", "name": "sex", "status": "active",
    "description": "For tests.", "code": "sex", "base": ["Patient"], "type": "token", "expression": "Patient.gender",
}  # fmt: skip


async def filled(dsn: str, many: int) -> None:
    """A store with ``many`` patients, then with the SearchParameter, and nobody at work on it."""
    settings = Settings(database_url=dsn, no_auth=True, log_level="error")
    async with running(create_app(settings)) as app:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver/fhir", timeout=30
        ) as client:
            entries = [
                {"resource": {"resourceType": "Patient", "gender": ("male", "female")[n % 2]},
                 "request": {"method": "POST", "url": "Patient"}}
                for n in range(many)
            ]  # fmt: skip
            body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            assert (await client.post("", json=body)).status_code == 200
    connection = await asyncpg.connect(dsn)
    await connection.execute("select pg_advisory_lock(7334)")
    try:
        async with running(create_app(settings)) as app:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver/fhir") as client:
                answer = await client.put("SearchParameter/sex", json=SEX)
                assert answer.status_code == 201, answer.text
    finally:
        await connection.close()


async def value(dsn: str, sql: str, *args: Any) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


STATE = "select state from parameter where code = 'sex'"
ROWS = "select count(*) from token t join parameter p on (-1 - t.key) >> 49 = p.pid where p.code = 'sex'"


async def test_a_job_goes_on_where_it_was(fresh_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(fresh_dsn, 250)
    monkeypatch.setattr(parameters, "BATCH", 50)
    monkeypatch.setattr(parameters, "REST", 0.0)
    seen = parameters.filling.fill
    batches: list[int] = []

    async def breaking(*args: Any) -> int:
        batches.append(len(args[3]))
        if len(batches) == 3:
            raise asyncio.CancelledError
        return await seen(*args)

    monkeypatch.setattr(parameters.filling, "fill", breaking)
    with pytest.raises(asyncio.CancelledError):
        await work_off(fresh_dsn, load())
    assert await value(fresh_dsn, STATE) == "building"
    assert await value(fresh_dsn, "select state from job where kind = 'index'") == "waiting"
    rows = await value(fresh_dsn, ROWS)
    assert 100 <= rows < 500
    await work_off(fresh_dsn, load())
    assert await value(fresh_dsn, STATE) == "ready"
    # The first two batches, the one that was broken off, and the last three: none is done twice.
    assert len(batches) == 6
    assert (await verify(fresh_dsn, load())).disagreements == []


async def test_a_job_waits_for_who_does_not_know(fresh_dsn: str) -> None:
    early = Membership(fresh_dsn)
    await early.join()
    await filled(fresh_dsn, 10)
    task = asyncio.create_task(work_off(fresh_dsn, load()))
    await asyncio.sleep(1.0)
    assert not task.done()
    assert await value(fresh_dsn, STATE) == "building"
    assert await value(fresh_dsn, ROWS) == 0
    await early.close()
    assert await asyncio.wait_for(task, 20) == 1
    assert await value(fresh_dsn, STATE) == "ready"
    assert await value(fresh_dsn, ROWS) > 0


async def test_what_failed_is_tried_again_by_the_next_start(fresh_dsn: str) -> None:
    await filled(fresh_dsn, 10)
    connection = await asyncpg.connect(fresh_dsn)
    await connection.execute("delete from parameter_change")
    await connection.execute(
        "insert into parameter (pid, generation, type, code, resource, definition, state) values (8192, 1, 'Patient',"
        " 'sex', 'sex', $1, 'building')",
        '{"kind": "token", "expression": "Patient.gender", "targets": [], "components": [], "url": "http://x"}',
    )
    async with running(create_app(Settings(database_url=fresh_dsn, no_auth=True, log_level="error"))):
        for _ in range(300):
            if await connection.fetchval(STATE) == "ready":
                break
            await asyncio.sleep(0.1)
    assert await connection.fetchval(STATE) == "ready"
    await connection.close()


async def test_other_definitions_are_noticed(fresh_dsn: str) -> None:
    await filled(fresh_dsn, 10)
    await work_off(fresh_dsn, load())
    connection = await asyncpg.connect(fresh_dsn)
    async with running(create_app(Settings(database_url=fresh_dsn, no_auth=True, log_level="error"))):
        # A parameter of one's own is no such change.
        await asyncio.sleep(1.0)
    assert await connection.fetchval("select count(*) from job where kind = 'reindex'") == 0
    assert not await notice_changes(connection.fetch, load())
    await connection.execute("update indexed set digest = 'another' where type = 'Patient'")
    await connection.execute("delete from token_general")
    assert (await verify(fresh_dsn, load())).wrong > 10
    assert await notice_changes(connection.fetch, load())
    assert not await notice_changes(connection.fetch, load())
    told: list[Job] = []
    assert await work_off(fresh_dsn, load(), told=told.append) == 1
    assert (told[-1].done, told[-1].total) == (10, 10)
    found = await verify(fresh_dsn, load())
    assert all("SearchParameter" in text for text in found.disagreements)
    assert not await notice_changes(connection.fetch, load())
    await connection.close()


async def test_all_workers_take_part(server: Server) -> None:
    """While two workers write, a parameter comes: what any of them wrote before, meanwhile and after is found."""
    async with httpx.AsyncClient(base_url=server.base, timeout=30, trust_env=False) as client:
        written: set[str] = set()
        stop = asyncio.Event()

        async def write(number: int) -> None:
            # A connection of its own each time, so that both workers get some.
            headers = {"connection": "close"}
            while not stop.is_set():
                answer = await client.post(
                    "Patient", json={"resourceType": "Patient", "gender": "other"}, headers=headers
                )
                assert answer.status_code == 201, answer.text
                written.add(answer.json()["id"])

        writers = [asyncio.create_task(write(number)) for number in range(8)]
        await asyncio.sleep(1.0)
        assert (await client.put("SearchParameter/sex", json=SEX)).status_code == 201
        for _ in range(600):
            answers = [await client.get("Patient?sex=other&_summary=count", headers={"connection": "close"})
                       for _ in range(4)]  # fmt: skip
            if all(answer.status_code == 200 for answer in answers):
                break
            await asyncio.sleep(0.05)
        assert all(answer.status_code == 200 for answer in answers), answers[0].text
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*writers)
        found = (await client.get("Patient?sex=other&_summary=count")).json()["total"]
        assert found == len(written) > 50
