"""``fhirhub clients`` and ``fhirhub keys`` on a real Postgres: what they do, say, and put on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fhirhub.cli.root import run
from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import Clients
from fhirhub.store.audit.chain import INSERT
from support.smart import REDIRECT, Signer, lane_to

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def command(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    for name, value in (("DATABASE_URL", dsn), ("DATA_DIR", str(tmp_path)), ("LOG_LEVEL", "error")):
        monkeypatch.setenv(f"FHIRHUB_{name}", value)

    def call(*arguments: str) -> tuple[int, Any]:
        code = run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


APP = ("--kind", "symmetric", "--redirect-uri", REDIRECT, "--scope", "patient/*.rs openid")


def test_the_life_of_an_app(command: Run) -> None:
    code, made = command("clients", "add", "Weight Watch", *APP, "--launch-url", "https://app.example/launch")
    assert code == 0 and len(made["client_secret"]) >= 43
    id = made["client_id"]
    _, listed = command("clients", "list")
    assert [one["client_id"] for one in listed] == [id] and "client_secret" not in listed[0]
    assert listed[0]["redirect_uris"] == [REDIRECT] and listed[0]["scope"] == "patient/*.rs openid"
    code, rotated = command("clients", "rotate", id)
    assert code == 0 and rotated["client_secret"] != made["client_secret"]
    assert command("clients", "deactivate", id) == (
        0,
        {"client_id": id, "deactivated": True, "cut": {"grants": 0, "tokens": 0}},
    )
    assert command("clients", "deactivate", id)[1]["deactivated"] is False
    assert command("clients", "rotate", id)[0] == 1


def test_a_system_by_its_keys(command: Run, tmp_path: Path) -> None:
    signer, file = Signer(), tmp_path / "jwks.json"
    file.write_text(json.dumps(signer.jwks))
    code, made = command(
        "clients", "add", "Lab", "--kind", "backend", "--jwks", str(file), "--scope", "system/*.rs"
    )
    assert code == 0 and made["jwks"] == signer.jwks and "client_secret" not in made
    url = "https://lab.example/jwks.json"
    code, made = command(
        "clients", "add", "X", "--kind", "backend", "--jwks-url", url, "--scope", "system/*.rs"
    )
    assert code == 0 and made["jwks_url"] == url


def test_a_policy_is_checked_and_kept(command: Run, tmp_path: Path, dsn: str) -> None:
    file = tmp_path / "policy.json"
    add = ("clients", "add", "Lab", *APP, "--policy", str(file))
    for wrong, told in (
        ({"rules": [{"types": ["Observatoin"], "may": "rs"}]}, "Observatoin"),
        ({"rules": [{"types": ["Observation"], "may": "rs", "where": "statuss=final"}]}, "statuss"),
        ({"rulez": []}, "rulez"),
        ({"labels": ["no-such-label"]}, "no-such-label"),
    ):
        file.write_text(json.dumps(wrong))
        code, said = command(*add)
        assert code == 2 and told in said["error"], said
    policy = {
        "rules": [{"types": ["Observation"], "may": "rs", "where": "status=final"}],
        "organization": "Organization/lab",
    }
    file.write_text(json.dumps(policy))
    code, made = command(*add)
    assert code == 0

    async def kept() -> Any:
        async with lane_to(dsn) as lane:
            return (await Clients(lane, now).named(made["client_id"])).policy

    assert asyncio.run(kept()) == policy


def test_what_is_registered_can_be_changed(command: Run, tmp_path: Path, dsn: str) -> None:
    id = command("clients", "add", "App", *APP)[1]["client_id"]
    policy, keys = tmp_path / "policy.json", tmp_path / "jwks.json"
    policy.write_text('{"rules": [{"types": ["Observation"], "may": "rs"}]}')
    keys.write_text(json.dumps(Signer().jwks))
    code, made = command("clients", "update", id, "--scope", "patient/Patient.rs", "--policy", str(policy))
    assert (code, made["changed"]) == (0, ["scopes", "policy"])
    assert (made["scope"], made["policy"]) == ("patient/Patient.rs", json.loads(policy.read_text()))
    assert (made["name"], made["redirect_uris"]) == ("App", [REDIRECT])
    code, made = command("clients", "update", id, "--no-policy", "--launch-url", "https://app.example/launch")
    assert (code, made["changed"]) == (0, ["launch_url", "policy"]) and "policy" not in made
    assert command("clients", "update", id, "--launch-url", "")[1]["changed"] == ["launch_url"]
    assert command("clients", "update", id, "--name", "App")[1]["changed"] == []
    policy.write_text('{"rulez": []}')
    for wrong in (
        (),
        ("--policy", str(policy)),
        ("--scope", "system/*.rs"),
        ("--jwks", str(keys)),
        ("--name", ""),
    ):
        assert command("clients", "update", id, *wrong)[0] == 2, wrong
    assert command("clients", "update", "nobody", "--name", "x")[0] == 1
    told = [row for row in _trail(dsn, "client-update") if row["client"] == id]
    assert [row["changed"] for row in told] == [
        ["scopes", "policy"],
        ["launch_url", "policy"],
        ["launch_url"],
        [],
    ]
    assert told[0]["scope"] == "patient/Patient.rs"


def test_a_client_is_let_in_again(command: Run, dsn: str) -> None:
    id = command("clients", "add", "App", *APP)[1]["client_id"]
    command("clients", "deactivate", id)
    assert command("clients", "activate", id) == (0, {"client_id": id, "activated": True})
    assert command("clients", "activate", id) == (0, {"client_id": id, "activated": False})
    told = [row["changed"] for row in _trail(dsn, "client-activate") if row["client"] == id]
    assert told == [True, False]


def test_what_cannot_go_on_record_is_not_done(
    command: Run, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = command("clients", "add", "App", *APP)[1]["client_id"]
    before = len(_trail(dsn, "client-deactivate"))
    monkeypatch.setattr(
        "fhirhub.cli.record.INSERT", INSERT.replace("insert into audit", "insert into nowhere")
    )
    with pytest.raises(asyncpg.PostgresError):
        command("clients", "deactivate", id)
    monkeypatch.undo()
    monkeypatch.setenv("FHIRHUB_DATABASE_URL", dsn)
    assert _is_active(dsn, id) and len(_trail(dsn, "client-deactivate")) == before


def test_what_is_not_done_is_not_on_record(command: Run, dsn: str) -> None:
    before = len(_trail(dsn, "client-rotate"))
    assert command("clients", "rotate", "nobody")[0] == 1
    assert len(_trail(dsn, "client-rotate")) == before


def _trail(dsn: str, what: str) -> list[Any]:
    """What the rows of ``what`` tell, the oldest first."""

    async def fetch() -> list[Any]:
        async with lane_to(dsn) as lane:
            sql = "select detail::text as told from audit where interaction = $1 order by at, chain, seq"
            return [json.loads(row["told"])["more"] for row in await lane.fetch(sql, what)]

    return asyncio.run(fetch())


def _is_active(dsn: str, id: str) -> bool:
    async def fetch() -> bool:
        async with lane_to(dsn) as lane:
            return (await Clients(lane, now).named(id)).active

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "X"), "--kind"),
        (("add", "X", "--kind", "public", "--scope", "openid"), "redirect"),
        (("add", "X", "--kind", "odd", "--scope", "openid"), "none of"),
        (("add", "X", *APP[:-1], "patient/*.dus"), "no scope"),
        (("add", "X", "--kind", "backend", "--scope", "system/*.rs", "--jwks", "/nowhere"), "/nowhere"),
        (("add", "X", "--kind", "backend", "--scope", "system/*.rs", "--jwks", __file__), "cannot be used"),
    ],
)
def test_used_wrongly(command: Run, arguments: tuple[str, ...], told: str) -> None:
    code, said = command("clients", *arguments)
    assert code == 2 and told in said["error"]


def test_a_client_that_is_not_there(command: Run) -> None:
    for verb in ("deactivate", "rotate"):
        code, said = command("clients", verb, "nobody")
        assert code == 1 and "no client 'nobody'" in said["error"]


def test_signing_keys_are_renewed(command: Run) -> None:
    assert command("keys", "list") == (0, [])
    first = command("keys", "rotate")[1]["kid"]
    second = command("keys", "rotate")[1]["kid"]
    _, listed = command("keys", "list")
    assert [one["kid"] for one in listed] == [second, first]
    assert [one["retired"] is None for one in listed] == [True, False]
