"""A patch that asks what a resource holds takes the right to read it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from support.access import observation
from support.door import Door, Token
from support.smart import bearer

JSON = {"content-type": "application/json-patch+json"}
FHIR = {"content-type": "application/fhir+json"}
NOTE = [{"text": "private"}]


def _json(*operations: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    return json.dumps(operations).encode(), JSON


def _path(path: str, value: str = "amended", kind: str = "replace") -> tuple[bytes, dict[str, str]]:
    parts = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    if kind == "replace":
        parts.append({"name": "value", "valueCode": value})
    operation = {"name": "operation", "part": parts}
    return json.dumps({"resourceType": "Parameters", "parameter": [operation]}).encode(), FHIR


REPLACE = {"op": "replace", "path": "/status", "value": "amended"}
TEST = {"op": "test", "path": "/note/0/text"}
ASKING = {
    "a test that holds": _json({**TEST, "value": "private"}, REPLACE),
    "a test that fails": _json(REPLACE, {**TEST, "value": "something else"}),
    "a path with a condition": _path("Observation.note.where(text='private')", kind="delete"),
    "a path with a condition deep inside": _path("Observation.code.coding.where(code='x').system", kind="delete"),
}  # fmt: skip
PLAIN = {"a replacement": _json(REPLACE), "a path": _path("Observation.status")}


def _transaction(patch: tuple[bytes, dict[str, str]], url: str) -> dict[str, Any]:
    body, headers = patch
    wrapped = {
        "resourceType": "Binary",
        "contentType": JSON["content-type"],
        "data": base64.b64encode(body).decode(),
    }
    resource = wrapped if headers is JSON else json.loads(body)
    entry = {"resource": resource, "request": {"method": "PATCH", "url": url}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


async def _patch(door: Door, url: str, patch: tuple[bytes, dict[str, str]]) -> httpx.Response:
    body, headers = patch
    return await door.client.request("PATCH", url, content=body, headers=bearer(door.token) | headers)


async def _fresh(door: Door, **more: Any) -> None:
    document = observation(
        "ana", id="patched", note=NOTE, identifier=[{"system": "urn:p", "value": "1"}], **more
    )
    assert (await door.put(document)).status_code in (200, 201)


@pytest.mark.parametrize("form", ASKING)
async def test_who_may_not_read_may_not_ask(door: Door, token: Token, form: str) -> None:
    await _fresh(door)
    writer = await token("user/Observation.us", fhir_user="Practitioner/doc")
    reader = await token("user/Observation.rus", fhir_user="Practitioner/doc")
    for url in ("/Observation/patched", "/Observation?identifier=urn:p|1"):
        refused = await _patch(writer, url, ASKING[form])
        assert refused.status_code == 403, refused.text
        assert "user/Observation.r" in refused.text
        assert "private" not in refused.text
        whole = await writer.call("POST", "", _transaction(ASKING[form], url.removeprefix("/")))
        assert whole.status_code == 403, whole.text
        assert "user/Observation.r" in whole.text
        asked = await _patch(reader, url, ASKING[form])
        assert asked.status_code in (200, 422), asked.text
        await _fresh(door)
    absent = await _patch(writer, "/Observation/nowhere", ASKING[form])
    assert absent.status_code == 403


@pytest.mark.parametrize("form", PLAIN)
async def test_a_patch_that_does_not_ask_takes_the_right_to_change_alone(
    door: Door, token: Token, form: str
) -> None:
    await _fresh(door)
    writer = await token("user/Observation.us", fhir_user="Practitioner/doc")
    assert (await _patch(writer, "/Observation/patched", PLAIN[form])).status_code == 200
    answer = await writer.call("POST", "", _transaction(PLAIN[form], "Observation/patched"))
    assert answer.status_code == 200, answer.text


async def test_the_right_to_read_has_to_reach_the_resource(door: Door, token: Token) -> None:
    vital = {"coding": [{"system": "urn:kinds", "code": "vital"}]}
    scopes = "user/Observation.us user/Observation.r?category=urn:kinds|vital"
    writer = await token(scopes, fhir_user="Practitioner/doc")
    for category, status in (([], 403), ([vital], 200)):
        await _fresh(door, **({"category": category} if category else {}))
        for url in ("/Observation/patched", "/Observation?identifier=urn:p|1"):
            answer = await _patch(writer, url, ASKING["a test that holds"])
            assert answer.status_code == status, answer.text
        whole = await writer.call(
            "POST", "", _transaction(ASKING["a test that holds"], "Observation/patched")
        )
        assert whole.status_code == status, whole.text
