"""Where what is written comes from: the header X-Provenance, and what the server says of writes from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.auth.access import Access
from fhirhub.exchange import Caller
from fhirhub.search.sight import ALL, EVERYTHING, Sight
from fhirhub.settings import Settings
from support.lifespan import running

OBSERVATIONS = {"Observation": ALL}
CALLERS = {
    b"ann": Access(EVERYTHING, Caller(user="ann", client="app")),
    b"lab": Access(EVERYTHING, Caller(client="lab-1", client_name="City Lab")),
    b"narrow": Access(Sight({each: OBSERVATIONS for each in "crus"}), Caller(client="narrow")),
}
GIVEN: dict[str, Any] = {
    "resourceType": "Provenance",
    "recorded": "2026-11-24T10:00:00Z",
    "agent": [{"who": {"display": "Röntgen"}}],
}


class Gate:
    """Knows callers by a header."""

    async def access(self, headers: Any) -> Access:
        return CALLERS[headers.get(b"x-caller", b"ann")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(settings: Settings, tmp_path_factory: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(replace(settings, audit="on", data_dir=tmp_path_factory.mktemp("keys")))
    async with running(app):
        app.gate = Gate()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as made:
            yield made


def observation(id: str, text: str = "x") -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": text}}


def header(given: Any = GIVEN, caller: str = "ann") -> dict[str, str]:
    return {"x-provenance": json.dumps(given), "x-caller": caller}


async def targets(client: httpx.AsyncClient, id: str) -> list[dict[str, Any]]:
    answer = await client.get(f"Provenance?target=Observation/{id}&_sort=_lastUpdated")
    return [entry["resource"] for entry in answer.json().get("entry", ())]


async def test_the_header_is_written_with_each_kind_of_write(client: httpx.AsyncClient) -> None:
    assert (await client.put("Observation/h1", json=observation("h1"), headers=header())).status_code == 201
    changed = observation("h1", "y")
    assert (await client.put("Observation/h1", json=changed, headers=header())).status_code == 200
    patch = [{"op": "replace", "path": "/status", "value": "amended"}]
    answer = await client.patch(
        "Observation/h1", json=patch, headers=header() | {"content-type": "application/json-patch+json"}
    )
    assert answer.status_code == 200 and answer.json()["status"] == "amended"
    found = await targets(client, "h1")
    assert [each["target"] for each in found] == [
        [{"reference": f"Observation/h1/_history/{version}"}] for version in (1, 2, 3)
    ]
    assert {each["agent"][0]["who"]["display"] for each in found} == {"Röntgen"}
    created = await client.post("Observation", json=observation("x"), headers=header())
    assert created.status_code == 201
    assert len(await targets(client, created.json()["id"])) == 1


async def test_a_transaction_has_one_for_all(client: httpx.AsyncClient) -> None:
    entries = [
        {"resource": observation(id), "request": {"method": "PUT", "url": f"Observation/{id}"}}
        for id in ("t1", "t2")
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = await client.post("", json=bundle, headers=header())
    assert answer.status_code == 200 and len(answer.json()["entry"]) == 2
    (found,) = await targets(client, "t1")
    assert found["target"] == [{"reference": f"Observation/{id}/_history/1"} for id in ("t1", "t2")]
    answer = await client.post("", json=bundle | {"type": "batch"}, headers=header())
    assert answer.status_code == 400 and "X-Provenance" in answer.text


async def test_what_changes_nothing_comes_from_nowhere(client: httpx.AsyncClient) -> None:
    await client.put("Observation/n1", json=observation("n1"))
    for caller in ("ann", "lab"):
        more = header() if caller == "ann" else {"x-caller": caller}
        answer = await client.put("Observation/n1", json=observation("n1"), headers=more)
        assert answer.status_code == 200 and answer.json()["meta"]["versionId"] == "1"
    assert await targets(client, "n1") == []


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        ("{", 400, "X-Provenance"), ([], 400, "X-Provenance"), ({"resourceType": "Patient"}, 400, "no Provenance"),
        (GIVEN | {"target": [{"reference": "Observation/1"}]}, 400, "leave out target"),
        (GIVEN | {"id": "mine"}, 400, "leave out id"), (GIVEN | {"agent": []}, 400, "X-Provenance: Provenance.agent"),
        (GIVEN | {"nonsense": 1}, 400, "nonsense"),
        (GIVEN | {"agent": [{"who": {"reference": "Organization/none"}}]}, 422, "Organization/none"),
    ],
)  # fmt: skip
async def test_a_bad_header_refuses_the_write(
    client: httpx.AsyncClient, given: Any, status: int, text: str
) -> None:
    more = header(given) if not isinstance(given, str) else {"x-provenance": given}
    answer = await client.put("Observation/bad", json=observation("bad"), headers=more)
    assert answer.status_code == status and text in answer.text
    assert (await client.get("Observation/bad")).status_code == 404


async def test_the_header_needs_the_right_to_write_a_provenance(client: httpx.AsyncClient) -> None:
    answer = await client.post("Observation", json=observation("x"), headers=header(caller="narrow"))
    assert answer.status_code == 403 and "Provenance" in answer.text


@pytest.mark.parametrize(("caller", "name"), [("lab", "City Lab"), ("narrow", "narrow")])
async def test_writes_of_clients_without_a_user_are_witnessed(
    client: httpx.AsyncClient, caller: str, name: str
) -> None:
    answer = await client.post("Observation", json=observation("x"), headers={"x-caller": caller})
    assert answer.status_code == 201
    (found,) = await targets(client, answer.json()["id"])
    assert found["target"] == [{"reference": f"Observation/{answer.json()['id']}/_history/1"}]
    assert found["agent"][0]["who"]["display"] == name
    assert found["activity"]["coding"][0]["code"] == "CREATE"
    # Nobody asked for it, so the trail tells of the one write only.
    events = (await client.get(f"AuditEvent?entity=Observation/{answer.json()['id']}&action=C")).json()[
        "entry"
    ]
    assert len(events) == 1


async def test_who_has_a_user_or_says_it_themselves_is_not_witnessed(client: httpx.AsyncClient) -> None:
    await client.put("Observation/w1", json=observation("w1"))
    assert await targets(client, "w1") == []
    await client.put("Observation/w2", json=observation("w2"), headers=header(caller="lab"))
    (found,) = await targets(client, "w2")
    assert found["agent"][0]["who"]["display"] == "Röntgen"


async def test_where_it_came_from_keeps_nothing_from_being_deleted(client: httpx.AsyncClient) -> None:
    await client.put("Observation/d1", json=observation("d1"), headers={"x-caller": "lab"})
    assert (await client.delete("Observation/d1")).status_code == 204
    (found,) = await targets(client, "d1")
    assert (await client.get(found["target"][0]["reference"])).status_code == 200
    assert (await client.delete(f"Provenance/{found['id']}")).status_code == 204
