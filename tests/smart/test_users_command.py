"""``fhirhub users`` on a real Postgres: what it does, says, and puts on record."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fhirhub.cli.root import run

GOOD = "ladder umbrella quartz"


class Command:
    """The command line on one database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dsn: str) -> None:
        self._monkeypatch, self._capsys, self.dsn = monkeypatch, capsys, dsn
        self.code, self.said, self.complained = 0, "", ""

    def __call__(self, *arguments: str, stdin: str = "") -> Any:
        """Run ``fhirhub users ARGUMENTS --json``: what it answers."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self.code = run(["users", *arguments, "--json"])
        self.said, self.complained = self._capsys.readouterr()
        return json.loads(self.said)

    def rows(self, sql: str) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await connection.fetch(sql)
            finally:
                await connection.close()

        return asyncio.run(fetch())


@pytest.fixture
def users(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("FHIRHUB_DATABASE_URL", dsn)
    monkeypatch.setenv("FHIRHUB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FHIRHUB_LOG_LEVEL", "error")
    return Command(monkeypatch, capsys, dsn)


def test_a_working_life(users: Command) -> None:
    made = users(
        "add",
        "Dr.Hale",
        "--role",
        "practitioner",
        "--fhir-user",
        "Practitioner/1",
        "--password-stdin",
        stdin=GOOD + "\n",
    )
    assert users.code == 0 and made["username"] == "dr.hale" and "password" not in made
    assert made["fhirUser"] == "Practitioner/1" and not made["mustChangePassword"]
    given = users("reset", "dr.hale")
    assert users.code == 0 and len(given["password"]) == 24 and given["mustChangePassword"]
    assert "dr.hale" in [one["username"] for one in users("list")]
    ended = users("deactivate", "DR.HALE")
    assert users.code == 0 and ended["deactivated"]
    assert set(ended["cut"]) == {"sessions", "launches", "requests", "codes", "grants", "tokens"}
    again = users("deactivate", "dr.hale")
    assert users.code == 0 and not again["deactivated"]
    users("reset", "dr.hale")
    assert users.code == 1
    trail = users.rows(
        "select interaction, outcome, detail::text from audit where kind = 'admin' order by at, seq"
    )
    assert [row["interaction"] for row in trail] == [
        "user-add",
        "user-reset",
        "user-deactivate",
        "user-deactivate",
    ]
    everything = "".join(row["detail"] for row in trail) + users.said + users.complained
    assert GOOD not in everything and given["password"] not in everything


def test_without_a_password_one_is_made(users: Command) -> None:
    made = users("add", "helga", "--role", "biller")
    assert users.code == 0 and len(made["password"]) == 24 and made["mustChangePassword"]
    stored = users.rows("select password from account where username = 'helga'")[0]["password"]
    assert stored.startswith("$argon2id$") and made["password"] not in stored


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("add", "erika", "--role", "biller", "--password-stdin"), "", 2, "too short"),
        (
            ("add", "erika", "--role", "biller", "--password-stdin"),
            "password1234\n",
            2,
            "first that are guessed",
        ),
        (("add", "erika", "--role", "biller", "--password-stdin"), "x" * 300, 2, "at most 256"),
        (("add", "erika", "--role", "boss"), "", 2, "none of admin, practitioner"),
        (("add", "erika", "--role", "patient"), "", 2, "Patient/ID"),
        (("add", "a b", "--role", "admin"), "", 2, "use 1 to 64"),
        (("add", "erika"), "", 2, "--role"),
        (("add", "there", "--role", "admin"), "", 1, "an account there already"),
        (("deactivate", "nobody"), "", 1, "no account 'nobody'"),
        (("reset", "nobody"), "", 1, "no account 'nobody'"),
    ],
)
def test_what_is_wrong_is_said(
    users: Command, arguments: tuple[str, ...], stdin: str, code: int, said: str
) -> None:
    users("add", "there", "--role", "admin")
    answer = users(*arguments, stdin=stdin)
    assert users.code == code and said in answer["error"], answer
    assert users.rows("select 1 from account where username not in ('there', 'dr.hale', 'helga')") == []


def test_a_preview_says_what_somebody_may_see_and_why(
    users: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users(
        "add", "previewed", "--role", "patient", "--fhir-user", "Patient/p7", "--password-stdin", stdin=GOOD
    )

    def preview(*arguments: str) -> Any:
        code = run(["preview", *arguments, "--json"])
        said, _ = capsys.readouterr()
        assert code == 0, said
        return json.loads(said)

    found = preview("previewed", "--type", "Observation")
    assert found["role"] == "patient" and [each["type"] for each in found["types"]] == ["Observation"]
    ways = found["types"][0]["ways"]
    assert any("r" in way["letters"] and way["condition"] and way["why"] for way in ways)
    biller = {each["type"]: each["letters"] for each in preview("biller")["types"]}
    assert "c" in biller["Claim"] and "Observation" not in biller
    users("deactivate", "previewed")
    assert preview("previewed")["types"] == []
    assert run(["preview", "nobody-there"]) == 2


def test_somebody_is_let_in_again(users: Command) -> None:
    users("add", "again", "--role", "biller")
    users("deactivate", "again")
    assert users("activate", "Again") == {"username": "again", "activated": True}
    assert users("activate", "again") == {"username": "again", "activated": False}
    assert next(one for one in users("list") if one["username"] == "again")["active"]
    told = users.rows(
        "select detail::jsonb -> 'more' ->> 'changed' as c from audit where interaction = 'user-activate'"
    )
    assert [row["c"] for row in told] == ["true", "false"]
    assert users("activate", "nobody") and users.code == 1


def test_a_demo_login_stays_out_where_others_reach_the_server(
    users: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    users("add", "demo-one", "--role", "biller")
    users("deactivate", "demo-one")
    users.rows("update account set demo = true where username = 'demo-one' returning 1")
    monkeypatch.setenv("FHIRHUB_BASE_URL", "https://record.example")
    assert "demo" in users("activate", "demo-one")["error"] and users.code == 1
