"""Every interaction leaves one row in the audit trail, before its answer leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest_asyncio

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.lifespan import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def audited(settings: Settings, tmp_path_factory: Any) -> AsyncIterator[httpx.AsyncClient]:
    home: Path = tmp_path_factory.mktemp("keys")
    app = create_app(replace(settings, audit="on", data_dir=home))
    async with running(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as client:
            yield client


async def rows(settings: Settings, request: str) -> list[tuple[Any, ...]]:
    """What the trail tells of the request with this id."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        found = await connection.fetch(
            "select interaction, type, id, status, patients from audit where request = $1"
            " and (kind = 'checkpoint' or detail->>'address' = '127.0.0.1') order by chain, seq",
            request,
        )
    finally:
        await connection.close()
    return [tuple(row) for row in found]


async def test_each_interaction_is_told_of_once(audited: httpx.AsyncClient, settings: Settings) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Trail"}]}
    observation = {
        "resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/p1"},
    }  # fmt: skip
    transaction = {
        "resourceType": "Bundle", "type": "transaction",
        "entry": [
            {"resource": observation, "request": {"method": "PUT", "url": "Observation/o1"}},
            {"request": {"method": "GET", "url": "Patient/p1"}},
        ],
    }  # fmt: skip
    batch = {
        "resourceType": "Bundle", "type": "batch",
        "entry": [
            {"request": {"method": "GET", "url": "Observation?patient=p1"}},
            {"request": {"method": "GET", "url": "Patient/nobody"}},
            {"request": {"method": "DELETE", "url": "Observation/o1"}},
        ],
    }  # fmt: skip
    steps: list[tuple[str, str, Any, list[tuple[Any, ...]]]] = [
        ("PUT", "Patient/p1", patient, [("update", "Patient", "p1", 201, ["p1"])]),
        ("GET", "Patient/p1", None, [("read", "Patient", "p1", 200, ["p1"])]),
        ("GET", "Patient/p2", None, [("read", "Patient", "p2", 404, ["p2"])]),
        ("GET", "Patient?name=trail", None, [("search-type", "Patient", "", 200, ["p1"])]),
        ("POST", "", transaction, [
            ("update", "Observation", "o1", 201, ["p1"]), ("read", "Patient", "p1", 200, ["p1"]),
        ]),
        ("GET", "Observation/o1/_history", None, [("history-instance", "Observation", "o1", 200, ["p1"])]),
        ("GET", "Patient/p1/$everything", None, [("$everything", "Patient", "p1", 200, ["p1"])]),
        ("PUT", "Patient/p1", {"resourceType": "Observation"}, [("update", "Patient", "p1", 400, ["p1"])]),
        ("GET", "Nothing/1", None, [("refused", "Nothing", "1", 404, [])]),
        ("POST", "", batch, [
            ("delete", "Observation", "o1", 204, ["p1"]), ("read", "Patient", "nobody", 404, ["nobody"]),
            ("search-type", "Observation", "", 200, []),
        ]),
    ]  # fmt: skip
    for number, (method, url, body, expected) in enumerate(steps):
        request = f"step-{number}"
        answer = await audited.request(method, url, json=body, headers={"x-request-id": request})
        assert answer.status_code < 500, answer.text
        told = [row for row in await rows(settings, request) if row[0] != "checkpoint"]
        assert sorted(told, key=repr) == sorted(expected, key=repr), (method, url)
