"""``Prefer: respond-async``: the answer is worked out while nobody waits, and kept for whoever asked."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fhirhub.errors import TooManyRequests
from fhirhub.store.background import EACH

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASYNC = {"prefer": "respond-async"}


async def settled(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The status of a job once it is not 202 any more."""
    for _ in range(400):
        answer = await client.get(url)
        if answer.status_code != 202:
            return answer
        assert answer.headers["x-progress"] and answer.headers["retry-after"]
        await asyncio.sleep(0.05)
    raise AssertionError("the job does not end")


async def begun(client: httpx.AsyncClient, search: str) -> str:
    answer = await client.get(search, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return answer.headers["content-location"]


async def test_a_search_is_answered_later(client: httpx.AsyncClient) -> None:
    await client.put("Patient/a", json={"resourceType": "Patient", "id": "a", "active": True})
    for search in (
        "Patient?active=true",
        "?_type=Patient&active=true",
        "Patient/a/*",
        "Patient/a/$everything",
    ):
        url = await begun(client, search)
        assert url.startswith("http://testserver/fhir/$async-status?job=")
        answer = (await settled(client, url)).json()
        assert answer["type"] == "batch-response"
        (entry,) = answer["entry"]
        assert entry["response"]["status"] == "200 OK"
        now = (await client.get(search)).json()
        assert entry["resource"]["type"] == "searchset"
        assert entry["resource"]["entry"] == now["entry"]


async def test_an_error_is_an_answer_too(client: httpx.AsyncClient) -> None:
    answer = (await settled(client, await begun(client, "Patient?nonsense=1"))).json()
    (entry,) = answer["entry"]
    assert entry["response"]["status"] == "400 Bad Request"
    assert "nonsense" in entry["response"]["outcome"]["issue"][0]["details"]["text"]


async def test_cancelled_it_is_gone(client: httpx.AsyncClient) -> None:
    url = await begun(client, "Patient?active=true")
    await settled(client, url)
    assert (await client.delete(url)).status_code == 202
    assert (await client.get(url)).status_code == 404
    assert (await client.delete(url.replace("job=", "job=x"))).status_code == 404
    assert (await client.get("$async-status")).status_code == 400


async def test_reindex_tells_how_far_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("$reindex")).status_code == 405
    answer = await client.post("$reindex?_type=Patient")
    assert answer.status_code == 202, answer.text
    done = (await settled(client, answer.headers["content-location"])).json()
    assert done["entry"][0]["response"]["status"] == "200 OK"
    assert "1 resources" in done["entry"][0]["resource"]["issue"][0]["details"]["text"]
    assert (await client.post("$reindex?_type=Pet")).status_code == 400
    assert (await client.post("$reindex?x=1")).status_code == 400


async def test_one_caller_does_not_take_all_places(client: httpx.AsyncClient, app: Any) -> None:
    background = app.hub.background
    gate = asyncio.Event()

    async def work() -> bytes:
        await gate.wait()
        return b"{}"

    for _ in range(EACH):
        await background.begin("one", work)
    with pytest.raises(TooManyRequests, match="waiting"):
        await background.begin("one", work)
    await background.begin("another", work)
    gate.set()
    for _ in range(200):
        if not background._running:
            break
        await asyncio.sleep(0.02)
    await background.begin("one", work)
