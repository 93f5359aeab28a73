"""``fhirhub audit``, and the trail as the pages show it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from fhirhub.bridges import looks, recorder, trail
from fhirhub.errors import BadRequest
from fhirhub.exchange import Caller
from fhirhub.keys import Keys
from fhirhub.smart.hooks import Event, Look
from fhirhub.store.audit.trail import Trail, event
from fhirhub.store.store import Store
from fhirhub.validation.validator import Validator
from searching import definitions

MASTER = "ab" * 32
KEY = Keys(bytes.fromhex(MASTER)).derive("audit")
ANN = Caller(user="ann", role="practitioner", client="c1", client_name="Chart", reason="unconscious")


def fhirhub(dsn: str, home: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stdout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
    own = {"FHIRHUB_DATABASE_URL": dsn, "FHIRHUB_DATA_DIR": str(home), "FHIRHUB_MASTER_KEY": MASTER}
    done = subprocess.run(
        [sys.executable, "-m", "fhirhub", "audit", *arguments], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env=clean | own,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


async def _fill(dsn: str) -> None:
    store = await Store.open(dsn, definitions, audit_key=KEY)
    assert store.audit is not None
    for n in range(6):
        told = Trail(ANN, "read", "Observation", f"o{n}", request=f"r{n}")
        told.patients = {f"p{n % 2}"}
        await store.audit.record([told.finished(200 if n else 403, "" if n else "not yours")])
    await store.audit.record(
        [event("login", "lockout", Caller(user="eve"), outcome=4, more={"stage": "password"})]
    )
    await store.close()


async def _sql(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for sql in statements:
            await connection.execute(sql)
    finally:
        await connection.close()


def test_search_verify_and_export(fresh_dsn: str, tmp_path: Path) -> None:
    asyncio.run(_fill(fresh_dsn))
    code, text = fhirhub(fresh_dsn, tmp_path, "search", "--patient", "p1")
    assert code == 0 and len(text.splitlines()) == 3
    assert "ann (practitioner) with Chart looked at Observation/o5  [p1]  EMERGENCY: unconscious" in text
    _, text = fhirhub(fresh_dsn, tmp_path, "search", "--user", "ann", "--outcome", "4", "--json")
    (row,) = [json.loads(line) for line in text.splitlines()]
    assert (row["id"], row["detail"]["why"]) == ("o0", "not yours")
    assert fhirhub(fresh_dsn, tmp_path, "search", "--since", "2100")[1] == ""
    assert len(fhirhub(fresh_dsn, tmp_path, "search", "--limit", "2")[1].splitlines()) == 2
    assert fhirhub(fresh_dsn, tmp_path, "search", "--action", "Q")[0] != 0

    out = tmp_path / "out"
    code, text = fhirhub(fresh_dsn, tmp_path, "export", str(out), "--json")
    assert (code, json.loads(text)) == (0, {"events": 7, "problems": []})
    events = [json.loads(line) for line in (out / "AuditEvent.ndjson").read_text().splitlines()]
    assert [str(issue) for each in events for issue in Validator(definitions).validate(each)] == []
    assert [each["recorded"] for each in events] == sorted(each["recorded"] for each in events)

    code, text = fhirhub(fresh_dsn, tmp_path, "verify", "--json")
    assert (code, json.loads(text)) == (0, {"rows": 8, "chains": 1, "problems": []})
    asyncio.run(
        _sql(
            fresh_dsn,
            "alter table audit disable trigger audit_is_kept",
            "delete from audit where agent = 'eve'",
        )
    )
    code, text = fhirhub(fresh_dsn, tmp_path, "verify")
    assert (
        code == 1
        and "chain 1 ends with row 7, but had row 8 according to the anchors: its end was removed." in text
    )
    assert fhirhub(fresh_dsn, tmp_path, "verify", "--anchor", str(tmp_path / "none"))[0] == 0
    asyncio.run(_sql(fresh_dsn, "update audit set agent = 'bob' where id = 'o3'"))
    code, text = fhirhub(fresh_dsn, tmp_path, "verify", "--anchor", str(out / "audit.anchors"), "--json")
    assert (
        code == 1
        and json.loads(text)["problems"][0] == "chain 1, row 5 was changed, or put in the place of another."
    )
    (tmp_path / "audit.anchors").write_text("{}")
    code, text = fhirhub(fresh_dsn, tmp_path, "verify")
    assert code == 1 and "holds no anchors" in text


async def test_what_the_pages_add_and_show(fresh_dsn: str) -> None:
    await _fill(fresh_dsn)
    store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    assert store.audit is not None
    put, looked_at, search = recorder(store.audit), looks(store.fetch), trail(store.fetch)
    try:
        await put("consent", Caller(user="pat", role="patient"), 0, {"patient": "Patient/p1", "scope": "x"})
        seen, more = await looked_at("p1", "")
        assert more == ""
        assert seen[0] == Look(seen[0].at, "pat (patient)", "", "decided on an app's access")
        assert seen[1] == Look(
            seen[1].at, "ann (practitioner)", "Chart", "looked at Observation/o5", "unconscious"
        )
        assert await looked_at("", "") == ([], "")
        events, more = await search({"user": "eve", "since": "2020-01-01", "until": "2100-01-01"}, "")
        assert more == "" and events == [
            Event(
                events[0].at,
                "eve",
                "",
                "was locked out after failed sign-ins (refused)",
                "",
                "refused",
                "",
                "",
            )
        ]
        with pytest.raises(BadRequest):
            await search({"since": "nonsense"}, "")
        everything, _ = await search({}, "")
        assert len(everything) == 8 and everything[-1].what == "looked at Observation/o0 (refused)"
    finally:
        await store.close()


@pytest.mark.parametrize("cursor", ["", "x", "1.2", "9" * 40 + ".1.1", "1.1.1.1", "-1.1.1"])
async def test_a_cursor_that_is_none_begins_at_the_beginning(fresh_dsn: str, cursor: str) -> None:
    await _fill(fresh_dsn)
    store = await Store.open(fresh_dsn, definitions, audit_key=KEY)
    assert store.audit is not None
    try:
        seen, _ = await looks(store.fetch)("p1", cursor)
        assert len(seen) == 3
    finally:
        await store.close()
