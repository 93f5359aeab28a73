"""What must hold across worker processes, which share nothing but the database."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from support.process import Server

pytestmark = pytest.mark.process


async def test_fifty_conditional_creates_make_one(server: Server) -> None:
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:race", "value": "1"}]}

    async def create() -> httpx.Response:
        # A connection for each request, so that the kernel spreads them over the workers.
        async with httpx.AsyncClient(base_url=f"{server.base}/") as client:
            return await client.post("Patient", json=body, headers={"if-none-exist": "identifier=urn:race|1"})

    answers = await asyncio.gather(*(create() for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_pages_made_by_one_worker_are_read_by_another(server: Server) -> None:
    async with httpx.AsyncClient(base_url=f"{server.base}/") as client:
        for number in range(6):
            await client.post("Basic", json={"resourceType": "Basic", "code": {"text": str(number)}})
    url = f"{server.base}/Basic?_count=1"
    found: list[str] = []
    while url:
        async with httpx.AsyncClient() as client:
            page = (await client.get(url)).json()
        found += [entry["resource"]["id"] for entry in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert len(found) == len(set(found)) == 6
