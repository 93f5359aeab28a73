"""``fhirhub launch`` prints a URL that works, or says what is wrong."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhirhub.cli.root import run
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.context import smart
from fhirhub.smart.storage import authorizations
from fhirhub.store.engine import Lane
from support.flow_rig import add_client

RECORD = {
    "Patient/p1": {"resourceType": "Patient", "id": "p1"},
    "Patient/p2": {"resourceType": "Patient", "id": "p2"},
    "Encounter/e1": {
        "resourceType": "Encounter", "id": "e1", "status": "planned", "class": {"code": "AMB"},
        "subject": {"reference": "Patient/p1"},
    },
}  # fmt: skip


async def test_launch(
    client: httpx.AsyncClient, dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, body in RECORD.items():
        assert (await client.put(path, json=body)).status_code == 201
    made = smart(Settings(), Lane(dsn, 2), Keys(bytes(32)))
    await made.people.accounts.add("doc", "practitioner", "Practitioner/d1", "-")
    await made.people.accounts.add("ada", "patient", "Patient/p1", "-")
    uris = ["https://app.example/cb"]
    app = await add_client(made, "App", "public", uris, launch_url="https://app.example/launch?v=1")
    other = await add_client(made, "Other", "public", uris)
    monkeypatch.setenv("FHIRHUB_DATABASE_URL", dsn)
    monkeypatch.setenv("FHIRHUB_MASTER_KEY", "00" * 32)
    monkeypatch.setenv("FHIRHUB_PORT", "8099")

    async def launch(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run, ["launch", *arguments])
        return code, capsys.readouterr().out

    code, out = await launch(app.id, "--user", "doc", "--patient", "p1", "--encounter", "e1", "--json")
    assert code == 0
    url = json.loads(out)["url"]
    query = parse_qs(urlsplit(url).query)
    assert url.startswith("https://app.example/launch?v=1&") and query["iss"] == [
        "http://127.0.0.1:8099/fhir"
    ]
    row = await authorizations.take_launch(made.lane, query["launch"][0], app.id, made.clock())
    assert row is not None and (row.context.patient, row.context.encounter) == ("p1", "e1")
    code, out = await launch(app.id, "--user", "doc", "--patient", "p1")
    assert code == 0 and out.startswith("https://app.example/launch?v=1&iss=")
    for wrong in (
        (app.id, "--user", "nobody", "--patient", "p1"),
        (app.id, "--user", "doc", "--patient", "p9"),
        (app.id, "--user", "doc", "--patient", "p2", "--encounter", "e1"),
        (app.id, "--user", "doc", "--patient", "p1", "--encounter", "e9"),
        (app.id, "--user", "ada", "--patient", "p2"),
        (other.id, "--user", "doc", "--patient", "p1"),
        ("nobody", "--user", "doc", "--patient", "p1"),
    ):
        assert (await launch(*wrong))[0] == 1, wrong
    assert (await launch(app.id, "--user", "doc"))[0] == 2
    await made.close()
