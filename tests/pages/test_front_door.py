"""The pages where they really are: in the app that serves FHIR, on its record, its policies and its audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from fhirhub.app import create_app
from fhirhub.settings import Settings
from fhirhub.smart.passwords import Passwords
from fhirhub.smart.people import now
from fhirhub.smart.storage.accounts import Accounts
from support.browsing import Browser
from support.lifespan import running
from support.site import GOOD
from support.smart import bearer, issue, lane_to

PEOPLE = (
    ("dr", "practitioner", "Practitioner/1"),
    ("ada", "patient", "Patient/ada"),
    ("boss", "admin", None),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(dsn: str, tmp_path_factory: Any) -> AsyncIterator[Any]:
    async with lane_to(dsn) as lane:
        for name, role, fhir_user in PEOPLE:
            await Accounts(lane, now).add(name, role, fhir_user, await Passwords().hash(GOOD))
    settings = Settings(database_url=dsn, data_dir=tmp_path_factory.mktemp("keys"), log_level="error")
    async with running(create_app(settings)) as started:
        yield started


async def _in(app: Any, name: str) -> Browser:
    browser = Browser(app)
    await browser.sign_in(name, GOOD)
    assert "Sign out" in browser.page.text
    return browser


async def test_a_look_is_seen_by_patient_and_administrator(app: Any, dsn: str) -> None:
    token = await issue(dsn, "user/Patient.cruds", username="dr")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver/fhir") as client:
        patient = {"resourceType": "Patient", "id": "ada", "name": [{"family": "Adams", "given": ["Ada"]}]}
        made = await client.put("Patient/ada", json=patient, headers=bearer(token))
        assert made.status_code == 201, made.text
        read = await client.get("Patient/ada", headers=bearer(token))
        assert read.status_code == 200 and (await client.get("Patient/ada")).status_code == 401
    page = await (await _in(app, "ada")).get("/account/access")
    assert "dr (practitioner)" in page.text and "looked at Patient/ada" in page.text
    boss = await _in(app, "boss")
    page = await boss.get("/admin/audit?patient=ada")
    assert "looked at Patient/ada" in page.text and read.headers["x-request-id"] in page.text
    assert "signed in" in (await boss.get("/admin/audit?user=ada")).text
    assert "No event is on record" in (await boss.get("/admin/audit?user=nobody")).text
    assert "looked through the audit trail" in (await boss.get("/admin/audit?user=boss")).text


async def test_the_policy_is_shown(app: Any) -> None:
    page = await (await _in(app, "boss")).get("/admin/roles?role=practitioner")
    assert '<th scope="row">Observation</th>' in page.text and "practitioner rule" in page.text
