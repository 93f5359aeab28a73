"""Where rules of access meet: hidden elements under conditions, labels and deletion, answers that come later."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx

from support.access import observation, patient
from support.door import V3, Door, Token
from support.smart import bearer

PSYCHOTHERAPY = {
    "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}]
}
VERY = {"security": [{"system": V3, "code": "V"}]}
ENCOUNTER: dict[str, Any] = {
    "resourceType": "Encounter",
    "id": "e",
    "status": "planned",
    "class": {"code": "AMB"},
    "subject": patient("ana"),
    "identifier": [{"system": "urn:visits", "value": "1"}],
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">zqreason</div>'},
    "contained": [{"resourceType": "Condition", "id": "c", "subject": patient("ana"), "code": {"text": "zqcode"}}],
    "reasonCode": [{"text": "zqreason"}],
    "diagnosis": [{"condition": {"reference": "#c"}}],
}  # fmt: skip


async def _send(door: Door, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await door.client.request(method, path, json=body, headers=bearer(door.token) | headers)


async def test_what_is_hidden_is_not_told_by_narrative_and_contained_resources(
    door: Door, token: Token
) -> None:
    assert (await door.put(ENCOUNTER)).status_code in (200, 201)
    desk = await token(role="frontdesk", fhir_user="Practitioner/desk")
    for path in ("Encounter/e", "Encounter?_id=e", "Encounter/e/_history", "Encounter?_id=e&_summary=text"):
        shown = await desk.call("GET", f"/{path}")
        assert shown.status_code == 200
        assert "zq" not in shown.text, path
    found = await desk.call(
        "GET", "/Encounter?_contained=true&_containedType=contained&diagnosis.code:text=zqcode"
    )
    assert found.status_code == 403, found.text


async def test_a_conditional_update_keeps_what_its_writer_cannot_see(door: Door, token: Token) -> None:
    assert (await door.put(ENCOUNTER)).status_code in (200, 201)
    desk = await token(role="frontdesk", fhir_user="Practitioner/desk")
    seen = (await desk.call("GET", "/Encounter/e")).json()
    entry = {"request": {"method": "PUT", "url": "Encounter?identifier=urn:visits|1"}}
    transaction = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    for status in ("arrived", "triaged"):
        changed = {**seen, "status": status}
        if status == "triaged":
            entry["resource"] = changed
            answer = await desk.call("POST", "", transaction)
        else:
            answer = await desk.call("PUT", "/Encounter?identifier=urn:visits|1", changed)
        assert answer.status_code == 200, answer.text
        assert "zq" not in answer.text
        stored = (await door.call("GET", "/Encounter/e")).json()
        assert stored.pop("meta").keys() == {"versionId", "lastUpdated"}
        assert stored == {name: value for name, value in ENCOUNTER.items()} | {"status": status}
    own = await desk.put({**seen, "text": ENCOUNTER["text"]})
    assert own.status_code == 403, own.text


async def test_who_may_change_some_elements_may_not_change_labels(door: Door, token: Token) -> None:
    ana = await token("patient/*.cruds", role="patient", patient="ana", fhir_user="Patient/ana")
    mine = (await ana.call("GET", "/Patient/ana")).json()
    refused = await ana.put({**mine, "meta": VERY})
    assert refused.status_code == 403, refused.text
    assert "not meta" in refused.text
    assert (await ana.put({**mine, "telecom": [{"system": "phone", "value": "2"}]})).status_code == 200


async def test_deletion_does_not_show_what_was_out_of_reach_before(door: Door, token: Token) -> None:
    for meta in ({}, {"meta": VERY}):
        assert (await door.put(observation("ana", id="gone", **meta))).status_code in (200, 201)
    doc = await token(fhir_user="Practitioner/doc")
    assert (await doc.call("GET", "/Observation/gone/_history/1")).status_code == 404
    assert (await door.call("DELETE", "/Observation/gone")).status_code == 204
    assert (await doc.call("GET", "/Observation/gone/_history/1")).status_code == 404
    for path in ("/Observation/gone/_history", "/Observation/_history?_count=1000", "/_history?_count=1000"):
        entries = (await doc.call("GET", path)).json()["entry"]
        assert not [each for each in entries if each.get("resource", {}).get("id") == "gone"], path
    assert (await door.call("GET", "/Observation/gone/_history/1")).status_code == 200


async def test_a_text_that_looks_like_a_reference_is_none(token: Token) -> None:
    ana = await token("patient/*.cruds", role="patient", patient="ana", fhir_user="Patient/ana")
    answers = []
    for other in ("bob", "nobody"):
        own = observation("ana", performer=[{**patient("ana"), "display": f"Patient/{other}"}])
        made = (await ana.call("POST", "/Observation", own)).json()
        answer = await ana.put({**made, "focus": [patient(other)]})
        answers.append((answer.status_code, answer.text.replace(other, "X")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 422


async def test_entries_are_answered_in_their_place(door: Door) -> None:
    for type in ("batch", "transaction"):
        entry = {"request": {"method": "GET", "url": "Patient/ana/$everything"}}
        body = {"resourceType": "Bundle", "type": type, "entry": [entry]}
        answer = await _send(door, "POST", "", body, prefer="respond-async")
        assert answer.status_code == 200, answer.text
        assert answer.json()["entry"][0]["resource"]["type"] == "searchset"


async def test_a_later_answer_is_for_who_may_still_find_it(door: Door, token: Token) -> None:
    doc = await token(fhir_user="Practitioner/doc")
    begun = await _send(doc, "GET", "/Observation?patient=ana", prefer="respond-async")
    assert begun.status_code == 202
    for _ in range(200):
        answer = await _send(doc, "GET", begun.headers["content-location"])
        if answer.status_code != 202:
            break
        await asyncio.sleep(0.05)
    assert "Observation/plain" in answer.text
    consent = {
        "resourceType": "Consent", "id": "later", "status": "active", "patient": patient("ana"),
        "scope": {"coding": [{"code": "patient-privacy"}]}, "category": [{"text": "x"}], "policyRule": {"text": "x"},
        "provision": {"type": "deny", "actor": [{"role": {"text": "x"}, "reference": {"reference": "Practitioner/doc"}}]},
    }  # fmt: skip
    assert (await door.put(consent)).status_code == 201
    assert (await _send(doc, "GET", begun.headers["content-location"])).status_code == 404
    assert (await door.call("DELETE", "/Consent/later")).status_code == 204


async def test_reindexing_takes_the_scope_for_it(token: Token) -> None:
    narrow = await token("user/Patient.cruds", role="admin", fhir_user="Practitioner/doc")
    refused = await narrow.call("POST", "/$reindex?_type=Basic")
    assert (refused.status_code, "user/*.u" in refused.text) == (403, True)
    admin = await token(role="admin", fhir_user="Practitioner/doc")
    begun = await admin.call("POST", "/$reindex?_type=Basic")
    assert begun.status_code == 202
    assert (await admin.call("GET", begun.headers["content-location"])).status_code in (200, 202)


async def _told(door: Door, request: str) -> list[tuple[str, int, list[str]]]:
    """Agent, status and patients of each row about ``request``."""
    connection = await asyncpg.connect(door.dsn)
    try:
        rows = await connection.fetch("select agent, status, patients from audit where request = $1", request)
    finally:
        await connection.close()
    return [(row["agent"], row["status"], list(row["patients"])) for row in rows]


async def test_the_trail_names_who_asked_for_what_is_not_served(token: Token) -> None:
    doc = await token(fhir_user="Practitioner/doc", username="dora")
    for number, (method, path) in enumerate(
        [
            ("GET", "/Nothing/1"),
            ("PUT", "/Patient/ana"),
            ("POST", "/Patient/ana"),
            ("POST", "/Patient/ana/x/y"),
        ]
    ):
        answer = await _send(doc, method, path, **{"x-request-id": f"odd{number}"})
        assert await _told(doc, f"odd{number}") == [("dora", answer.status_code, [])], path


async def test_no_host_header_keeps_a_patient_out_of_the_trail(door: Door, token: Token) -> None:
    absolute = {
        **observation(None, id="absolute"),
        "subject": {"reference": "http://testserver/fhir/Patient/ana"},
    }
    assert (await door.put(absolute)).status_code == 201
    doc = await token(fhir_user="Practitioner/doc", username="dora")
    answer = await _send(doc, "GET", "/Observation/absolute", host="evil.example", **{"x-request-id": "host"})
    assert answer.status_code == 200
    assert await _told(doc, "host") == [("dora", 200, ["ana"])]


async def test_the_context_of_an_attachment_opens_no_label_of_its_own(door: Door, token: Token) -> None:
    binary = {
        "resourceType": "Binary", "contentType": "text/plain", "data": "eHg=", "securityContext": patient("ana")
    }  # fmt: skip
    assert (await door.put({**binary, "id": "open"})).status_code == 201
    assert (await door.put({**binary, "id": "closed", "meta": VERY})).status_code == 201
    assert (await door.put({**binary, "id": "sleep", "meta": PSYCHOTHERAPY})).status_code == 201
    doc = await token(fhir_user="Practitioner/doc")
    ana = await token("patient/*.cruds", role="patient", patient="ana", fhir_user="Patient/ana")
    seen = [
        [(await who.call("GET", f"/Binary/{id}{path}")).status_code for id in ("open", "closed", "sleep")]
        for who in (doc, ana)
        for path in ("", "/_history/1")
    ]
    assert seen == [[200, 404, 404], [200, 404, 404], [200, 200, 404], [404, 404, 404]]
    only = await token(
        fhir_user="Practitioner/doc", policy={"rules": [{"types": ["Binary"], "may": "r", "where": "_id=other"},
                                                        {"types": ["Patient"], "may": "rs"}]}
    )  # fmt: skip
    assert (await only.call("GET", "/Binary/open")).status_code == 404
