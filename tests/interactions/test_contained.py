"""Contained resources: found with what contains them, by chains too. https://hl7.org/fhir/R4/search.html#contained"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

BASE = "http://testserver/fhir"
SNOMED = "http://snomed.info/sct"


def practitioner(id: str, family: str, gender: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Practitioner", "id": id, "name": [{"family": family}], "gender": gender, **more}


def request_for(id: str, drug: str, *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    medication = {
        "resourceType": "Medication", "id": "m", "code": {"coding": [{"system": SNOMED, "code": drug}]},
        "manufacturer": {"reference": "#maker"}, "ingredient": [{"itemReference": {"reference": "Substance/s"}}],
    }  # fmt: skip
    maker = {"resourceType": "Organization", "id": "maker", "name": f"Maker of {drug}"}
    return {
        "resourceType": "MedicationRequest", "id": id, "status": "active", "intent": "order",
        "contained": [medication, maker, *others], "medicationReference": {"reference": "#m"},
        "subject": {"reference": "Patient/p"}, **more,
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def record(client: httpx.AsyncClient) -> None:
    standing = practitioner("free", "Ames", "female")
    both = (practitioner("a", "Ames", "male"), practitioner("b", "Burke", "female", birthDate="1970-01-01"))
    stored = {
        "resourceType": "Medication",
        "id": "stored",
        "code": {"coding": [{"system": SNOMED, "code": "x"}]},
    }
    for each in (
        {"resourceType": "Patient", "id": "p"},
        {"resourceType": "Substance", "id": "s", "code": {"text": "salt"}},
        standing,
        stored,
        request_for("one", "x", *both, requester={"reference": "#b"}),
        request_for("two", "y", practitioner("c", "Burke", "male"), requester={"reference": "#c"}),
        request_for("three", "y", practitioner("d", "Cole", "male"), requester={"reference": "Practitioner/free"}),
        {**request_for("four", "z"), "medicationReference": {"reference": "Medication/stored"}, "contained": []},
    ):  # fmt: skip
        document = {name: value for name, value in each.items() if value != []}
        made = await client.put(f"{each['resourceType']}/{each['id']}", json=document)
        assert made.status_code == 201, made.text


async def urls(client: httpx.AsyncClient, query: str) -> list[str]:
    answer = await client.get(query)
    assert answer.status_code == 200, answer.text
    found = [each["fullUrl"].removeprefix(BASE + "/") for each in answer.json().get("entry", ())]
    assert len(found) == len(set(found))
    return sorted(found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Practitioner?family=burke", ""),
        ("Practitioner?family=burke&_contained=false", ""),
        ("Practitioner?family=burke&_contained=true", "one two"),
        ("Practitioner?family=ames&_contained=true", "one"),
        ("Practitioner?family=ames&_contained=both", "Practitioner/free one"),
        ("Practitioner?family=burke&gender=female&_contained=true", "one"),
        # Ames is male and Burke female: no one contained resource is both.
        ("Practitioner?family=ames&gender=female&_contained=true", ""),
        ("Practitioner?gender:not=male&_contained=true", "one"),
        ("Practitioner?gender:not=female&_contained=true", "one three two"),
        ("Practitioner?family:contains=urk&_contained=true", "one two"),
        ("Practitioner?family:exact=Burke&_contained=true", "one two"),
        ("Practitioner?_contained=true", "one three two"),
        ("Practitioner?_contained=true&_sort=_id", "one three two"),
        (f"Medication?code={SNOMED}|y&_contained=true", "three two"),
        ("Medication?code=y,x&_contained=true", "one three two"),
        ("Medication?code=x&_contained=both", "Medication/stored one"),
        ("Medication?ingredient=Substance/s&_contained=true", "one three two"),
        ("Person?_contained=true", ""),
        # what is shown
        ("Practitioner?family=burke&_contained=true&_containedType=container", "one two"),
        ("Practitioner?family=burke&_contained=true&_containedType=contained", "one#b two#c"),
        ("Practitioner?family=ames&_contained=both&_containedType=contained", "Practitioner/free one#a"),
        ("Practitioner?gender=male&_contained=true&_containedType=contained", "one#a three#d two#c"),
        # chains
        ("MedicationRequest?medication.code=x", "four one"),
        ("MedicationRequest?medication.code=y", "three two"),
        ("MedicationRequest?requester:Practitioner.family=burke", "one two"),
        ("MedicationRequest?requester:Practitioner.family=ames", "three"),
        ("MedicationRequest?requester:Practitioner.gender:not=male", "one three"),
        ("MedicationRequest?medication.manufacturer.name=maker of x", "one"),
        (
            "MedicationRequest?medication.code=y&requester:Practitioner.family=burke&_sort=-_lastUpdated",
            "two",
        ),
    ],
)
async def test_what_is_contained_is_found(client: httpx.AsyncClient, query: str, expected: str) -> None:
    wanted = [f"MedicationRequest/{each}" if "/" not in each else each for each in expected.split()]
    assert await urls(client, query) == sorted(wanted)


async def test_pages_and_totals_are_those_of_the_containers(client: httpx.AsyncClient) -> None:
    answer = (await client.get("Practitioner?_contained=true&_count=2&_total=accurate")).json()
    assert answer["total"] == 3 and len(answer["entry"]) == 2
    following = next(each["url"] for each in answer["link"] if each["relation"] == "next")
    assert len((await client.get(following)).json()["entry"]) == 1


async def test_a_contained_resource_is_shown_as_it_stands(client: httpx.AsyncClient) -> None:
    answer = (
        await client.get("Practitioner?family=burke&gender=female&_contained=true&_containedType=contained")
    ).json()
    (entry,) = answer["entry"]
    assert entry["fullUrl"] == f"{BASE}/MedicationRequest/one#b" and entry["search"]["mode"] == "match"
    assert entry["resource"] == practitioner("b", "Burke", "female", birthDate="1970-01-01")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Practitioner?_contained=yes", "is one of"),
        ("Practitioner?family:missing=true&_contained=true", "texts and presence"),
        ("Practitioner?_id=c&_contained=true", "texts and presence"),
        ("Practitioner?family=a&_contained=true&_sort=family", "cannot be sorted"),
        ("Practitioner?_contained=true&_revinclude=*", "nothing can be included"),
        ("Patient/p/MedicationRequest?_contained=true", "of one type only"),
        ("?_type=Patient,Practitioner&_contained=true", "of one type only"),
        ("Medication?manufacturer.name=maker of y&_contained=true", "to outside"),
        ("Medication?ingredient:Substance.code=salt&_contained=true", "to outside"),
    ],
)
async def test_what_cannot_be_asked_of_them_is_refused(
    client: httpx.AsyncClient, query: str, text: str
) -> None:
    answer = await client.get(query)
    assert answer.status_code == 400
    assert text in answer.json()["issue"][0]["details"]["text"]


async def test_what_is_gone_is_not_found_any_more(client: httpx.AsyncClient) -> None:
    changed = request_for("two", "y", practitioner("c", "Dora", "male"), requester={"reference": "#c"})
    assert (await client.put("MedicationRequest/two", json=changed)).status_code == 200
    assert await urls(client, "Practitioner?family=burke&_contained=true") == ["MedicationRequest/one"]
    assert await urls(client, "MedicationRequest?requester:Practitioner.family=dora") == [
        "MedicationRequest/two"
    ]
