"""A flood of failures does not fill the audit trail: a few stand there by themselves, the rest as a number."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from fhirhub.app import create_app
from fhirhub.errors import Issue, Overloaded
from fhirhub.settings import Settings
from fhirhub.store.audit import floods
from fhirhub.store.audit.writer import AuditWriter
from support.lifespan import running
from support.smart import bearer, issue

ORIGIN = "http://testserver"


@asynccontextmanager
async def serving(settings: Settings, dsn: str, home: Path) -> AsyncIterator[httpx.AsyncClient]:
    own = replace(settings, database_url=dsn, no_auth=False, audit="on", audit_anchors=0.0, data_dir=home)
    async with running(create_app(own)) as app:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, timeout=30) as client:
            yield client


async def wrong(client: httpx.AsyncClient, times: int, id: str = "nobody") -> None:
    """Failures at the token endpoint."""
    fields = {"grant_type": "refresh_token", "refresh_token": "x" * 43, "client_id": id}
    for _ in range(times):
        assert (await client.post("/auth/token", data=fields)).status_code == 401


async def rows(dsn: str) -> list[tuple[str, dict[str, Any], str]]:
    """Interaction, what is told besides, request id; the oldest first."""
    connection = await asyncpg.connect(dsn)
    found = await connection.fetch(
        "select interaction, detail::text as told, request from audit where kind <> 'checkpoint' order by at, seq"
    )
    await connection.close()
    return [(row["interaction"], json.loads(row["told"]).get("more", {}), row["request"]) for row in found]


async def test_of_many_failures_a_few_are_told_and_all_are_counted(
    settings: Settings, fresh_dsn: str, tmp_path: Path
) -> None:
    async with serving(settings, fresh_dsn, tmp_path) as client:
        await wrong(client, 50)
        await wrong(client, 3, "another")
        for _ in range(45):
            assert (await client.get("/fhir/Patient/1", headers=bearer("y" * 43))).status_code == 401
        told = await rows(fresh_dsn)
        token = [more for name, more, _ in told if name == "token"]
        assert [len(token), len(told)] == [floods.EACH + 3, 2 * floods.EACH + 3]
        assert [more["claimed"] for more in token].count("another") == 3
        # Should the process be killed now, the trail still says that there were more.
        assert "counted" in token[floods.EACH - 1]["further"] and "further" not in token[floods.EACH - 2]
        good = bearer(await issue(fresh_dsn, "user/*.rs"))
        assert (await client.get("/fhir/Patient/1", headers=good)).status_code == 404
        assert (await rows(fresh_dsn))[-1][0] == "read", "what succeeds is told at once"
    counted = [(name, more, request) for name, more, request in await rows(fresh_dsn) if "times" in more]
    assert [(name, more["times"]) for name, more, _ in counted] == [("token", 30), ("refused", 25)]
    assert counted[0][1]["error"] == "invalid_client" and counted[0][1]["claimed"] == "nobody"
    assert all(request == "" and more["since"] <= more["until"] for _, more, request in counted)


async def test_the_number_is_told_when_the_time_is_over(
    settings: Settings, fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floods, "SECONDS", 1.0)
    async with serving(settings, fresh_dsn, tmp_path) as client:
        await wrong(client, 25)
        told: list[int] = []
        async with asyncio.timeout(30):
            while not told:
                await asyncio.sleep(0.05)
                told = [more["times"] for _, more, _ in await rows(fresh_dsn) if "times" in more]
        before = len(await rows(fresh_dsn))
        await wrong(client, 2)
        assert len(await rows(fresh_dsn)) == before + 2, "a new minute has begun"
    assert sum(told) + len([1 for _, more, _ in await rows(fresh_dsn) if "times" not in more]) == 27


async def test_many_callers_together_are_bounded_too(
    settings: Settings, fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floods, "ALL", 10)
    monkeypatch.setattr(floods, "NAMED", 3)
    async with serving(settings, fresh_dsn, tmp_path) as client:
        for n in range(20):
            await wrong(client, 2, f"client-{n}")
        assert len(await rows(fresh_dsn)) == 10
    counted = [more for _, more, _ in await rows(fresh_dsn) if "times" in more]
    assert [(more.get("claimed"), more["times"], more.get("among")) for more in counted] == [
        ("client-5", 2, None), ("client-6", 2, None), ("client-7", 2, None), ("client-8", 24, "several callers"),
    ]  # fmt: skip


async def test_a_number_that_cannot_be_written_is_kept(
    settings: Settings, fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floods, "SECONDS", 0.3)
    record, failed = AuditWriter.record, 0

    async def failing(self: AuditWriter, entries: Any) -> None:
        nonlocal failed
        if failed < 2 and '"times"' in entries[0].detail:
            failed += 1
            raise Overloaded(Issue("transient", "not now"))
        await record(self, entries)

    monkeypatch.setattr(AuditWriter, "record", failing)
    monkeypatch.setattr(floods, "EACH", 1)
    async with serving(settings, fresh_dsn, tmp_path) as client:
        await wrong(client, 4)
        async with asyncio.timeout(15):
            while failed < 2:
                await asyncio.sleep(0.02)
    told = [more.get("times", 1) for _, more, _ in await rows(fresh_dsn)]
    assert sum(told) == 4 and len(told) < 4
