"""What was deleted, to callers who see a part of everything: gone for whose it was, absent for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.lifespan import running
from support.smart import bearer, issue


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    home = tmp_path_factory.mktemp("keys")
    app = create_app(replace(settings, no_auth=False, data_dir=home))
    async with running(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as client:
            yield client


async def test_a_deleted_resource_is_gone_for_whom_it_was_visible(
    guarded: httpx.AsyncClient, settings: Settings
) -> None:
    dsn = settings.database_url or ""
    system = bearer(await issue(dsn, "system/*.cruds"))
    for id in ("d1", "d2"):
        body = {"resourceType": "Patient", "id": id, "name": [{"family": id}]}
        assert (await guarded.put(f"Patient/{id}", json=body, headers=system)).status_code == 201
        observation = {
            "resourceType": "Observation", "id": f"o-{id}", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id}"},
        }  # fmt: skip
        assert (await guarded.put(f"Observation/o-{id}", json=observation, headers=system)).status_code == 201
        assert (await guarded.delete(f"Observation/o-{id}", headers=system)).status_code == 204
        assert (await guarded.get(f"Observation/o-{id}", headers=system)).status_code == 410
    patient = bearer(await issue(dsn, "patient/*.rs", patient="d1", role="patient", fhir_user="Patient/d1"))
    for url, own, other in (
        ("Observation/o-{}", 410, 404),
        ("Observation/o-{}/_history", 200, 404),
        ("Observation/o-{}/_history/1", 200, 404),
        ("Observation/o-{}/_history/2", 410, 404),
    ):
        assert (await guarded.get(url.format("d1"), headers=patient)).status_code == own, url
        assert (await guarded.get(url.format("d2"), headers=patient)).status_code == other, url
    again = {
        "resourceType": "Observation", "id": "o-d1", "status": "final", "code": {"text": "again"},
        "subject": {"reference": "Patient/d1"},
    }  # fmt: skip
    answer = await guarded.put("Observation/o-d1", json=again, headers=system)
    assert answer.status_code == 201 and answer.json()["meta"]["versionId"] == "3"


async def test_the_history_of_many_leaves_out_what_is_labelled(
    guarded: httpx.AsyncClient, settings: Settings
) -> None:
    dsn = settings.database_url or ""
    system = bearer(await issue(dsn, "system/*.cruds"))
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "V"}
    plain = {"resourceType": "Basic", "code": {"text": "x"}}
    made = []
    for body in (plain, plain | {"meta": {"security": [label]}}):
        answer = await guarded.post("Basic", json=body, headers=system)
        assert answer.status_code == 201
        made.append(answer.headers["location"].split("/")[-3])
    answer = await guarded.get("Basic/_history", headers=system)
    assert [each["resource"]["id"] for each in answer.json()["entry"]] == made[:1]
    assert (await guarded.get(f"Basic/{made[0]}", headers=system)).status_code == 200
    assert (await guarded.get(f"Basic/{made[1]}", headers=system)).status_code == 404
