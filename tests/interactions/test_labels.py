"""Security labels stay where they are until somebody says otherwise, and what holds labelled resources is labelled."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from support.access import observation, patient
from support.door import V3, Door, Token
from support.smart import bearer

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
RESTRICTED = {"system": V3, "code": "R"}
VERY = {"system": V3, "code": "V"}
NORMAL = {"system": V3, "code": "N"}
OTHER_TAG = {"tag": [{"system": "urn:x", "code": "y"}]}


async def send(door: Door, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    sent = bearer(door.token) | {"content-type": "application/fhir+json"} | headers
    return await door.client.request(method, path, content=json.dumps(body), headers=sent)


async def labels(door: Door, path: str) -> Any:
    return (await door.call("GET", f"/{path}")).json()["meta"].get("security")


async def put(door: Door, id: str, **more: Any) -> httpx.Response:
    return await door.put(observation("ana", id=id, **more))


async def test_an_update_that_says_nothing_of_labels_keeps_them(door: Door, token: Token) -> None:
    assert (await put(door, "kept", meta={"security": [RESTRICTED]})).status_code == 201
    for n, meta in enumerate(({}, {"meta": OTHER_TAG}, {"meta": {"profile": ["urn:p"]}})):
        answer = await put(door, "kept", status="amended", note=[{"text": f"{n}"}], **meta)
        assert answer.status_code == 200, answer.text
        shown = answer.json()["meta"]
        assert shown["security"] == [RESTRICTED]
        assert {name: shown.get(name) for name in meta.get("meta", {})} == meta.get("meta", {})
        assert await labels(door, "Observation/kept") == [RESTRICTED]
    service = await token("system/*.rs")
    assert (await service.call("GET", "/Observation/kept")).status_code == 404
    found = (await service.call("GET", "/Observation?_id=kept")).json()
    assert not found.get("entry")


async def test_nothing_changes_by_an_update_with_the_same_but_the_labels(door: Door) -> None:
    assert (await put(door, "same", meta={"security": [RESTRICTED]})).status_code == 201
    answer = await put(door, "same")
    assert answer.json()["meta"]["versionId"] == "1"


async def test_labels_are_changed_by_who_names_them(door: Door) -> None:
    assert (await put(door, "named", meta={"security": [RESTRICTED]})).status_code == 201
    assert (await put(door, "named", meta={"security": [NORMAL]})).status_code == 200
    assert await labels(door, "Observation/named") == [NORMAL]
    patch = [{"op": "remove", "path": "/meta/security"}]
    kind = {"content-type": "application/json-patch+json"}
    answer = await send(door, "PATCH", "/Observation/named", patch, **kind)
    assert answer.status_code == 200, answer.text
    assert await labels(door, "Observation/named") is None


async def test_the_other_ways_to_update_keep_labels_too(door: Door) -> None:
    identifier = [{"system": "urn:labels", "value": "1"}]
    assert (
        await put(door, "ways", identifier=identifier, meta={"security": [RESTRICTED]})
    ).status_code == 201
    body = observation("ana", id="ways", identifier=identifier, note=[{"text": "conditional"}])
    assert (await send(door, "PUT", "/Observation?identifier=urn:labels|1", body)).status_code == 200
    assert await labels(door, "Observation/ways") == [RESTRICTED]
    for kind, url in (("transaction", "Observation/ways"), ("batch", "Observation?identifier=urn:labels|1")):
        entry = {"resource": {**body, "note": [{"text": kind}]}, "request": {"method": "PUT", "url": url}}
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
        answer = await send(door, "POST", "", bundle)
        assert answer.json()["entry"][0]["response"]["status"].startswith("200"), answer.text
        assert await labels(door, "Observation/ways") == [RESTRICTED]
    kind = {"content-type": "application/json-patch+json"}
    answer = await send(door, "PATCH", "/Observation/ways", [{"op": "remove", "path": "/note"}], **kind)
    assert answer.status_code == 200
    assert await labels(door, "Observation/ways") == [RESTRICTED]


async def test_what_has_no_labels_gets_none(door: Door) -> None:
    assert (await put(door, "unlabelled", meta=OTHER_TAG)).status_code == 201
    assert (await put(door, "unlabelled", status="amended")).status_code == 200
    assert (await door.call("GET", "/Observation/plain")).json()["meta"].keys() == {
        "versionId",
        "lastUpdated",
    }


def document(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Bundle that is stored as such."""
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"urn:uuid:0b8d5a56-3b7c-4f0b-9a39-0d3e5a6f7c{n:02}", "resource": each}
                  for n, each in enumerate(entries)],
        **more,
    }  # fmt: skip


