"""Access from the front door: tokens on a real store, what they reach, and how a consent takes it away."""

from __future__ import annotations

from typing import Any

from support.access import observation, patient
from support.door import Document, Door, Token


async def test_a_patient_sees_the_own_record_and_may_add_to_it(token: Token) -> None:
    ana = await token("patient/*.cruds", role="patient", patient="ana", fhir_user="Patient/ana")
    assert await ana.sees("/Observation/plain")
    assert await ana.sees("/Observation/very")
    assert not await ana.sees("/Observation/bobs")
    assert not await ana.sees("/Patient/bob")
    assert await ana.sees("/Practitioner/doc")
    created = await ana.call("POST", "/Observation", observation("ana", performer=[patient("ana")]))
    assert created.status_code == 201, created.text
    assert (await ana.call("POST", "/Observation", observation("bob"))).status_code == 403
    changed = await ana.put(observation("ana", id="plain", note=[{"text": "not so"}]))
    assert changed.status_code in (403, 404)
    chosen = await ana.put(observation("ana", id="chosen", performer=[patient("ana")]))
    assert chosen.status_code == 404, chosen.text
    refused = await ana.call("DELETE", "/Observation/plain")
    assert refused.status_code == 403
    mine = (await ana.call("GET", "/Patient/ana")).json()
    reached = await ana.put({**mine, "telecom": [{"system": "phone", "value": "1"}]})
    assert reached.status_code == 200, reached.text
    assert (await ana.put({**reached.json(), "gender": "male"})).status_code == 403


async def test_roles_and_hidden_elements(token: Token) -> None:
    biller = await token(role="biller", fhir_user="Practitioner/other")
    condition = (await biller.call("GET", "/Condition/c")).json()
    assert "note" not in condition
    refused = await biller.call("GET", "/Observation/plain")
    assert refused.status_code == 403
    assert "the role biller" in refused.text
    doc = await token(fhir_user="Practitioner/doc")
    assert (await doc.call("GET", "/Condition/c")).json()["note"]
    narrow = await token("user/Patient.r", fhir_user="Practitioner/doc")
    assert "user/Patient.s" in (await narrow.call("GET", "/Patient?name=x")).text


async def test_labels_open_by_breaking_the_glass(token: Token) -> None:
    doc = await token(fhir_user="Practitioner/doc")
    assert not await doc.sees("/Observation/very")
    over = await doc.put(observation("bob", id="very"))
    assert over.status_code in (404, 409, 412), over.text
    emergency = await token(fhir_user="Practitioner/doc", reason="unconscious in the emergency room")
    assert await emergency.sees("/Observation/very")
    other = await token(role="biller", fhir_user="Practitioner/other", reason="curious about it all")
    assert (await other.call("GET", "/Observation/very")).status_code == 403


def _consent(id: str, **provision: Any) -> Document:
    return {
        "resourceType": "Consent",
        "id": id,
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": patient("ana"),
        "policyRule": {"coding": [{"code": "OPTIN"}]},
        "provision": {"type": "deny", **provision},
    }


def _actor(reference: str) -> Document:
    return {"role": {"text": "recipient"}, "reference": {"reference": reference}}


async def test_a_consent_acts_on_the_next_request(door: Door, token: Token) -> None:
    doc = await token(fhir_user="Practitioner/doc")
    other = await token(fhir_user="Practitioner/other")
    ana = await token("patient/*.rs", role="patient", patient="ana", fhir_user="Patient/ana")
    assert await other.sees("/Observation/plain")
    stored = await doc.put(_consent("not-other", actor=[_actor("Practitioner/other")]))
    assert stored.status_code == 201, stored.text
    assert not await other.sees("/Observation/plain")
    assert not await other.sees("/Patient/ana")
    assert await other.sees("/Observation/bobs")
    assert await doc.sees("/Observation/plain")
    assert await ana.sees("/Observation/plain")
    # New data can still be handed in, and is not shown back.
    created = await other.call("POST", "/Observation", observation("ana"))
    assert created.status_code == 201, created.text
    assert not await other.sees(
        "/Observation/" + created.headers["location"].split("/Observation/")[1].split("/")[0]
    )
    withdrawn = await door.put(
        _consent("not-other", actor=[_actor("Practitioner/other")]) | {"status": "inactive"}
    )
    assert withdrawn.status_code == 200, withdrawn.text
    assert await other.sees("/Observation/plain")


async def test_a_consent_against_an_organization_is_for_those_who_work_there(
    door: Door, token: Token
) -> None:
    doc = await token(fhir_user="Practitioner/doc")
    assert (await door.put(_consent("not-lab", actor=[_actor("Organization/lab")]))).status_code == 201
    assert await doc.sees("/Observation/plain")
    role = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/doc"},
            "organization": {"reference": "Organization/lab"}}  # fmt: skip
    assert (await door.put(role)).status_code == 201
    assert not await doc.sees("/Observation/plain")
    assert (await door.put({**role, "active": False})).status_code == 200
    assert await doc.sees("/Observation/plain")
    lab = await token("system/*.rs", policy={"organization": "Organization/lab"})
    elsewhere = await token("system/*.rs", policy={"organization": "Organization/elsewhere"})
    unknown = await token("system/*.rs")
    assert not await lab.sees("/Observation/plain")
    assert await elsewhere.sees("/Observation/plain")
    assert not await unknown.sees("/Observation/plain")
    assert (await door.call("DELETE", "/Consent/not-lab")).status_code in (200, 204)
    assert await lab.sees("/Observation/plain")


async def test_who_may_read_the_trail(token: Token) -> None:
    admin = await token(role="admin", fhir_user=None, username="root")
    found = (await admin.call("GET", "/AuditEvent?_count=5")).json()
    assert len(found["entry"]) == 5
    ana = await token("patient/*.rs", role="patient", patient="ana", fhir_user="Patient/ana")
    mine = (await ana.call("GET", "/AuditEvent?_count=5")).json()
    assert mine["entry"]
    assert "Patient/bob" not in str(mine)
    doc = await token(fhir_user="Practitioner/doc")
    assert (await doc.call("GET", "/AuditEvent")).status_code == 403
