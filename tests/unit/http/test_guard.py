"""A server for this machine answers to the names of this machine only."""

from __future__ import annotations

import httpx
import pytest

from fhirhub.http.guard import Guard
from fhirhub.http.request import Receive, Scope, Send


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def _status(host: str) -> tuple[int, str]:
    transport = httpx.ASGITransport(app=Guard(_hello))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/fhir/Patient/1", headers={"host": host})
        return answer.status_code, answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:80", "[::1]"]
)
async def test_names_of_this_machine(host: str) -> None:
    assert await _status(host) == (200, "hello")


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8080",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "127.0.example.org",
        "127.evil.example.org:8080",
        "[::1]evil.example.org",
        "10.0.0.1",
        "[::2]:80",
    ],
)
async def test_other_names(host: str) -> None:
    status, text = await _status(host)
    assert status == 421
    assert "OperationOutcome" in text
