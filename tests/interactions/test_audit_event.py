"""AuditEvent: the audit trail as FHIR, to be read and searched and never written."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.auth.access import Access
from fhirhub.exchange import Caller
from fhirhub.search.predicate import Ids
from fhirhub.search.sight import ALL, EVERYTHING, Sight
from fhirhub.settings import Settings
from fhirhub.store.audit import trail
from fhirhub.validation.validator import Validator
from searching import definitions
from support.lifespan import running

ANN = Caller(
    user="ann", fhir_user="Practitioner/7", role="practitioner", client="app-1", client_name="Chart",
    grant="g1", issuer="http://testserver", reason="patient unconscious",
)  # fmt: skip
LAB = Caller(client="lab-1", client_name="Lab")
AUDIT_OF_A = {"AuditEvent": Ids(("none",))}
CALLERS = {
    b"ann": Access(EVERYTHING, ANN),
    b"lab": Access(EVERYTHING, LAB),
    b"patient-a": Access(
        Sight({"r": AUDIT_OF_A, "s": AUDIT_OF_A}, about=frozenset({"Patient/a"})),
        Caller(user="a", fhir_user="Patient/a", role="patient"),
    ),
    b"partial": Access(Sight({"r": AUDIT_OF_A, "s": AUDIT_OF_A}), Caller(user="p")),
    b"nothing": Access(Sight({"r": {"Patient": ALL}}), Caller(user="n")),
}


class Gate:
    """Knows callers by a header."""

    async def access(self, headers: Any) -> Access:
        return CALLERS[headers.get(b"x-caller", b"ann")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def audited(settings: Settings, tmp_path_factory: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(replace(settings, audit="on", data_dir=tmp_path_factory.mktemp("keys")))
    async with running(app):
        app.gate = Gate()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("10.0.0.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as client:
            await _fill(client)
            audit = app.hub.store.audit
            await audit.record(
                [trail.event("login", "sign-in", ANN, request="login-1", more={"method": "password"})]
            )
            await audit.record(
                [trail.event("login", "lockout", Caller(user="eve"), outcome=4, request="login-2")]
            )
            yield client


async def _fill(client: httpx.AsyncClient) -> None:
    for id in "abc":
        body = {"resourceType": "Patient", "id": id, "name": [{"family": f"Family{id}"}]}
        assert (await _call(client, "PUT", f"Patient/{id}", f"put-{id}", json=body)).status_code == 201
        body = {
            "resourceType": "Observation", "id": f"o{id}", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id}"},
        }  # fmt: skip
        assert (
            await _call(client, "PUT", f"Observation/o{id}", f"obs-{id}", "lab", json=body)
        ).status_code == 201
    await _call(client, "GET", "Observation/oa", "read-oa")
    await _call(client, "GET", "Observation/oa/_history/1", "vread-oa")
    await _call(client, "GET", "Observation?code:text=x", "search-all")
    await _call(client, "GET", "Observation?patient=Patient/b", "search-b")
    await _call(client, "GET", "Patient/nobody", "missing")
    await _call(client, "GET", "Patient?nonsense=1", "nonsense")
    await _call(client, "GET", "Patient/a/$everything", "everything-a")
    await _call(client, "DELETE", "Observation/oc", "delete-oc")


async def _call(
    client: httpx.AsyncClient, method: str, path: str, name: str, caller: str = "ann", **more: Any
) -> httpx.Response:
    return await client.request(method, path, headers={"x-request-id": name, "x-caller": caller}, **more)


async def found(client: httpx.AsyncClient, query: str, caller: str = "ann") -> list[dict[str, Any]]:
    answer = await client.get(
        f"AuditEvent?{query}&_count=1000", headers={"x-caller": caller, "x-request-id": "looking"}
    )
    assert answer.status_code == 200, answer.text
    return [entry["resource"] for entry in answer.json().get("entry", ())]


def request_of(event: dict[str, Any]) -> str:
    names = [
        entity["what"]["identifier"]["value"]
        for entity in event["entity"]
        if entity.get("type", {}).get("code") == "XrequestId"
    ]
    return str(names[0]) if names else ""


def names(events: list[dict[str, Any]]) -> list[str]:
    """Request ids, oldest first, without those of the tests' own searches."""
    return [name for each in reversed(events) if (name := request_of(each)) != "looking"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("patient=Patient/a", ["put-a", "obs-a", "read-oa", "vread-oa", "search-all", "everything-a"]),
        ("patient=b&action=E", ["search-all", "search-b"]),
        (f"patient={BASE}/Patient/b&action=C,U&agent=Practitioner/7", ["put-b"]),
        ("action=R&outcome=0", ["read-oa", "vread-oa"]),
        ("outcome=4", ["missing", "nonsense", "login-2"]),
        ("outcome=4&type=rest", ["missing", "nonsense"]),
        ("action=D", ["delete-oc"]),
        ("agent:identifier=lab-1", ["obs-a", "obs-b", "obs-c"]),
        ("altid=lab-1", ["obs-a", "obs-b", "obs-c"]),
        ("agent-name=la", ["obs-a", "obs-b", "obs-c"]),
        ("agent-name:exact=la", []),
        ("agent-name:contains=v", ["login-2"]),
        ("entity=Observation/ob", ["obs-b", "search-all", "search-b"]),
        ("entity=Patient/c", ["put-c", "obs-c", "search-all", "delete-oc"]),
        ("entity:identifier=read-oa", ["read-oa"]),
        ("type=http://dicom.nema.org/resources/ontology/DCM|110114", ["login-1", "login-2"]),
        ("type=110114&subtype=lockout", ["login-2"]),
        ("subtype=110122", ["login-1"]),
        ("subtype=http://hl7.org/fhir/restful-interaction|vread", ["vread-oa"]),
        ("subtype=operation", ["everything-a"]),
        ("subtype=$everything", ["everything-a"]),
        ("address=10.0&action=R", ["read-oa", "vread-oa", "missing"]),
        ("date=lt2020", []),
        ("date=gt2020&date=le9998&action=D", ["delete-oc"]),
        ("date=ne2020&action=D", ["delete-oc"]),
        ("_lastUpdated=2020,2021", []),
        ("patient=a&patient=b&action=E", []),
    ],
)
async def test_search(audited: httpx.AsyncClient, query: str, expected: list[str]) -> None:
    assert names(await found(audited, query)) == expected


