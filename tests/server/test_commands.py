"""The command line as programs use it: JSON, exit codes, reasons."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def fhirhub(home: Path, *arguments: str, **variables: str) -> tuple[int, Any, str]:
    """Exit code, the JSON on stdout, and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
    done = subprocess.run(
        [sys.executable, "-m", "fhirhub", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=clean | {"FHIRHUB_DATA_DIR": str(home), "FHIRHUB_SHARED_BUFFERS": "64MiB"} | variables,
    )
    return done.returncode, json.loads(done.stdout) if "--json" in arguments else done.stdout, done.stderr


def test_check_migrate_check(home: Path) -> None:
    code, found, _ = fhirhub(home, "db", "check", "--json")
    assert code == 1 and "db migrate" in found["problems"][0]
    code, found, _ = fhirhub(home, "db", "migrate", "--json")
    assert code == 0 and found["migrated"] is True
    assert fhirhub(home, "db", "migrate", "--json")[1]["migrated"] is False
    assert fhirhub(home, "db", "check", "--json")[:2] == (0, {"current": found["to"], "expected": found["to"], "problems": []})  # fmt: skip


def test_doctor_finds_nothing_wrong_here(home: Path) -> None:
    code, found, _ = fhirhub(home, "doctor", "--json")
    assert (code, found["ok"]) == (0, True), found
    assert {"database", "PostgreSQL", "TLS", "clock", "disk"} <= {row["about"] for row in found["findings"]}


def test_doctor_names_a_database_that_is_not_there(home: Path) -> None:
    code, found, _ = fhirhub(home, "doctor", "--json", FHIRHUB_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert code == 1
    assert any(row["state"] == "failed" and "cannot be reached" in row["text"] for row in found["findings"])


def test_config_masks_secrets_and_warns(home: Path) -> None:
    code, found, errors = fhirhub(
        home, "config", "show", "--json", FHIRHUB_METRICS_TOKEN="hush", FHIRHUB_PROT="1"
    )
    assert code == 0 and "hush" not in json.dumps(found)
    assert "FHIRHUB_PORT" in found["warnings"][0] and "FHIRHUB_PROT" in errors


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "reason"),
    [
        (("serve", "--host", "0.0.0.0"), {}, 2, "--base-url https"),
        (("serve", "--host", "0.0.0.0", "--base-url", "http://a.test"), {}, 2, "--base-url https"),
        (("serve", "--host", "0.0.0.0", "--base-url", "https://a.test", "--no-auth"), {}, 2, "no-auth opens"),
        (
            ("serve", "--host", "0.0.0.0", "--base-url", "https://a.test"),
            {"FHIRHUB_AUDIT": "off"},
            2,
            "FHIRHUB_AUDIT",
        ),
        (("serve", "--base-url", "http://a.test"), {}, 2, "--base-url https"),
        (("serve", "--base-url", "https://a.test", "--no-auth"), {}, 2, "no-auth opens"),
        (("serve", "--base-url", "https://a.test"), {"FHIRHUB_AUDIT": "off"}, 2, "FHIRHUB_AUDIT"),
        (("serve", "--tls-cert", "x"), {}, 2, "go together"),
        (("serve", "--prot", "1"), {}, 2, "--prot"),
        (("serve",), {"FHIRHUB_PORT": "x"}, 2, "FHIRHUB_PORT"),
        (("nonsense",), {}, 2, "nonsense"),
        (("db", "check"), {"FHIRHUB_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, 1, "cannot be reached"),
        (
            ("serve", "--port", "0"),
            {"FHIRHUB_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"},
            1,
            "cannot be reached",
        ),
    ],
)
def test_reasons_and_exit_codes(
    home: Path, arguments: tuple[str, ...], variables: dict[str, str], code: int, reason: str
) -> None:
    found, _, errors = fhirhub(home, *arguments, **variables)
    assert (found, reason in errors) == (code, True), errors


def test_explain_shows_the_plan(home: Path) -> None:
    code, found, _ = fhirhub(
        home, "explain", "--json", "Observation?patient=x&code=http://loinc.org|8480-6&_sort=-date"
    )
    assert code == 0
    assert (found["plan"], found["driver"]) == ("token", "subject refers to 1 resource(s)")
    assert any("token_measurement" in step for step in found["steps"])
    # Two letters are too few for the index of trigrams.
    code, shown, _ = fhirhub(home, "explain", "--run", "Patient?name:contains=ab&_sort=family")
    assert code == 0
    assert "gathers all matches" in shown
    assert "Advice: This :contains looks through" in shown
    assert "actual" in shown
    code, found, _ = fhirhub(home, "explain", "--json", "Patient?nmae=x")
    assert code == 1
    assert "name" in found["error"]
