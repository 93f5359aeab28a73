"""``:nickname``: people who were entered by another form of their given name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.steps import Step, run


def person(id: str, *given: str, family: str = "Smith", type: str = "Patient", **more: Any) -> dict[str, Any]:
    return {"resourceType": type, "id": id, "name": [{"family": family, "given": list(given)}], **more}


CONTENT: list[dict[str, Any]] = [
    person("william", "William", "James", birthDate="1950-02-03"), person("bill", "BILL", birthDate="1980-01-01"),
    person("will", "Will"), person("wilf", "Wilfred"), person("bob", "Robert"), person("one", "Billy Joe", family="Jones"),
    person("eliza", "Élizabeth"), person("beth", "Beth"), person("zq", "Zqhard"), person("zqt", "Zqhardt"),
    person("doc", "Margaret", type="Practitioner"), person("kin", "Jimmy", type="RelatedPerson", patient={"reference": "Patient/will"}),
    person("same", "Katherine", type="Person"),
    {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/william"}},
]  # fmt: skip

CASES: dict[str, set[str]] = {
    "Patient?given:nickname=Bill": {"william", "bill", "will", "one"},
    "Patient?given:nickname=william": {"william", "bill", "will", "one"},
    "Patient?given:nickname=Rob": {"bob"},
    "Patient?given:nickname=Liz": {"eliza", "beth"},
    "Patient?given:nickname=ÉLIZABETH": {"eliza", "beth"},
    "Patient?given:nickname=Zqhard": {"zq"},
    "Patient?given:nickname=Nobody": set(),
    "Patient?given:nickname=Zqhard,Beth": {"zq", "eliza", "beth"},
    "Patient?name:nickname=Bill Jones": {"one"},
    "Patient?name:nickname=Bill&family=Smith": {"william", "bill", "will"},
    "Patient?given:nickname=Bill&birthdate=gt1970": {"bill"},
    "Patient?given:nickname=Bill&_id=will,bob": {"will"},
    "Patient?given:nickname=Bill&_sort=birthdate": {"william", "bill", "will", "one"},
    "Practitioner?given:nickname=Peggy": {"doc"},
    "RelatedPerson?name:nickname=James": {"kin"},
    "Person?name:nickname=Kate": {"same"},
    "Observation?subject:Patient.given:nickname=Willy": {"o"},
    "Patient?_has:Observation:subject:subject:Patient.given:nickname=Willy": {"william"},
    "?_type=Patient,Practitioner&given:nickname=Meg,Bob": {"doc", "bob"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    for each in CONTENT:
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("query", CASES)
async def test_who_is_found(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{query}&_total=accurate&_count=2")
    assert answer.status_code == 200, answer.text
    bundle, found = answer.json(), []
    assert bundle["total"] == len(CASES[query])
    while True:
        found += [entry["resource"]["id"] for entry in bundle.get("entry", [])]
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not following:
            break
        bundle = (await client.get(following[0])).json()
    assert sorted(found) == sorted(CASES[query])


STEPS: dict[str, list[Step]] = {
    "refused where there are no given names": [
        {"do": "GET Patient?family:nickname=Bill", "status": 400, "issue": "use given:nickname or name:nickname"},
        {"do": "GET Organization?name:nickname=Bill", "status": 400, "issue": "has no modifier 'nickname'"},
        {"do": "GET Observation?subject:Patient.family:nickname=Bill", "status": 400, "issue": "given:nickname"},
        {"do": "GET Patient?given:nickname=", "status": 400, "issue": "empty value"},
    ],
    "passed over by lenient handling": [
        {"do": "GET Patient?family:nickname=Bill&_id=bob", "with": {"prefer": "handling=lenient"}, "has": {
            "entry.#": 2, "entry.1.search.mode": "outcome"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, STEPS[name])
