"""Formats, negotiation, headers, CORS, compression, limits, and what is hostile."""

from __future__ import annotations

import gzip
import json

import httpx
import pytest

from fhirhub.http.cors import Cors
from support.steps import Step, run

PATIENT = {"resourceType": "Patient", "id": "http", "name": [{"family": "Wald"}]}
XML = b'<Patient xmlns="http://hl7.org/fhir"><id value="x1"/><name><family value="Baum"/></name></Patient>'
SETUP: Step = {"do": "PUT Patient/http", "send": PATIENT, "status": (200, 201)}

CASES: dict[str, list[Step]] = {
    "formats asked for": [
        SETUP,
        {"do": "GET Patient/http", "with": {"accept": "application/fhir+json"}, "header": {"content-type": "application/fhir+json; charset=utf-8"}},
        {"do": "GET Patient/http", "with": {"accept": "application/json"}, "header": {"content-type": "application/fhir+json; charset=utf-8"}},
        {"do": "GET Patient/http", "with": {"accept": "text/html, */*;q=0.1"}, "status": 200},
        {"do": "GET Patient/http", "with": {"accept": "application/fhir+json; fhirVersion=4.0"}, "status": 200},
        {"do": "GET Patient/http", "with": {"accept": "application/fhir+json; fhirVersion=5.0"}, "status": 406},
        {"do": "GET Patient/http", "with": {"accept": "text/turtle"}, "status": 406},
        {"do": "GET Patient/http?_format=json", "with": {"accept": "text/turtle"}, "status": 200},
        {"do": "GET Patient/http?_format=application/fhir+json", "status": 200},
        {"do": "GET Patient/http?_format=application%2Ffhir%2Bjson", "status": 200},
        {"do": "GET Patient/http?_format=ttl", "status": 406},
    ],
    "formats sent": [
        {"do": "POST Patient", "send": "{}", "with": {"content-type": "text/plain"}, "status": 415},
        {"do": "POST Patient", "send": "{}", "with": {"content-type": "application/json; charset=latin-1"}, "status": 415},
        {"do": "POST Patient", "send": PATIENT, "with": {"content-type": "application/fhir+json; fhirVersion=3.0"}, "status": 415},
        {"do": "POST Patient", "send": PATIENT, "with": {"content-type": "application/json"}, "status": 201},
        {"do": "PATCH Patient/http", "send": "[]", "with": {"content-type": "application/x-www-form-urlencoded"}, "status": 415},
        {"do": "POST Patient", "send": "[]", "with": {"content-type": "application/json-patch+json"}, "status": 415},
        {"do": "POST Patient", "send": PATIENT, "with": {"content-encoding": "br"}, "status": 415},
        {"do": "POST Patient", "send": PATIENT, "with": {"content-encoding": "gzip"}, "status": 400, "issue": "gzip"},
    ],
    "XML in and out": [
        {"do": "PUT Patient/x1", "send": XML.decode(), "with": {"content-type": "application/fhir+xml"}, "status": 201, "has": {"name.0.family": "Baum"}},
        {"do": "PUT Patient/x1", "send": '<!DOCTYPE x [<!ENTITY e "y">]>' + XML.decode(), "with": {"content-type": "application/fhir+xml"}, "status": 400},
        {"do": "PUT Patient/x1", "send": "<Patient", "with": {"content-type": "application/fhir+xml"}, "status": 400},
    ],
    "pretty": [SETUP, {"do": "GET Patient/http?_pretty=true", "has": {"id": "http"}}],
    "request ids": [
        SETUP,
        {"do": "GET Patient/http", "with": {"x-request-id": "abc-123"}, "header": {"x-request-id": "abc-123"}},
        {"do": "GET Patient/absent", "with": {"x-request-id": "abc-124"}, "status": 404, "header": {"x-request-id": "abc-124"}},
    ],
    "hostile parameters": [
        {"do": "GET Patient?name=%00", "status": 400},
        {"do": "GET Patient?name=%ff%fe", "status": 400},
        {"do": "GET Patient?%0d%0aX-Evil:=1", "status": 400},
        {"do": "GET Patient?" + "&".join(f"name={n}" for n in range(600)), "status": 400},
        {"do": "GET Patient?name=" + "a" * 62000, "status": 414},
        {"do": "GET Patient/" + "a" * 5000, "status": 404},
        {"do": "GET Patient/..%2f..%2fetc", "status": 404},
        {"do": "GET %00", "status": 404},
        {"do": "GET Patient/http/_history/99999999999999999999", "status": 404},
        {"do": "GET Patient/http/_history/2147483648", "status": 404},
        {"do": "GET Patient/http", "with": {"if-none-match": "x" * 9000}, "status": 400},
        {"do": "BREW Patient/http", "status": 405},
    ],
    "hostile bodies": [
        {"do": "POST Patient", "send": '{"resourceType":"Patient","a":' + "[" * 500 + "]" * 500 + "}", "status": 400},
        {"do": "POST Patient", "send": '{"resourceType":"Patient","gender":"\\u0000"}', "status": 400},
        {"do": "POST Patient", "send": '{"resourceType":"Patient","id":"a","id":"b"}', "status": 400, "issue": "id"},
        {"do": "POST Patient", "send": "nul", "status": 400},
        {"do": "POST Patient", "send": '{"resourceType":["Patient"]}', "status": 400},
        {"do": "POST Observation", "send": '{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1e999999999}}', "status": 400},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])


