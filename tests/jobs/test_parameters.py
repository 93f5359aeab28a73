"""Search parameters of one's own: checked when they come in, indexed beside a running server, gone when they go."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fhirhub.definitions.tables import load
from fhirhub.settings import Settings
from fhirhub.store.verify import verify

pytestmark = pytest.mark.asyncio(loop_scope="module")
PETS = "http://example.org/pets"


def parameter(
    code: str, expression: str, kind: str = "token", base: str = "Patient", **more: Any
) -> dict[str, Any]:
    """An active SearchParameter."""
    return {
        "resourceType": "SearchParameter",
        "url": f"http://example.org/SearchParameter/{base}-{code}",
        "name": code,
        "status": "active",
        "description": "For tests.",
        "code": code,
        "base": [base],
        "type": kind,
        "expression": expression,
    } | more


def patient(pet: str, **more: Any) -> dict[str, Any]:
    extension = [{"url": PETS, "valueString": pet}]
    return {"resourceType": "Patient", "extension": extension, **more}


async def created(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    answer = await client.post(body["resourceType"], json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ready(client: httpx.AsyncClient, search: str, within: float = 30.0) -> httpx.Response:
    """The answer to ``search`` once its parameter can be used."""
    until = asyncio.get_running_loop().time() + within
    while True:
        answer = await client.get(search)
        if answer.status_code == 200 or asyncio.get_running_loop().time() > until:
            assert answer.status_code == 200, answer.text
            return answer
        await asyncio.sleep(0.05)


async def refused(client: httpx.AsyncClient, search: str, within: float = 30.0) -> httpx.Response:
    """The answer to ``search`` once its parameter is not known any more."""
    until = asyncio.get_running_loop().time() + within
    while True:
        answer = await client.get(search)
        if answer.status_code == 400 or asyncio.get_running_loop().time() > until:
            assert answer.status_code == 400, answer.text
            return answer
        await asyncio.sleep(0.05)


def ids(answer: httpx.Response) -> set[str]:
    return {entry["resource"]["id"] for entry in answer.json().get("entry", ()) if "id" in entry["resource"]}


async def claimed(client: httpx.AsyncClient, type: str) -> set[str]:
    statement = (await client.get("metadata")).json()
    (resource,) = [each for each in statement["rest"][0]["resource"] if each["type"] == type]
    return {each["name"] for each in resource["searchParam"]}


async def test_what_is_there_and_what_comes_is_found(client: httpx.AsyncClient, settings: Settings) -> None:
    before = {await created(client, patient("Rex", birthDate="2001-01-01")) for _ in range(3)}
    await created(client, patient("Tom"))
    changed = await created(client, patient("Tom"))
    assert (await client.get("Patient?pet=Rex")).status_code == 400
    id = await created(client, parameter("pet", f"Patient.extension('{PETS}')", "string"))
    found = ids(await ready(client, "Patient?pet=rex"))
    assert found == before
    assert "pet" in await claimed(client, "Patient")
    after = await created(client, patient("Rexona"))
    await client.put(f"Patient/{changed}", json=patient("Rexi", id=changed))
    assert ids(await client.get("Patient?pet=rex")) == before | {after, changed}
    assert ids(await client.get("Patient?pet:exact=Rexona&birthdate:missing=true")) == {after}
    assert len(ids(await client.get("Patient?pet:missing=false"))) == 6
    assert (await verify(settings.database_url or "", load())).disagreements == []

    await client.delete(f"SearchParameter/{id}")
    assert "has no search parameter" in (await refused(client, "Patient?pet=rex")).text
    assert "pet" not in await claimed(client, "Patient")