async def test_the_event_of_a_read(audited: httpx.AsyncClient) -> None:
    (event,) = await found(audited, "entity:identifier=vread-oa")
    assert event["type"]["code"] == "rest" and [each["code"] for each in event["subtype"]] == ["vread"]
    assert (event["action"], event["outcome"]) == ("R", "0")
    assert event["meta"]["profile"] == [
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    ]
    client, server, user = event["agent"]
    assert client["who"] == {"identifier": {"value": "app-1"}, "display": "Chart"}
    assert client["network"] == {"address": "10.0.0.9", "type": "2"}
    assert server["network"] == {"address": BASE, "type": "5"}
    assert [each["requestor"] for each in event["agent"]] == [False, False, True]
    assert user["who"]["reference"] == "Practitioner/7" and user["role"] == [{"text": "practitioner"}]
    assert user["purposeOfUse"][0]["coding"][0]["code"] == "BTG"
    assert [each["what"].get("reference") for each in event["entity"]] == [
        "Observation/oa/_history/1", "Patient/a", None
    ]  # fmt: skip


async def test_the_event_of_a_search_is_one_with_several_patients_and_one_for_each(
    audited: httpx.AsyncClient,
) -> None:
    (whole,) = await found(audited, "entity:identifier=search-all")
    query = whole["entity"][0]
    assert base64.b64decode(query["query"]).decode() == query["description"] == "Observation?code:text=x"
    assert [each["what"]["reference"] for each in whole["entity"][1:4]] == [
        "Patient/a",
        "Patient/b",
        "Patient/c",
    ]
    (one,) = await found(audited, "entity:identifier=search-all&patient=b")
    assert one["id"] == f"{whole['id']}.2"
    assert [each["what"].get("reference") for each in one["entity"] if "what" in each] == ["Patient/b", None]
    for event in (whole, one):
        read = await audited.get(f"AuditEvent/{event['id']}")
        assert read.status_code == 200 and read.json() == event