def labelled(*security: dict[str, str]) -> dict[str, Any]:
    return observation("ana", meta={"security": list(security)})


@pytest.mark.parametrize(
    ("inside", "own", "status"),
    [
        ([], [], 201),
        ([NORMAL], [], 201),
        ([RESTRICTED], [], 422),
        ([RESTRICTED], [RESTRICTED], 201),
        ([RESTRICTED], [{"code": "R"}], 201),
        ([{"code": "R"}], [{"system": "urn:other", "code": "R"}], 422),
        ([RESTRICTED], [VERY], 201),
        ([VERY], [RESTRICTED], 422),
        ([{"system": ACT, "code": "PSYTHPN"}], [VERY], 422),
        ([VERY], [{"system": ACT, "code": "42CFRPart2"}], 201),
        ([NORMAL, VERY], [VERY, NORMAL], 201),
    ],
)
async def test_a_stored_bundle_is_as_protected_as_what_is_in_it(
    door: Door, inside: list[dict[str, str]], own: list[dict[str, str]], status: int
) -> None:
    meta = {"meta": {"security": own}} if own else {}
    within = document(observation("ana"), labelled(*inside)) if inside else document(observation("ana"))
    for body in (within | meta, document(within) | meta):
        answer = await send(door, "POST", "/Bundle", body)
        assert answer.status_code == status, answer.text
        if status == 422:
            text = answer.json()["issue"][0]["diagnostics"]
            assert "meta.security" in text and ".resource carries a security label" in text, text


async def test_a_bundle_cannot_lose_its_label(door: Door) -> None:
    bundle = document(labelled(RESTRICTED)) | {"id": "held"}
    assert (await door.put(bundle | {"meta": {"security": [RESTRICTED]}})).status_code == 201
    kind = {"content-type": "application/json-patch+json"}
    patch = [{"op": "remove", "path": "/meta/security"}]
    assert (await send(door, "PATCH", "/Bundle/held", patch, **kind)).status_code == 422
    answer = await door.put(bundle | {"timestamp": "2026-11-24T10:00:00Z"})
    assert answer.status_code == 200
    assert await labels(door, "Bundle/held") == [RESTRICTED]


async def test_a_consent_keeps_what_tells_of_a_record_with_it(door: Door, token: Token) -> None:
    """Whose record is denied to somebody, of whose resources no Provenance is seen either."""
    for id, target in (("of-ana", "Observation/plain/_history/1"), ("of-bob", "Observation/bobs")):
        told = {
            "resourceType": "Provenance", "id": id, "target": [{"reference": target}],
            "recorded": "2026-11-24T10:00:00Z", "agent": [{"who": {"display": "x"}}],
        }  # fmt: skip
        assert (await door.put(told)).status_code == 201
    other = await token(fhir_user="Practitioner/other")
    assert await other.sees("/Provenance/of-ana")
    consent = {
        "resourceType": "Consent", "id": "not-other-either", "status": "active", "patient": patient("ana"),
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": {"coding": [{"code": "OPTIN"}]},
        "provision": {
            "type": "deny",
            "actor": [{"role": {"text": "recipient"}, "reference": {"reference": "Practitioner/other"}}],
        },
    }  # fmt: skip
    assert (await door.put(consent)).status_code == 201
    assert not await other.sees("/Provenance/of-ana")
    assert await other.sees("/Provenance/of-bob")
    for path, shown in (("of-ana", 404), ("of-bob", 200)):
        for version in ("/_history", "/_history/1"):
            assert (await other.call("GET", f"/Provenance/{path}{version}")).status_code == shown
    assert (await door.put(consent | {"status": "inactive"})).status_code == 200
    assert await other.sees("/Provenance/of-ana")
