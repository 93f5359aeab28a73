"""batch and transaction: https://hl7.org/fhir/R4/http.html#transaction."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest

from support.steps import Step, run

REPRESENTATION = {"prefer": "return=representation"}


def bundle(*entries: object, type: str = "transaction") -> dict[str, object]:
    return {"resourceType": "Bundle", "type": type, "entry": list(entries)}


def batch(*entries: object) -> dict[str, object]:
    return bundle(*entries, type="batch")


def entry(
    method: str, url: str, resource: object = None, full_url: str | None = None, **request: str
) -> dict[str, object]:
    made: dict[str, object] = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    if full_url is not None:
        made["fullUrl"] = full_url
    return made


def patient(value: str = "", **more: object) -> dict[str, object]:
    identifier = {"identifier": [{"system": "urn:bundle", "value": value}]} if value else {}
    return {"resourceType": "Patient", **identifier, **more}


def observation(subject: str, **more: object) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
        **more,
    }


U1 = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
U2 = "urn:uuid:88f151c0-a954-468a-88bd-5ae15c08e059"
DIV = f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{U1}">see</a></div>'

CASES: dict[str, list[Step]] = {
    "links between entries": [
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(
            entry("POST", "Observation", observation(U1, extension=[{"url": "http://e", "valueUri": U1}],
                                                     text={"status": "generated", "div": DIV}), U2),
            entry("POST", "Patient", patient(), U1)),
         "has": {"type": "transaction-response", "entry.#": 2, "entry.0.response.status": "201 Created", "entry.0.response.etag": 'W/"1"',
                 "entry.0.response.lastModified": "*", "entry.1.resource.resourceType": "Patient"},
         "save": {"patient": "entry.1.resource.id", "observation": "entry.0.resource.id", "at": "entry.0.response.location"}},
        {"do": "GET Observation/{observation}", "has": {"subject.reference": "Patient/{patient}", "extension.0.valueUri": "Patient/{patient}",
         "text.div": '<div xmlns="http://www.w3.org/1999/xhtml"><a href="Patient/{patient}">see</a></div>'}},
        {"do": "GET {at}", "has": {"id": "{observation}"}},
    ],
    "without Prefer the resources stay away": [
        {"do": "POST ", "send": bundle(entry("POST", "Patient", patient())), "has": {"entry.0.resource": "-", "entry.0.response.location": "*"}},
    ],
    "an empty one": [{"do": "POST ", "send": {"resourceType": "Bundle", "type": "transaction"}, "has": {"entry": "-"}}],
    "all or nothing": [
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/tx1", patient(id="tx1")),
                                       entry("PUT", "Observation/tx2", observation("Patient/nobody", id="tx2"))),
         "status": (409, 422), "issue": "Bundle.entry[1]"},
        {"do": "GET Patient/tx1", "status": 404},
    ],
    "problems name their entry": [
        {"do": "POST ", "send": bundle(entry("POST", "Patient", patient()), entry("POST", "Patient", patient(gender="x", hair=1))),
         "status": 400, "issue": "Bundle.entry[1].resource.gender"},
        {"do": "POST ", "send": bundle({"resource": patient()}), "status": 400, "issue": "Bundle.entry[0]"},
        {"do": "POST ", "send": bundle(entry("POST", "Nothing", {"resourceType": "Nothing"})), "status": 400},
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/a", patient(id="b"))), "status": 400},
        {"do": "POST ", "send": bundle(type="collection"), "status": 400},
        {"do": "POST ", "send": patient(), "status": 400, "issue": "Bundle"},
    ],
    "order by verb": [
        {"do": "PUT Patient/ord", "send": patient(id="ord"), "status": 201},
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(
            entry("GET", "Patient?identifier=urn:bundle|ord&_total=accurate"),
            entry("PUT", "Observation/ord", observation(U1, id="ord")),
            entry("POST", "Patient", patient("ord"), U1),
            entry("DELETE", "Patient/ord")),
         "has": {"entry.0.resource.total": 1, "entry.0.response.status": "200 OK", "entry.1.response.status": "201 Created",
                 "entry.2.response.status": "201 Created", "entry.3.response.status": "204 No Content"}},
        {"do": "GET Patient/ord", "status": 410},
    ],
    "duplicates are refused": [
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/dup", patient(id="dup")), entry("DELETE", "Patient/dup")), "status": 400, "issue": "dup"},
        {"do": "POST Patient", "send": patient("dup2"), "status": 201, "save": {"id": "id"}},
        {"do": "POST ", "send": bundle(entry("PUT", "Patient?identifier=urn:bundle|dup2", patient("dup2")),
                                       entry("DELETE", "Patient/{id}")), "status": 400},
        {"do": "POST ", "send": bundle(entry("POST", "Patient", patient(), U1), entry("POST", "Patient", patient(), U1)), "status": 400},
    ],
    "conditional create": [
        {"do": "POST Patient", "send": patient("cc"), "status": 201, "save": {"id": "id"}},
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(
            entry("POST", "Patient", patient("cc"), U1, ifNoneExist="identifier=urn:bundle|cc"),
            entry("POST", "Observation", observation(U1))),
         "has": {"entry.0.response.status": "200 OK", "entry.0.resource.id": "{id}", "entry.1.resource.subject.reference": "Patient/{id}"}},
        {"do": "POST ", "send": bundle(entry("POST", "Patient", patient("cc-new"), U1, ifNoneExist="identifier=urn:bundle|cc-new")),
         "has": {"entry.0.response.status": "201 Created"}},
        {"do": "POST Patient", "send": patient("cc"), "status": 201},
        {"do": "POST ", "send": bundle(entry("POST", "Patient", patient("cc"), U1, ifNoneExist="identifier=urn:bundle|cc")), "status": 412,
         "issue": "Bundle.entry[0]"},
    ],
    "conditional update, patch, delete": [
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(entry("PUT", "Patient?identifier=urn:bundle|cu", patient("cu"), U1),
                                       entry("POST", "Observation", observation(U1))),
         "has": {"entry.0.response.status": "201 Created"}, "save": {"id": "entry.0.resource.id"}},
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(entry("PUT", "Patient?identifier=urn:bundle|cu", patient("cu", active=True))),
         "has": {"entry.0.response.status": "200 OK", "entry.0.resource.id": "{id}", "entry.0.resource.active": True}},
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(entry("PATCH", "Patient?identifier=urn:bundle|cu", {
            "resourceType": "Binary", "contentType": "application/json-patch+json",
            "data": base64.b64encode(json.dumps([{"op": "remove", "path": "/active"}]).encode()).decode()})),
         "has": {"entry.0.resource.active": "-", "entry.0.resource.meta.versionId": "3"}},
        {"do": "POST ", "send": bundle(entry("PATCH", "Patient?identifier=urn:bundle|none", {"resourceType": "Parameters"})), "status": 404},
        {"do": "POST ", "send": bundle(entry("DELETE", "Observation?patient={id}"), entry("DELETE", "Patient?identifier=urn:bundle|cu")),
         "has": {"entry.0.response.status": "204 No Content", "entry.1.response.status": "204 No Content"}},
        {"do": "GET Patient/{id}", "status": 410},
    ],
    "conditional references": [
        {"do": "POST ", "send": bundle(entry("POST", "Observation", observation("Patient?identifier=urn:bundle|cr"))), "status": 412, "issue": "cr"},
        {"do": "POST Patient", "send": patient("cr"), "status": 201, "save": {"id": "id"}},
        {"do": "POST ", "with": REPRESENTATION, "send": bundle(entry("POST", "Observation", observation("Patient?identifier=urn:bundle|cr"))),
         "has": {"entry.0.resource.subject.reference": "Patient/{id}"}},
    ],
    "If-Match inside": [
        {"do": "PUT Patient/im", "send": patient(id="im"), "status": 201},
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/im", patient(id="im", active=True), ifMatch='W/"4"')), "status": 412, "issue": "Bundle.entry[0]"},
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/im", patient(id="im", active=True), ifMatch='W/"1"')),
         "has": {"entry.0.response.etag": 'W/"2"', "entry.0.response.location": "Patient/im/_history/2"}},
    ],
    "no-op inside": [
        {"do": "PUT Patient/no", "send": patient(id="no"), "status": 201},
        {"do": "POST ", "send": bundle(entry("PUT", "Patient/no", patient(id="no"))), "has": {"entry.0.response.etag": 'W/"1"'}},
    ],
    "circular references": [
        {"do": "POST ", "send": bundle(
            entry("POST", "Patient", patient(link=[{"other": {"reference": U2}, "type": "seealso"}]), U1),
            entry("POST", "Patient", patient(link=[{"other": {"reference": U1}, "type": "seealso"}]), U2)), "has": {"entry.#": 2}},
    ],
    "links must lead to a permitted type": [
        {"do": "POST ", "send": bundle(entry("POST", "Observation", observation(U1)), entry("POST", "Practitioner", {"resourceType": "Practitioner"}, U1)),
         "status": 400, "issue": "Bundle.entry[0].resource.subject.reference"},
        {"do": "POST ", "send": bundle(entry("POST", "Observation", observation(U1, performer=[{"reference": U1}])), entry("POST", "Patient", patient(), U1))},
    ],
    "batch: each for itself": [
        {"do": "POST ", "send": batch(
            entry("PUT", "Patient/b1", patient(id="b1")),
            entry("POST", "Patient", patient(gender="x")),
            entry("GET", "Patient/nobody"),
            entry("GET", "Patient?identifier=urn:bundle|none"),
            {"resource": patient()},
            entry("GET", "Patient?nonsense=1"),
            entry("DELETE", "Patient/never")),
         "has": {"type": "batch-response", "entry.#": 7, "entry.0.response.status": "201 Created", "entry.1.response.status": "400 Bad Request",
                 "entry.1.response.outcome.issue.0.expression.0": "Bundle.entry[1].resource.gender",
                 "entry.2.response.status": "404 Not Found", "entry.3.response.status": "200 OK", "entry.3.resource.type": "searchset",
                 "entry.4.response.status": "400 Bad Request", "entry.5.response.status": "400 Bad Request",
                 "entry.6.response.status": "204 No Content"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])


async def test_parallel_transactions_with_the_same_condition_make_one(client: httpx.AsyncClient) -> None:
    body = bundle(entry("POST", "Patient", patient("race"), U1, ifNoneExist="identifier=urn:bundle|race"),
                  entry("POST", "Observation", observation(U1)))  # fmt: skip
    answers = await asyncio.gather(*(client.post("http://testserver/fhir", json=body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    found = await client.get("Patient?identifier=urn:bundle|race&_total=accurate")
    assert found.json()["total"] == 1


async def test_a_large_transaction(client: httpx.AsyncClient) -> None:
    entries = [entry("POST", "Patient", patient(), U1)]
    entries += [entry("POST", "Observation", observation(U1)) for _ in range(1500)]
    answer = await client.post("http://testserver/fhir", json=bundle(*entries))
    assert answer.status_code == 200, answer.text[:500]
    assert len(answer.json()["entry"]) == 1501