async def test_every_event_is_valid(audited: httpx.AsyncClient) -> None:
    events = await found(audited, "_sort=date")
    assert len(events) > 15
    assert [str(issue) for event in events for issue in Validator(definitions).validate(event)] == []
    assert [each["recorded"] for each in events] == sorted(each["recorded"] for each in events)


@pytest.mark.parametrize("query", ["patient=a", "_sort=date&type=rest", "patient=b&_total=accurate"])
async def test_pages_follow_one_another(audited: httpx.AsyncClient, query: str) -> None:
    before = "date=lt2100&subtype=update,vread,read,delete,operation"
    expected = [each["id"] for each in await found(audited, f"{query}&{before}")]
    seen: list[str] = []
    url: str | None = f"AuditEvent?{query}&{before}&_count=2"
    while url is not None:
        page = (await audited.get(url)).json()
        assert page.get("total", len(expected)) == len(expected)
        seen += [entry["resource"]["id"] for entry in page.get("entry", ())]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    assert seen == expected and len(expected) >= 2


async def test_a_posted_search_does_not_show_what_it_looked_for(audited: httpx.AsyncClient) -> None:
    form = {"patient": "a", "_count": "1"}
    page = (await audited.post("AuditEvent/_search", data=form)).json()
    (link,) = [each["url"] for each in page["link"] if each["relation"] == "next"]
    assert "patient" not in link
    second = (await audited.get(link)).json()
    assert second["entry"][0]["resource"]["id"] != page["entry"][0]["resource"]["id"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("patinet=a", "patient"), ("patient:missing=true", "modifier"), ("_include=AuditEvent:agent", "_include"),
        ("date=yesterday", "date"), ("action=X", "C, R, U, D, E"), ("outcome=1", "0, 4, 8, 12"), ("_sort=agent", "date"),
        ("entity=oa", "Observation/ID"), ("patient=", "empty"), ("patient=a b", "reference"), ("_count=x", "_count"),
        ("_cursor=abc", "page link"), (f"patient={','.join('abcdefghijkl')}", "10"), ("_summary=x", "_summary"),
    ],
)  # fmt: skip
async def test_what_cannot_be_searched_by_is_refused(
    audited: httpx.AsyncClient, query: str, text: str
) -> None:
    answer = await audited.get(f"AuditEvent?{query}")
    assert answer.status_code == 400 and text in answer.text


async def test_lenient_searches_say_what_they_ignored(audited: httpx.AsyncClient) -> None:
    answer = await audited.get("AuditEvent?nonsense=1&patient=b", headers={"prefer": "handling=lenient"})
    page = answer.json()
    assert page["entry"][-1]["search"]["mode"] == "outcome" and "nonsense" in str(page["entry"][-1])
    assert page["link"][0]["url"].endswith("/AuditEvent?patient=b")


