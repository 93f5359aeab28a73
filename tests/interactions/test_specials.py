"""_text, _content, _list, _filter and near: https://hl7.org/fhir/R4/search.html#special."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from support.steps import run

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'


def patient(id: str, family: str, given: str, birth: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": id,
        "name": [{"family": family, "given": [given]}],
        "birthDate": birth,
        **more,
    }


def observation(id: str, code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "status": "final", "code": code, "subject": {"reference": "Patient/p1"},
            **more}  # fmt: skip


def place(id: str, latitude: float, longitude: float) -> dict[str, Any]:
    position = {"latitude": latitude, "longitude": longitude}
    return {"resourceType": "Location", "id": id, "name": id, "position": position}


CONTENT: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "org", "name": "Liver Clinic"},
    patient("p1", "Chalmers", "Peter", "1974-12-25", gender="male", managingOrganization={"reference": "Organization/org"},
            text={"status": "generated", "div": DIV.format("<p>Bone &amp; joint; <b>Metastases</b> of the liver</p>")}),
    patient("p2", "Windsor", "Jim", "1980-01-01", gender="female", address=[{"city": "Boneville"}],
            text={"status": "generated", "div": DIV.format("nothing of note")}),
    patient("p3", "Petersen", "Ann", "1980-06-01"),
    observation("o1", {"coding": [{"system": "http://loinc.org", "code": "1", "display": "Bone density"}]},
                valueQuantity={"value": 5, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
                effectivePeriod={"start": "2020-01-01", "end": "2020-02-01"}),
    observation("o2", {"text": "Liver panel"}, note=[{"text": "Brittle bönes, see letter"}], effectiveDateTime="2020-03-01"),
    observation("o3", {"coding": [{"code": "1"}]}, interpretation=[{"text": "High"}]),
    {"resourceType": "List", "id": "l1", "status": "current", "mode": "working",
     "entry": [{"item": {"reference": "Patient/p1"}}, {"item": {"reference": "Observation/o2"}}]},
    place("bern", 46.948, 7.4474), place("zurich", 47.3769, 8.5417), place("fiji", -17.0, 179.95), place("taveuni", -17.0, -179.95),
    {"resourceType": "Location", "id": "nowhere", "name": "nowhere"},
]  # fmt: skip

FINDS: dict[str, str] = {
    "Patient?_text=metastases": "p1",
    "Patient?_text=META liver": "p1",
    "Patient?_text=bone AND joint": "p1",
    "Patient?_text=liver note": "",
    "Patient?_text=liver OR note": "p1 p2",
    "Patient?_text=(liver OR note) NOT bone": "p2",
    "Patient?_text=NOT bone": "p2 p3",
    "Patient?_text=chalmers": "",
    "Patient?_text=xmlns": "",
    "Patient?_content=chalmers": "p1",
    "Patient?_content=bone": "p1 p2",
    "Patient?_content=bone&gender=female": "p2",
    "Observation?_content=bone": "o1 o2",
    "Observation?_content=bone density": "o1",
    "Observation?_content=liver brittle": "o2",
    "Observation?_content=high": "o3",
    "Observation?_content=loinc": "",
    "Observation?patient._text=joint&_sort=_id&_count=2": "o1 o2 o3",
    "Patient?_has:Observation:subject:_content=brittle": "p1",
    "?_type=Patient,Observation&_content=bone": "o1 o2 p1 p2",
    "?_text=joint": "p1",
    "Patient?_list=l1": "p1",
    "Patient?_list=List/l1": "p1",
    "Observation?_list=l1,unknown": "o2",
    "?_list=l1": "o2 p1",
    "Observation?subject._list=l1": "o1 o2 o3",
    "Location?near=46.948|7.4474|100|km": "bern zurich",
    "Location?near=46.948|7.4474|90|km": "bern",
    "Location?near=-17|-179.95|20|km": "fiji taveuni",
    "Location?near=46.948|7.4474|90|km,-17|179.95|1|km": "bern fiji",
    "Location?near:missing=true": "nowhere",
    'Patient?_filter=given eq "peter"': "p1",
    'Patient?_filter=given eq "pete"': "",
    'Patient?_filter=name co "eter"': "p1 p3",
    'Patient?_filter=family sw "wind"': "p2",
    'Patient?_filter=family ew "sen"': "p3",
    'Patient?_filter=family ne "Windsor"': "p1 p3",
    "Patient?_filter=birthdate ge 1980": "p2 p3",
    "Patient?_filter=birthdate ge 1980 and birthdate lt 1980-06": "p2",
    'Patient?_filter=birthdate lt 1975 or (family co "peter" and not (gender pr true))': "p1 p3",
    "Patient?_filter=not (gender eq male)": "p2 p3",
    "Patient?_filter=gender ne male": "p2",
    "Patient?_filter=gender eq http://hl7.org/fhir/administrative-gender|male": "p1",
    "Patient?_filter=gender pr false": "p3",
    "Patient?_filter=organization re Organization/org": "p1",
    'Patient?_filter=organization.name co "clinic"': "p1",
    "Patient?_filter=_id eq p2 or _lastUpdated lt 2000": "p2",
    "Patient?_filter=gender in http://hl7.org/fhir/ValueSet/administrative-gender": "p1 p2",
    "Observation?_filter=date po 2020-01-15": "o1",
    "Observation?_filter=value-quantity gt 4.9|http://unitsofmeasure.org|mg": "o1",
    "Observation?_filter=value-quantity eq 0.005|http://unitsofmeasure.org|g": "o1",
    'Observation?_filter=code eq http://loinc.org|1 and subject.name co "chalm"': "o1",
    "Observation?_filter=subject:Patient[gender eq male].birthdate lt 1980": "o1 o2 o3",
    "Observation?_filter=subject:Patient[gender eq female].birthdate lt 1980": "",
    'Patient?_filter=name eq "a,b$c|d" or given eq "jim"': "p2",
    "Patient?_filter=birthdate ge 1980&gender=female": "p2",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    for each in CONTENT:
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


async def ids(client: httpx.AsyncClient, query: str) -> list[str]:
    found: list[str] = []
    url: str | None = "http://testserver/fhir/" + quote(query, safe="?=&:/|,$")
    while url:
        answer = await client.get(url.replace("/?", "?"))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [entry["resource"]["id"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return sorted(found)


@pytest.mark.parametrize("query", FINDS)
async def test_finds(client: httpx.AsyncClient, query: str) -> None:
    assert await ids(client, query) == FINDS[query].split()


async def test_words_follow_changes(client: httpx.AsyncClient) -> None:
    changed = patient("w", "Gone", "X", "2000", text={"status": "generated", "div": DIV.format("before")})
    await client.put("Patient/w", json=changed)
    assert await ids(client, "Patient?_text=before") == ["w"]
    changed["text"]["div"] = DIV.format("after")
    await client.put("Patient/w", json=changed)
    assert await ids(client, "Patient?_text=before") == []
    assert await ids(client, "Patient?_text=after") == ["w"]
    assert await ids(client, "Patient?_content=gone") == ["w"]
    await client.delete("Patient/w")
    assert await ids(client, "Patient?_text=after") == []


async def test_the_statement_tells_them(client: httpx.AsyncClient) -> None:
    statement = (await client.get("metadata")).json()
    served = {
        each["type"]: {one["name"] for one in each["searchParam"]}
        for each in statement["rest"][0]["resource"]
    }
    assert {"_text", "_content", "_list", "_filter", "near"} <= served["Location"]
    assert "_text" not in served["Binary"]
    assert "_query" not in served["Location"]


async def test_refusals(client: httpx.AsyncClient) -> None:
    await run(
        client,
        [
            {"do": "GET Patient?_query=x", "status": 400, "issue": "named queries"},
            {"do": "GET Patient?_list=$current-problems", "status": 400, "issue": "functional"},
            {"do": "GET Patient?_filter=name", "status": 400, "issue": "no filter"},
            {"do": "GET Location?near=100|0", "status": 400, "issue": "no such place"},
        ],
    )
