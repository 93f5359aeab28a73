"""Hundreds of requests made to hurt: never a 5xx, and what is refused is refused with an OperationOutcome."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

SEED = 20261124
REQUESTS = 900

NASTY = [
    "", " ", "'", '"', "';drop table resource;--", "' or 1=1 --", "$$", "\\", "%", "%00", "\x00", "\x1f", "\u202e", "😀" * 50,
    "a" * 3000, "../../etc/passwd", "..", ".", "-", "_", "$", "|", "||", "|||", "a|b|c|d", "\\|", "\\$", "\\,", ",", ",,,", "$a$b",
    "0", "-1", "1e400", "1e-400", "-0.0", "NaN", "Infinity", "9" * 400, "0x10", "1_000", "٣", "2020-02-30", "0000", "9999-12-31",
    "10000-01-01", "2020-01-01T25:00:00Z", "2020-01-01T00:00:00+99:99", "ge", "gege2020", "eq", "ap1e308", "true", "null", "[]", "{}",
    "<script>alert(1)</script>", "Patient/1", "Patient/", "/Patient", "http://[::1", "urn:uuid:", "#", "#x", "Patient?name=x",
    "select pg_sleep(10)", "${jndi:ldap://x}", "{{7*7}}", "\ufeff", "\ud7ff", "a\nb", "\r\nSet-Cookie: x=1",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
TYPES = [
    "Patient",
    "Observation",
    "Encounter",
    "Bundle",
    "Binary",
    "Parameters",
    "Nonsense",
    "patient",
    "Claim",
]
STEPS = [
    "_history",
    "_search",
    "metadata",
    "$everything",
    "$",
    "_history/1",
    "_history/0",
    "_history/-1",
    "x",
    "x/_history/1",
]
NAMES = [
    "name", "_id", "birthdate", "value-quantity", "code", "subject", "subject:Patient.name", "patient.organization.name", "_has:Observation:patient:code",
    "_has:", "_has:a:b:c:d:e", "_sort", "_count", "_total", "_include", "_revinclude", "_summary", "_elements", "_format", "_pretty", "_cursor", "_since",
    "_at", "_type", "_lastUpdated", "_tag", "_text", "_content", "_filter", "name:exact", "name:contains", "name:missing", "name:nonsense", "code:not",
    "code:in", "identifier:of-type", "subject:identifier", "component-code-value-quantity", ":", ":x", "", "near", "url", "_list", "_contained",
]  # fmt: skip
HEADERS = ["if-match", "if-none-match", "if-modified-since", "if-none-exist", "prefer", "accept", "accept-encoding", "content-type",
           "content-encoding", "x-request-id", "origin", "host", "access-control-request-method"]  # fmt: skip
MEDIA = [
    "application/fhir+json",
    "application/fhir+xml",
    "application/json-patch+json",
    "application/x-www-form-urlencoded",
    "text/xml",
]


def nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + closing * depth


def bodies(chance: random.Random) -> Iterator[bytes]:
    good = {"resourceType": "Patient", "id": "x", "name": [{"family": "x"}]}
    while True:
        nasty = chance.choice(NASTY)
        yield from (
            b"",
            json.dumps(nasty).encode(),
            json.dumps({**good, chance.choice(["id", "name", "birthDate", "extension", "contained", "text", "meta"]): nasty}).encode(),
            json.dumps({**good, "name": [{"family": nasty, "given": [nasty, None, 1, {}]}]}).encode("utf-8", "surrogatepass"),
            json.dumps({"resourceType": nasty}).encode(),
            json.dumps([{"op": nasty, "path": nasty, "value": nasty}]).encode(),
            json.dumps([{"op": "add", "path": chance.choice(["/id", "", "/name/-", "/name/99999999999", "/~2", nasty]), "value": nasty}]).encode(),
            json.dumps({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
                {"name": "type", "valueCode": "add"}, {"name": "path", "valueString": nasty}, {"name": "name", "valueString": nasty}]}]}).encode(),
            json.dumps({"resourceType": "Bundle", "type": chance.choice(["batch", "transaction", nasty]), "entry": [
                {"fullUrl": nasty, "resource": chance.choice([good, {}, [], None, nasty]),
                 "request": {"method": chance.choice([*METHODS, nasty]), "url": chance.choice(["Patient", "Patient/x", f"Patient?name={nasty}", nasty]),
                             "ifMatch": nasty, "ifNoneExist": nasty}}]}).encode(),
            b'{"resourceType":"Patient","a":' + nested(150, "[", "]").encode() + b"}",
            b'{"resourceType":"Patient","a":' + nested(5000, '{"a":', "}").replace("}{", "}").encode(),
            b"[" * 100_000,
            b'{"resourceType":"Patient","name":[{"family":"\xff\xfe"}]}',
            b'{"resourceType":"Patient","gender":"\\ud800"}',
            b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1e99999}}',
            b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueInteger":' + b"9" * 5000 + b"}",
            b'{"resourceType":"Patient","resourceType":"Patient"}',
            b'<Patient xmlns="http://hl7.org/fhir"><id value="' + quote(nasty).encode() + b'"/></Patient>',
            b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><Patient xmlns="http://hl7.org/fhir"><id value="&c;"/></Patient>',
            b"<a>" * 5000,
            f"name={quote(nasty)}&_count={quote(nasty)}".encode(),
        )  # fmt: skip


def requests() -> Iterator[dict[str, Any]]:
    chance = random.Random(SEED)
    made = bodies(chance)
    for _ in range(REQUESTS):
        type = chance.choice(TYPES)
        path = chance.choice(
            [
                *(type, type, f"{type}/x", f"{type}/_search", ""),
                f"{type}/{quote(chance.choice(NASTY), safe='')}",
                f"{type}/{chance.choice(STEPS)}",
                f"{type}/x/{chance.choice(STEPS)}",
                chance.choice(STEPS),
                quote(chance.choice(NASTY), safe=""),
            ]
        )
        query = "&".join(
            f"{quote(chance.choice(NAMES), safe=':')}={quote(chance.choice(NASTY), safe=':/')}"
            for _ in range(chance.randrange(3))
        )
        media = MEDIA[0] if chance.random() < 0.6 else chance.choice(MEDIA)
        headers = [(b"content-type", media.encode())] if chance.random() < 0.95 else []
        for name in chance.sample(HEADERS, chance.choice((0, 0, 0, 1, 2))):
            value = chance.choice(NASTY).encode("utf-8", "surrogatepass")
            headers.append((name.encode(), bytes(byte for byte in value if byte not in (0, 10, 13))))
        method = chance.choice(METHODS if chance.random() < 0.15 else ["GET", "GET", "POST", "PUT", "PATCH"])
        body = next(made) if method in ("POST", "PUT", "PATCH", "DELETE") else b""
        yield {"method": method, "path": path, "query": query, "headers": headers, "body": body}


@pytest.fixture(scope="module")
def hostile() -> list[dict[str, Any]]:
    return list(requests())


async def test_nothing_breaks(app: Any, client: httpx.AsyncClient, hostile: list[dict[str, Any]]) -> None:
    """Straight into the ASGI app: an HTTP client would not let half of it through."""
    await client.put("Patient/x", json={"resourceType": "Patient", "id": "x"})
    refused = 0
    for request in hostile:
        status, headers, body = await send(app, request)
        assert 200 <= status < 500, (request, body[:500])
        if status >= 400:
            refused += 1
            if request["method"] != "HEAD":
                assert b"OperationOutcome" in body[:200], (request, body[:500])
        for name, value in headers:
            assert b"\n" not in value and b"\r" not in value and b"\0" not in value, (request, name, value)
    assert refused > REQUESTS / 2
    assert (await client.get("Patient?_count=1")).status_code == 200


async def send(app: Any, request: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request["body"]}

    async def collect(message: Any) -> None:
        sent.append(message)

    raw = f"/fhir/{request['path']}"
    scope = {
        "type": "http",
        "method": request["method"],
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": request["query"].encode(),
        "headers": request["headers"],
        "scheme": "http",
        "server": ("testserver", 80),
    }
    await app(scope, receive, collect)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], sent[0]["headers"], body
