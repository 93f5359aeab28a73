"""Attachments kept as Binary: read by whoever may read the resource that they name as their context."""

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
    app = create_app(replace(settings, no_auth=False, data_dir=tmp_path_factory.mktemp("keys")))
    async with running(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as client:
            yield client


async def test_a_binary_goes_by_its_context(guarded: httpx.AsyncClient, settings: Settings) -> None:
    dsn = settings.database_url or ""
    system = bearer(await issue(dsn, "system/*.cruds"))
    for who in ("p1", "p2"):
        note = {
            "resourceType": "DocumentReference", "id": f"note-{who}", "status": "current",
            "subject": {"reference": f"Patient/{who}"}, "content": [{"attachment": {"url": f"Binary/b-{who}"}}],
        }  # fmt: skip
        content = {
            "resourceType": "Binary", "id": f"b-{who}", "contentType": "text/plain", "data": "aGVsbG8=",
            "securityContext": {"display": "the note", "reference": f"DocumentReference/note-{who}"},
        }  # fmt: skip
        loose = {
            "resourceType": "Binary",
            "id": f"loose-{who}",
            "contentType": "text/plain",
            "data": "aGVsbG8=",
        }
        for body in ({"resourceType": "Patient", "id": who}, note, content, loose):
            url = f"{body['resourceType']}/{body['id']}"
            assert (await guarded.put(url, json=body, headers=system)).status_code == 201, url
    patient = bearer(await issue(dsn, "patient/*.rs", patient="p1", role="patient", fhir_user="Patient/p1"))

    async def told(url: str, **headers: str) -> int:
        return (await guarded.get(url, headers=patient | headers)).status_code

    assert await told("Binary/b-p1") == 200
    raw = await guarded.get("Binary/b-p1", headers=patient | {"accept": "text/plain"})
    assert raw.content == b"hello" and raw.headers["content-type"].startswith("text/plain")
    for hidden in (
        "Binary/b-p2",
        "Binary/loose-p1",
        "Binary/nobody",
        "Binary/b-p2/_history",
        "Binary/b-p2/_history/1",
    ):
        assert await told(hidden) == 404, hidden
    assert await told("Binary/b-p2", accept="text/plain") == 404
    found = await guarded.get("Binary?_id=b-p1,b-p2", headers=patient)
    assert found.status_code == 200 and "entry" not in found.json()
    notes_only = bearer(
        await issue(dsn, "patient/DocumentReference.rs", patient="p1", fhir_user="Patient/p1", role="patient")
    )
    assert (await guarded.get("Binary/b-p1", headers=notes_only)).status_code == 403
    files_only = bearer(
        await issue(dsn, "patient/Binary.rs", patient="p1", fhir_user="Patient/p1", role="patient")
    )
    assert (await guarded.get("Binary/b-p1", headers=files_only)).status_code == 404