@pytest.mark.parametrize("id", ["1-999999", "0-1", "x", "1-1.9", "1-1", "99999-1", "1-2.1.1"])
async def test_what_is_no_event_is_not_found(audited: httpx.AsyncClient, id: str) -> None:
    # 1-1 is a checkpoint of the chain, which is nobody's doing.
    assert (await audited.get(f"AuditEvent/{id}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "AuditEvent"), ("PUT", "AuditEvent/1-2"), ("PATCH", "AuditEvent/1-2"), ("DELETE", "AuditEvent/1-2"),
        ("PUT", "AuditEvent?date=gt2000"), ("DELETE", "AuditEvent?date=gt2000"), ("GET", "AuditEvent/1-2/_history"),
        ("GET", "AuditEvent/1-2/_history/1"), ("GET", "AuditEvent/_history"),
    ],
)  # fmt: skip
async def test_nobody_writes_events(audited: httpx.AsyncClient, method: str, path: str) -> None:
    (event,) = await found(audited, "entity:identifier=read-oa")
    answer = await audited.request(method, path, json=event)
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS"
    for type in ("batch", "transaction"):
        url = path if method != "POST" else "AuditEvent"
        entry = {"resource": event, "request": {"method": method, "url": url}}
        if method in ("GET", "DELETE"):
            del entry["resource"]
        answer = await audited.post("", json={"resourceType": "Bundle", "type": type, "entry": [entry]})
        if type == "batch":
            assert answer.json()["entry"][0]["response"]["status"][:1] == "4", answer.text
        else:
            assert answer.status_code >= 400, answer.text
    assert (await audited.get(f"AuditEvent/{event['id']}")).json() == event


async def test_a_patient_sees_what_is_about_them_and_nothing_of_others(audited: httpx.AsyncClient) -> None:
    events = await found(audited, "type=rest", "patient-a")
    assert {"put-a", "obs-a", "read-oa", "search-all", "everything-a"} <= set(names(events))
    for event in events:
        references = [each["what"].get("reference", "") for each in event["entity"] if "what" in each]
        assert "Patient/a" in references and not {"Patient/b", "Patient/c"} & set(references)
        assert "code:text" not in str(event), "the query may name others"
        answer = await audited.get(f"AuditEvent/{event['id']}", headers={"x-caller": "patient-a"})
        assert answer.status_code == 200 and answer.json() == event
    assert await found(audited, "patient=b", "patient-a") == []
    assert await found(audited, "entity=Patient/b", "patient-a") == []
    total = await audited.get("AuditEvent?patient=b&_summary=count", headers={"x-caller": "patient-a"})
    assert total.json()["total"] == 0
    (others,) = await found(audited, "entity:identifier=search-b")
    (mixed,) = await found(audited, "entity:identifier=search-all")
    for id in (others["id"], mixed["id"], f"{mixed['id']}.2", f"{mixed['id']}.1.2"):
        answer = await audited.get(f"AuditEvent/{id}", headers={"x-caller": "patient-a"})
        assert answer.status_code == 404
    mine = await audited.get("Patient/a/AuditEvent?_count=1000", headers={"x-caller": "patient-a"})
    assert mine.status_code == 200 and len(mine.json()["entry"]) >= len(events)
    link = next(each["url"] for each in mine.json()["link"] if each["relation"] == "self")
    assert "/Patient/a/AuditEvent?" in link


@pytest.mark.parametrize("caller", ["partial", "nothing"])
async def test_rules_that_the_trail_cannot_apply_close_it(audited: httpx.AsyncClient, caller: str) -> None:
    for path in ("AuditEvent", "AuditEvent/1-2", "Patient/a/AuditEvent"):
        assert (await audited.get(path, headers={"x-caller": caller})).status_code == 403


async def test_system_searches_find_events_when_only_they_are_asked_for(audited: httpx.AsyncClient) -> None:
    answer = await audited.get("?_type=AuditEvent&patient=b&action=E")
    assert [request_of(entry["resource"]) for entry in answer.json()["entry"]][-2:] == [
        "search-b",
        "search-all",
    ]


async def test_looking_at_the_trail_is_on_the_trail(audited: httpx.AsyncClient) -> None:
    await _call(audited, "GET", "AuditEvent?patient=c", "who-looks")
    (event,) = await found(audited, "entity:identifier=who-looks")
    assert "Patient/c" in str(event["entity"]) and event["subtype"][0]["code"] == "search-type"
