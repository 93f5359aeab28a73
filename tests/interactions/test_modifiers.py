"""Modifiers that look further than the index rows of a resource: texts, value sets, hierarchies, units.

https://hl7.org/fhir/R4/search.html#modifiers
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
ACME = "http://acme.test"


def concept(
    code: str, display: str | None = None, text: str | None = None, system: str = SCT
) -> dict[str, Any]:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return {"coding": [coding]} | ({"text": text} if text else {})


def condition(id: str, code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": id,
        "subject": {"reference": "Patient/p"},
        "code": code,
        **more,
    }


def observation(id: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    quantity = {"value": value, "unit": unit, "system": UCUM, "code": unit}
    return {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "Weight"}, "valueQuantity": quantity,
            **more}  # fmt: skip


ANIMALS = {
    "resourceType": "CodeSystem", "id": "animals", "url": f"{ACME}/animals", "status": "active", "content": "complete",
    "concept": [
        {"code": "animal", "concept": [
            {"code": "mammal", "concept": [{"code": "cat", "property": [{"code": "legs", "valueInteger": 4}]}]},
            {"code": "bird", "property": [{"code": "legs", "valueInteger": 2}]}]},
        {"code": "bat", "property": [{"code": "parent", "valueCode": "mammal"}, {"code": "legs", "valueInteger": 2}]}],
}  # fmt: skip


def value_set(id: str, compose: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    composed = {"compose": compose} if compose else {}
    return {
        "resourceType": "ValueSet",
        "id": id,
        "url": f"{ACME}/{id}",
        "status": "active",
        **composed,
        **more,
    }


CONTENT: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "p", "gender": "female",
     "identifier": [{"value": "1", "type": {"text": "Medical record number"}}]},
    {"resourceType": "Patient", "id": "q", "gender": "male", "identifier": [{"value": "2", "type": {"text": "Passport"}}]},
    condition("c1", concept("386661006", "Fever", "Feeling hot")),
    condition("c2", concept("386661006", "Fever (finding)")),
    condition("c3", {"text": "A strange Héadache, left-sided"}),
    condition("c4", concept("cat", system=f"{ACME}/animals"), clinicalStatus=concept(
        "active", system="http://terminology.hl7.org/CodeSystem/condition-clinical")),
    condition("c5", concept("bat", system=f"{ACME}/animals")),
    condition("c6", concept("bird", system=f"{ACME}/animals")),
    condition("c7", concept("animal", system=f"{ACME}/animals")),
    ANIMALS,
    value_set("listed", {"include": [{"system": SCT, "concept": [{"code": "386661006"}]}]}),
    value_set("mammals", {"include": [{"system": f"{ACME}/animals", "filter": [
        {"property": "concept", "op": "is-a", "value": "mammal"}]}]}),
    value_set("bipeds", {"include": [{"system": f"{ACME}/animals", "filter": [
        {"property": "legs", "op": "=", "value": "2"}]}]}),
    value_set("flying-mammals", {"include": [{"valueSet": [f"{ACME}/mammals", f"{ACME}/bipeds"]}]}),
    value_set("others", {"include": [{"system": f"{ACME}/animals"}], "exclude": [{"valueSet": [f"{ACME}/mammals"]}]}),
    value_set("expanded", expansion={"timestamp": "2020-01-01", "contains": [
        {"system": f"{ACME}/animals", "code": "animal", "abstract": True, "contains": [
            {"system": f"{ACME}/animals", "code": "bird"}]}]}),
    value_set("broken", {"include": [{"system": "http://nobody.test"}]}),
    value_set("genders", {"include": [{"system": "http://hl7.org/fhir/administrative-gender", "concept": [
        {"code": "male"}, {"code": "other"}]}]}),
    {"resourceType": "Location", "id": "campus", "name": "Campus"},
    {"resourceType": "Location", "id": "house", "name": "House", "partOf": {"reference": "Location/campus"}},
    {"resourceType": "Location", "id": "room", "name": "Room", "partOf": {"reference": "Location/house"}},
    {"resourceType": "Location", "id": "elsewhere", "name": "Elsewhere"},
    *({"resourceType": "Encounter", "id": f"e-{place}", "status": "planned", "class": {"code": "AMB"},
       "location": [{"location": {"reference": f"Location/{place}"}}]} for place in ("campus", "room", "elsewhere")),
    observation("w1", 2000, "mg"), observation("w2", 2, "g"), observation("w3", 0.002, "kg"), observation("w4", 2, "mL"),
    observation("w5", 2001, "mg"),
    {"resourceType": "Observation", "id": "i1", "status": "final", "code": {"text": "x"},
     "subject": {"type": "Patient", "identifier": {"system": "urn:i", "value": "7"}}},
    {"resourceType": "Observation", "id": "i2", "status": "final", "code": {"text": "x"},
     "subject": {"type": "Group", "identifier": {"system": "urn:i", "value": "7"}}},
    {"resourceType": "Observation", "id": "i3", "status": "final", "code": {"text": "x"},
     "subject": {"identifier": {"system": "urn:i", "value": "7"}}},
    {"resourceType": "QuestionnaireResponse", "id": "r1", "status": "completed", "questionnaire": f"{ACME}/q/form|1.2"},
    {"resourceType": "QuestionnaireResponse", "id": "r2", "status": "completed", "questionnaire": f"{ACME}/q/form|2.0"},
]  # fmt: skip

FINDS: dict[str, str] = {
    "Condition?code:text=fever": "c1 c2",
    "Condition?code:text=feeling": "c1",
    "Condition?code:text=FEVER (find": "c2",
    "Condition?code:text=ever": "",
    "Condition?code:text=headache": "c3",
    "Condition?code:text=left sided": "c3",
    "Condition?code:text=hot,strange": "c1 c3",
    "Condition?code:text=%": "",
    "Patient?identifier:text=record": "p",
    "Patient?_has:Condition:patient:code:text=fever": "p",
    f"Condition?code:in={ACME}/listed": "c1 c2",
    "Condition?code:in=ValueSet/listed": "c1 c2",
    f"Condition?code:in={ACME}/mammals": "c4 c5",
    f"Condition?code:in={ACME}/flying-mammals": "c5",
    f"Condition?code:in={ACME}/others": "c6 c7",
    f"Condition?code:in={ACME}/expanded": "c6",
    f"Condition?code:not-in={ACME}/mammals": "c1 c2 c3 c6 c7",
    f"Condition?code:in={ACME}/mammals,{ACME}/listed&_count=2": "c1 c2 c4 c5",
    f"Condition?code:below={ACME}/animals|mammal": "c4 c5",
    f"Condition?code:above={ACME}/animals|bat": "c5 c7",
    f"Condition?code:below={ACME}/animals|animal&_count=1": "c4 c5 c6 c7",
    "Condition?clinical-status:in=http://hl7.org/fhir/ValueSet/condition-clinical": "c4",
    f"Patient?gender:in={ACME}/genders": "q",
    f"Patient?gender:not-in={ACME}/genders": "p",
    "Encounter?location:below=Location/campus": "e-campus e-room",
    "Encounter?location:below=Location/room": "e-room",
    "Encounter?location:above=Location/room": "e-campus e-room",
    "Location?partof:below=Location/campus": "house room",
    f"Observation?value-quantity=2|{UCUM}|g": "w1 w2 w3 w5",
    f"Observation?value-quantity=2.000|{UCUM}|g": "w1 w2 w3",
    "Observation?value-quantity=2000||mg": "w1 w2 w3",
    f"Observation?value-quantity=gt2000|{UCUM}|mg": "w5",
    f"Observation?value-quantity=lt0.0020005|{UCUM}|kg&_sort=-value-quantity": "w1 w2 w3",
    "Observation?subject:identifier=urn:i|7": "i1 i2 i3",
    "Observation?patient:identifier=urn:i|7": "i1 i3",
    f"QuestionnaireResponse?questionnaire:below={ACME}/q/form|1": "r1",
    f"QuestionnaireResponse?questionnaire:below={ACME}/q": "r1 r2",
    f"QuestionnaireResponse?questionnaire:above={ACME}/q/form|2.0.1": "r2",
    f"ValueSet?url:below={ACME}": "bipeds broken expanded flying-mammals genders listed mammals others",
    f"ValueSet?url:above={ACME}/mammals/small": "mammals",
}

REFUSALS: dict[str, str] = {
    "Condition?code:in=http://nobody.test/vs": "is not known here",
    f"Condition?code:in={ACME}/broken": "code system http://nobody.test is not known",
    f"Condition?code:below={ACME}/animals|unicorn": "has no code",
    f"Condition?code:below={SCT}|1": "is not known here",
    "Condition?code:below=mammal": "system|code",
    "Patient?gender:text=x": "without texts",
    "Observation?subject:below=Patient/p": "part of others",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    for each in CONTENT:
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


async def ids(client: httpx.AsyncClient, query: str) -> list[str]:
    found: list[str] = []
    url: str | None = quote(query, safe="?=&:/|,%$") if "%" not in query else query.replace("%", "%25")
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [entry["resource"]["id"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return found


@pytest.mark.parametrize("query", FINDS)
async def test_finds(client: httpx.AsyncClient, query: str) -> None:
    assert sorted(await ids(client, query)) == FINDS[query].split()
    counted = (await client.get(query.replace("%", "%25") + "&_summary=count")).json()
    assert counted["total"] == len(FINDS[query].split())


@pytest.mark.parametrize("query", REFUSALS)
async def test_refuses(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert answer.status_code == 400, answer.text
    assert REFUSALS[query] in answer.text


async def test_a_changed_text_is_not_found_any_more(client: httpx.AsyncClient) -> None:
    await client.put("Condition/change", json=condition("change", concept("1", "Measles")))
    assert await ids(client, "Condition?code:text=measles") == ["change"]
    await client.put("Condition/change", json=condition("change", concept("1", "Mumps")))
    assert await ids(client, "Condition?code:text=measles") == []
    assert await ids(client, "Condition?code:text=mumps") == ["change"]
    await client.delete("Condition/change")
    assert await ids(client, "Condition?code:text=mumps") == []
