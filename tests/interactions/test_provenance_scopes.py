"""Whoever may create a Provenance may send X-Provenance, by whatever kind of scope; nobody else, and for nothing else."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from support.access import observation
from support.door import Door, Token
from support.smart import bearer

DOCTOR = {"role": "practitioner"}
PATIENT = {"role": "patient"}
BACKEND: dict[str, str] = {}
SELF = [{"who": {"reference": "Patient/ana"}}, {"who": {"display": "A scale"}}]
OTHER = [{"who": {"reference": "Practitioner/doc"}}]


async def send(who: Door, agents: Any, body: dict[str, Any]) -> httpx.Response:
    given = {"resourceType": "Provenance", "recorded": "2026-11-24T10:00:00Z", "agent": agents}
    headers = bearer(who.token) | {"x-provenance": json.dumps(given)}
    path = "" if body["resourceType"] == "Bundle" else f"/{body['resourceType']}"
    return await who.client.post(path, json=body, headers=headers)


async def count(door: Door, path: str) -> int:
    return int((await door.call("GET", f"/{path}&_total=accurate&_summary=count")).json()["total"])


@pytest.mark.parametrize(
    ("scopes", "who", "agents", "status"),
    [
        ("user/Observation.cr user/Provenance.c", DOCTOR, OTHER, 201),
        ("patient/Observation.cr patient/Provenance.c", DOCTOR, OTHER, 201),
        ("patient/Observation.cr user/Provenance.c", DOCTOR, OTHER, 201),
        ("user/Observation.cr patient/Provenance.c", DOCTOR, OTHER, 201),
        ("system/Observation.cr system/Provenance.c", BACKEND, OTHER, 201),
        # Patients write what the policy of their role names, and Provenance is not among it.
        ("patient/Observation.cr patient/Provenance.c", PATIENT, SELF, 403),
        ("patient/Observation.cr patient/Provenance.c", PATIENT, OTHER, 403),
        ("patient/Observation.cr", PATIENT, SELF, 403),
        ("user/Observation.cr user/Provenance.rs", DOCTOR, OTHER, 403),
        ("system/Observation.cr", BACKEND, OTHER, 403),
    ],
)
async def test_the_right_to_create_one_decides(
    door: Door, token: Token, scopes: str, who: dict[str, str], agents: Any, status: int
) -> None:
    root = await token("system/*.cruds", policy={"labels": ["*"]})
    caller = await token(scopes, **({} if who is BACKEND else {"patient": "ana", **who}))
    before = await count(root, "Observation?patient=ana"), await count(root, "Provenance?_id:missing=false")
    answer = await send(caller, agents, observation("ana"))
    assert answer.status_code == status, answer.text
    after = await count(root, "Observation?patient=ana"), await count(root, "Provenance?_id:missing=false")
    assert after == (before if status == 403 else (before[0] + 1, before[1] + 1))
    if status == 201:
        (found,) = (await root.call("GET", f"/Provenance?target=Observation/{answer.json()['id']}")).json()[
            "entry"
        ]
        assert found["resource"]["target"] == [{"reference": f"Observation/{answer.json()['id']}/_history/1"}]


async def test_under_patient_scopes_it_tells_of_nobody_else(door: Door, token: Token) -> None:
    """A person with user/ scopes for two records, and patient/Provenance.c for one of them."""
    caller = await token("user/Observation.cr patient/Provenance.c", patient="ana", role="practitioner")
    entries = [
        {"resource": observation(whose), "request": {"method": "POST", "url": "Observation"}}
        for whose in ("ana", "bob")
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert (await send(caller, OTHER, bundle)).status_code == 403
    assert (await send(caller, OTHER, observation("bob"))).status_code == 403
    assert (await send(caller, OTHER, bundle | {"entry": entries[:1]})).status_code == 200
