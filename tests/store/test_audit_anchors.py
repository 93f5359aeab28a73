"""A running server keeps where its audit trail ends outside the database, and who cuts off an end is found by it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from fhirhub.app import create_app
from fhirhub.cli.root import run
from fhirhub.exchange import Caller
from fhirhub.settings import Settings
from fhirhub.store.audit import anchors
from fhirhub.store.audit.trail import event
from fhirhub.store.audit.verify import verify
from fhirhub.store.store import Store
from searching import definitions
from support.lifespan import running

KEY = bytes(32)
OFF = "alter table audit disable trigger audit_is_kept"
CUT = "delete from audit where (chain, seq) in (select chain, max(seq) from audit group by chain)"
AT = 1_800_000_000_000_000


async def serve(settings: Settings, reads: int, during: Callable[[], None] = lambda: None) -> None:
    """A server that answers a few reads, and stops."""
    async with running(create_app(settings)) as app:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver/fhir") as client:
            for _ in range(reads):
                assert (await client.get("/Patient/nobody")).status_code == 404
        await asyncio.sleep(0.1)
        during()


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for sql in statements:
        await connection.execute(sql)
    await connection.close()


@pytest.fixture
def audited(fresh_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in (("DATABASE_URL", fresh_dsn), ("DATA_DIR", str(tmp_path)), ("LOG_LEVEL", "error")):
        monkeypatch.setenv(f"FHIRHUB_{name}", value)
    return Settings(database_url=fresh_dsn, data_dir=tmp_path, no_auth=True, audit="on", log_level="error")


def checked(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What ``fhirhub audit verify`` complains of."""
    code = run(["audit", "verify", "--json"])
    problems: list[str] = json.loads(capsys.readouterr().out)["problems"]
    assert code == (1 if problems else 0)
    return problems


def test_a_tail_that_is_cut_after_the_server_stopped_is_found(
    audited: Settings, fresh_dsn: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asyncio.run(serve(audited, 5))
    (told,) = (tmp_path / anchors.FILE).read_text().splitlines()
    ((chain, (rows, _)),) = json.loads(told)["chains"].items()
    assert rows == 6, "five reads and a checkpoint"
    asyncio.run(execute(fresh_dsn, OFF, CUT))
    (problem,) = checked(capsys)
    assert problem == (
        f"chain {chain} ends with row 5, but had row 6 according to the anchors: its end was removed."
    )
    # New rows in the place of those do not cover it up, nor do later anchors.
    asyncio.run(serve(audited, 4))
    assert len((tmp_path / anchors.FILE).read_text().splitlines()) >= 2
    assert checked(capsys) == [f"chain {chain}, row 6 is not the one that was anchored."]


def test_anchors_are_written_while_the_server_runs_and_told_to_the_log(
    audited: Settings, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines: list[str] = []
    often = replace(audited, audit_anchors=0.02)
    with caplog.at_level(logging.INFO, "fhirhub.audit"):
        asyncio.run(serve(often, 3, lambda: lines.extend((tmp_path / anchors.FILE).read_text().splitlines())))
    assert lines, "none before it stopped"
    told = [each.getMessage() for each in caplog.records if each.msg == "audit anchor %s"]
    written = (tmp_path / anchors.FILE).read_text().splitlines()
    assert told == [f"audit anchor {text}" for text in written]
    assert checked(capsys) == []


def test_without_them_none_are_written(audited: Settings, tmp_path: Path) -> None:
    asyncio.run(serve(replace(audited, audit_anchors=0.0), 1))
    assert not (tmp_path / anchors.FILE).exists()


async def test_a_chain_that_shrinks_is_told_of_at_once(
    fresh_dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    assert store.audit is not None
    await store.audit.record([event("login", "login", Caller(user=name)) for name in ("ann", "bob")])
    async with anchors.anchored(store.fetch, KEY, tmp_path / "a", 600):
        await asyncio.sleep(0.1)
        await execute(fresh_dsn, OFF, CUT)
    await store.close()
    assert "of the audit trail had row 3, and is shorter now" in caplog.text


def test_several_processes_and_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / anchors.FILE
    monkeypatch.setattr(anchors, "LARGEST", 2_000)

    def one(n: int) -> None:
        assert anchors.append(path, anchors.line(KEY, {1 + n % 3: (n, bytes([n] * 32))}, AT + n))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(1, 61)))
    found = anchors.read(path, KEY)
    assert {seq for rows in found.values() for seq in rows} == set(range(1, 61)) and len(found) == 3
    assert path.with_name(f"{path.name}.1").exists() and path.stat().st_size < 2_200
    assert not anchors.append(path, "x", unless_within=600)


def test_a_line_that_was_not_finished_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / anchors.FILE
    text = anchors.line(KEY, {1: (1, bytes(32))}, AT)
    for length in (3, 30, len(text) - 1):
        path.write_text(f"{text}\n{text[:length]}")
        assert anchors.read(path, KEY) == {1: {1: frozenset({"00" * 32})}}
        anchors.append(path, anchors.line(KEY, {1: (2, bytes(32))}, AT))
        assert set(anchors.read(path, KEY)[1]) == {1, 2}


async def test_anchors_of_an_earlier_version_still_count(fresh_dsn: str, tmp_path: Path) -> None:
    path = tmp_path / anchors.FILE
    # Made with version 0.1 of this program, for the key of zeros.
    path.write_text(
        '{"chains": {"1": [3, "' + "ab" * 32 + '"]}, "mac":'
        ' "b69cf944714a50407e2d1349ce06c915696ecfee5c3ddd014c9d132116809484"}\n'
    )
    connection = await asyncpg.connect(fresh_dsn)
    problems = (await verify(connection, KEY, anchors.read(path, KEY))).problems
    await connection.close()
    assert problems == [
        "chain 1 ends with row 0, but had row 3 according to the anchors: its end was removed."
    ]