async def test_xml_is_answered_when_asked_for(client: httpx.AsyncClient) -> None:
    await run(client, [SETUP])
    for answer in (
        await client.get("Patient/http", headers={"accept": "application/fhir+xml"}),
        await client.get("Patient/http?_format=xml"),
    ):
        assert answer.headers["content-type"] == "application/fhir+xml; charset=utf-8"
        assert '<family value="Wald"/>' in answer.text
    found = await client.post(
        "Patient/_search",
        content="_id=http&_format=xml",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert found.text.startswith("<Bundle") or "<Bundle" in found.text[:100]
    failed = await client.get("Patient/absent?_format=xml")
    assert "<OperationOutcome" in failed.text


async def test_a_binary_is_its_content_to_who_asks_for_that(client: httpx.AsyncClient) -> None:
    made = await client.put("Binary/raw", content=b"\x89PNG", headers={"content-type": "image/png"})
    assert made.status_code == 201 and made.json()["contentType"] == "image/png"
    for accept in ("image/png", "image/*, text/plain"):
        raw = await client.get("Binary/raw", headers={"accept": accept})
        assert raw.status_code == 200 and raw.content == b"\x89PNG"
        assert (
            raw.headers["content-type"] == "image/png" and "sandbox" in raw.headers["content-security-policy"]
        )
    assert (await client.get("Binary/raw", headers={"accept": "application/pdf"})).status_code == 406
    assert (await client.get("Binary/raw/_history", headers={"accept": "image/png"})).status_code == 406
    assert (await client.get("Binary/none", headers={"accept": "image/png"})).json()[
        "resourceType"
    ] == "OperationOutcome"
    resource = await client.get("Binary/raw")
    assert resource.json()["data"] == "iVBORw=="
    again = await client.put("Binary/raw", json=resource.json())
    assert again.status_code == 200 and again.json()["meta"]["versionId"] == "1"


async def test_pretty_is_indented(client: httpx.AsyncClient) -> None:
    await run(client, [SETUP])
    assert '\n  "id": "http"' in (await client.get("Patient/http?_pretty=true")).text


async def test_large_answers_are_compressed_when_accepted(client: httpx.AsyncClient) -> None:
    body = {
        "resourceType": "Patient",
        "id": "large",
        "name": [{"family": "Wald" * 10, "text": "x" * 50}] * 40,
    }
    await client.put("Patient/large", json=body)
    packed = await client.get("Patient/large", headers={"accept-encoding": "gzip"})
    plain = await client.get("Patient/large", headers={"accept-encoding": "gzip;q=0"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 5
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


async def test_a_compressed_body_is_read_and_a_bomb_is_not(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/fhir+json", "content-encoding": "gzip"}
    good = await client.put(
        "Patient/http", content=gzip.compress(json.dumps(PATIENT).encode()), headers=headers
    )
    assert good.status_code in (200, 201)
    bomb = await client.put("Patient/http", content=gzip.compress(b" " * (80 << 20)), headers=headers)
    assert bomb.status_code == 413


async def test_a_body_too_large_is_refused_by_its_length(client: httpx.AsyncClient) -> None:
    async def endless():
        yield b" " * 1000
        raise AssertionError("the body was read on")

    headers = {"content-type": "application/fhir+json", "content-length": str(1 << 40)}
    answer = await client.post("Patient", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert answer.json()["issue"][0]["code"] == "too-long"


async def test_cors(client: httpx.AsyncClient) -> None:
    origin = {"origin": "http://localhost:3000"}
    preflight = await client.options(
        "Patient/1",
        headers={
            **origin,
            "access-control-request-method": "PUT",
            "access-control-request-headers": "if-match",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin["origin"]
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "If-Match" in preflight.headers["access-control-allow-headers"]
    answer = await client.get("Patient/nobody", headers=origin)
    assert answer.headers["access-control-allow-origin"] == origin["origin"]
    for name in ("ETag", "Location", "Content-Location", "X-Request-Id"):
        assert name in answer.headers["access-control-expose-headers"]
    for other in (
        {},
        {"origin": "https://localhost.example.org"},
        {"origin": "http://127.0.0.1.example.org:80"},
    ):
        answer = await client.get("Patient/nobody", headers=other)
        assert "access-control-allow-origin" not in answer.headers
        if other:
            answer = await client.get("metadata", headers=other)
            assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [(("*",), b"*"), (("https://app.example.org",), b"https://app.example.org"), ((), None)],
)
async def test_cors_by_list(origins: tuple[str, ...], allowed: bytes | None) -> None:
    found = dict(await Cors(origins).answer({b"origin": b"https://app.example.org"}))
    assert found.get(b"access-control-allow-origin") == allowed


async def test_hostile_headers_do_not_come_back(client: httpx.AsyncClient) -> None:
    await run(client, [SETUP])
    answer = await client.get("Patient/http", headers={"x-request-id": "a b<script>", "host": "evil host/x"})
    assert answer.headers["x-request-id"] != "a b<script>"
    found = await client.get("Patient?_id=http", headers={"host": 'x"/><script>'})
    assert "script" not in found.text


async def test_the_base_is_the_one_called_by(client: httpx.AsyncClient) -> None:
    answer = await client.get("http://records.example.org:8443/fhir/Patient?_id=nobody")
    assert answer.json()["link"][0]["url"] == "http://records.example.org:8443/fhir/Patient?_id=nobody"


async def test_docs_work_without_the_internet(client: httpx.AsyncClient) -> None:
    root = "http://testserver"
    page = await client.get(f"{root}/docs")
    assert page.status_code == 200 and "https:" not in page.text and "http:" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "docs.js"):
        assert (await client.get(f"{root}/docs/{name}")).status_code == 200
    description = (await client.get(f"{root}/openapi.json")).json()
    assert "/fhir/{type}/{id}" in description["paths"]
    assert (await client.get(f"{root}/docs/..%2fapp.py")).status_code == 404
