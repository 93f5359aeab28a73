"""A search by somebody from whom only labels keep something is made without them while there are none: a label counts from
its commit on all the same, wherever it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

import fhirhub.store.totals as totals
from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.door import V3, Door
from support.lifespan import running
from support.smart import issue

RESTRICTED = {"security": [{"system": V3, "code": "R"}]}
NORMAL = {"security": [{"system": V3, "code": "N"}]}


def condition(id: str, patient: str, **more: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "urn:c", "code": "x"}]}
    return {
        "resourceType": "Condition", "id": id, "code": code, "subject": {"reference": f"Patient/{patient}"}, **more,
    }  # fmt: skip


@pytest_asyncio.fixture
async def doors(
    settings: Settings, fresh_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Door, Door]]:
    """Somebody who may do everything, at one worker; a service that may read everything unlabelled, at another."""
    guarded = replace(
        settings, no_auth=False, database_url=fresh_dsn, data_dir=tmp_path_factory.mktemp("keys")
    )
    async with running(create_app(guarded)) as one, running(create_app(guarded)) as other:
        transports = [httpx.ASGITransport(app=app, raise_app_exceptions=False) for app in (one, other)]
        clients = [
            httpx.AsyncClient(transport=each, base_url="http://testserver/fhir") for each in transports
        ]
        root = Door(clients[0], fresh_dsn, await issue(fresh_dsn, "system/*.cruds", policy={"labels": ["*"]}))
        for document in (
            {"resourceType": "Patient", "id": "a", "name": [{"family": "Alpha"}], "meta": NORMAL},
            {"resourceType": "Patient", "id": "b", "name": [{"family": "Beta"}]},
            *(condition(f"c{n}", "ab"[n % 2]) for n in range(6)),
        ):
            assert (await root.put(document)).status_code == 201
        yield root, Door(clients[1], fresh_dsn, await issue(fresh_dsn, "system/*.rs"))
        for client in clients:
            await client.aclose()


async def found(door: Door, path: str) -> tuple[set[str], int | None]:
    answer = (await door.call("GET", path)).json()
    return {each["resource"]["id"] for each in answer.get("entry", ())}, answer.get("total")


@pytest.mark.parametrize(
    ("path", "all_of_them"),
    [
        ("/Condition?_total=accurate", {"c0", "c1", "c2", "c3", "c4", "c5"}),
        ("/Condition?code=x&_total=accurate", {"c0", "c1", "c2", "c3", "c4", "c5"}),
        ("/Condition?code=urn:c|x&patient=Patient/a&_total=accurate", {"c0", "c2", "c4"}),
        ("/Condition?patient.family=alpha&_total=accurate", {"c0", "c2", "c4"}),
        ("/Condition?code:not=y&_sort=-_lastUpdated&_total=accurate", {"c0", "c1", "c2", "c3", "c4", "c5"}),
        ("/Condition?_id=c2,c3&_total=accurate", {"c2", "c3"}),
    ],
)
async def test_a_label_counts_from_its_commit_on(
    doors: tuple[Door, Door], path: str, all_of_them: set[str]
) -> None:
    root, service = doors
    for _ in range(3):
        assert await found(service, path) == (all_of_them, len(all_of_them))
    assert (await root.put(condition("c2", "a", meta=RESTRICTED))).status_code == 200
    assert (await root.put(condition("new", "a", meta=RESTRICTED))).status_code == 201
    left = all_of_them - {"c2"}
    for _ in range(3):
        assert await found(service, path) == (left, len(left))
    assert (await found(service, f"{path}&_summary=count"))[1] == len(left)
    assert (await root.put(condition("c3", "b", meta=RESTRICTED))).status_code == 200
    assert (await found(service, path))[0] == left - {"c3"}


async def test_a_label_of_what_a_chain_goes_through(doors: tuple[Door, Door]) -> None:
    root, service = doors
    path = "/Condition?patient.family=beta"
    assert (await found(service, path))[0] == {"c1", "c3", "c5"}
    patient = {"resourceType": "Patient", "id": "b", "name": [{"family": "Beta"}], "meta": RESTRICTED}
    assert (await root.put(patient)).status_code == 200
    assert (await found(service, path))[0] == set()
    assert (await found(service, "/Patient?_has:Condition:patient:code=x"))[0] == {"a"}
    assert (await root.put(condition("c0", "a", meta=RESTRICTED))).status_code == 200
    assert (await found(service, "/Condition?patient.family=alpha"))[0] == {"c2", "c4"}


async def test_what_is_empty_becomes_no_more_by_a_label(doors: tuple[Door, Door]) -> None:
    root, service = doors
    for path in ("/Condition?code=new&_total=accurate", "/Condition?subject=Patient/nobody&_total=accurate"):
        assert await found(service, path) == (set(), 0)
    coded = {"coding": [{"system": "urn:c", "code": "new"}]}
    assert (await root.put(condition("n", "a", code=coded, meta=RESTRICTED))).status_code == 201
    assert await found(service, "/Condition?code=new&_total=accurate") == (set(), 0)
    assert (await root.put(condition("n", "a", code=coded))).status_code == 200


@pytest.mark.parametrize(
    "path", ["/Condition?code=x&_count=2", "/Condition?code=x&_sort=-_lastUpdated&_count=2"]
)
async def test_pages_go_on_when_labels_come(doors: tuple[Door, Door], path: str) -> None:
    root, service = doors
    for before in (False, True):
        seen: list[str] = []
        answer = (await service.call("GET", path)).json()
        if before:
            assert (await root.put(condition("late", "a", meta=RESTRICTED))).status_code == 201
        while True:
            seen += [each["resource"]["id"] for each in answer["entry"]]
            links = {each["relation"]: each["url"] for each in answer["link"]}
            if "next" not in links:
                break
            answer = (await service.call("GET", links["next"].removeprefix("http://testserver/fhir"))).json()
        assert sorted(seen) == ["c0", "c1", "c2", "c3", "c4", "c5"]


@pytest.mark.parametrize(
    "more", ["_summary=count&_total=estimate", "_count=0&_total=accurate", "_count=2&_total=accurate"]
)
async def test_totals_that_are_estimated(
    doors: tuple[Door, Door], monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setattr(totals, "ESTIMATE", -1.0)
    monkeypatch.setattr(totals, "COUNTED", -1.0)
    root, service = doors
    for _ in range(2):
        for path in (f"/Condition?code=x&{more}", f"/Condition?{more}"):
            answer = await service.call("GET", path)
            assert answer.status_code == 200, answer.text
            assert answer.json()["total"] >= 0
        assert (await root.put(condition("c2", "a", meta=RESTRICTED))).status_code == 200
