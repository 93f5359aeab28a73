"""Every published R4 example goes in by the front door and comes back the same in value, digit for digit."""

from __future__ import annotations

import asyncio
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from fhirhub.app import create_app
from fhirhub.resource import json
from fhirhub.settings import Settings
from support.lifespan import running

ARCHIVE = Path(__file__).parents[1] / "data" / "r4-examples.zip"
JSON = {"content-type": "application/fhir+json"}
TOGETHER = 24
EXPONENTS = frozenset({"Observation/decimal"})
"""Examples with exponents, which come back written out: equal in value, with other digits."""


def examples() -> list[dict[str, Any]]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        lines = archive.read("core.ndjson").splitlines()
    found = [json.parse(line) for line in lines if line.strip()]
    # Those are for the server alone to record.
    return [document for document in found if document["resourceType"] != "AuditEvent"]


def without_version(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` without what the server assigns."""
    meta = {
        name: value
        for name, value in document.get("meta", {}).items()
        if name not in ("versionId", "lastUpdated")
    }
    rest = {name: value for name, value in document.items() if name not in ("id", "meta")}
    return {**rest, "meta": meta} if meta else rest


async def test_every_example_round_trips(settings: Settings) -> None:
    found = examples()
    assert len(found) > 700
    refused: list[str] = []
    changed: list[str] = []
    gate = asyncio.Semaphore(TOGETHER)
    async with running(create_app(replace(settings, referential_integrity=False))) as app:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver/fhir/") as client:

            async def one(document: dict[str, Any]) -> None:
                name = f"{document['resourceType']}/{document.get('id')}"
                async with gate:
                    made = await client.post(
                        document["resourceType"], content=json.dumps(document), headers=JSON
                    )
                    if made.status_code != 201:
                        refused.append(f"{name}: {made.text[:300]}")
                        return
                    read = await client.get(made.headers["location"])
                back = json.parse(read.content)
                back, document = without_version(back), without_version(document)
                if not json.equal(back, document, digits=name not in EXPONENTS):
                    changed.append(name)

            await asyncio.gather(*(one(document) for document in found))
    assert changed == []
    assert refused == []
