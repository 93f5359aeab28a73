"""The stamp of access moves with each commit that touches a consent, and with no other."""

from __future__ import annotations

import asyncpg
import httpx

from fhirhub.definitions.tables import load

_STAMP = "select version from access_stamp"


async def _put(client: httpx.AsyncClient, type: str, id: str, **more: object) -> None:
    answer = await client.put(f"/{type}/{id}", json={"resourceType": type, "id": id, **more})
    assert answer.status_code in (200, 201), answer.text


_CONSENT = {
    "scope": {"coding": [{"code": "patient-privacy"}]},
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
    "policyRule": {"coding": [{"code": "OPTIN"}]},
    "provision": {"type": "deny"},
}


async def test_the_stamp_moves_with_consents(client: httpx.AsyncClient, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        before = await connection.fetchval(_STAMP)
        await _put(client, "Patient", "stamp")
        assert await connection.fetchval(_STAMP) == before
        await _put(
            client, "Consent", "stamp", status="active", patient={"reference": "Patient/stamp"}, **_CONSENT
        )
        created = await connection.fetchval(_STAMP)
        assert created > before
        await _put(
            client, "Consent", "stamp", status="inactive", patient={"reference": "Patient/stamp"}, **_CONSENT
        )
        changed = await connection.fetchval(_STAMP)
        assert changed > created
        assert (await client.delete("/Consent/stamp")).status_code in (200, 204)
        deleted = await connection.fetchval(_STAMP)
        assert deleted > changed
        await _put(client, "PractitionerRole", "stamp", active=True)
        assert await connection.fetchval(_STAMP) > deleted
    finally:
        await connection.close()


async def test_one_commit_moves_it_once(dsn: str, client: httpx.AsyncClient) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        before = await connection.fetchval(_STAMP)
        entries = [
            {
                "resource": {"resourceType": "PractitionerRole", "id": f"many-{n}"},
                "request": {"method": "PUT", "url": f"PractitionerRole/many-{n}"},
            }
            for n in range(5)
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        assert (await client.post("", json=bundle)).status_code == 200
        assert await connection.fetchval(_STAMP) == before + 1
    finally:
        await connection.close()


def test_the_trigger_names_the_right_types() -> None:
    numbers = load().type_number
    assert (numbers["Consent"], numbers["PractitionerRole"]) == (29, 109)
