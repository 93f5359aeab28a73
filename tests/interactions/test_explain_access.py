"""``$explain`` tells nobody what they may not know: no estimates of what is hidden, the refusals of the search itself."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from fhirhub.search.request import SearchRequest
from fhirhub.store.explain import Explained
from fhirhub.store.store import Store
from support.access import observation
from support.door import Door, Token
from support.parameters import told

MUCH = 100_000_000.0


async def plan(caller: Door, query: str) -> dict[str, Any]:
    answer = await caller.call("GET", f"/{query}")
    assert answer.status_code == 200, answer.text
    return told(answer.json())


async def test_estimates_are_for_those_who_see_everything(door: Door, token: Token) -> None:
    root = await plan(door, "Observation/$explain?patient=ana&code=a|b")
    assert root["cost"][0]["entries"] and root["plan"][0]["condition"]
    doctor = await token("user/*.rs", role="practitioner", fhir_user="Practitioner/doc")
    boss = await token("user/*.cruds", role="admin", fhir_user="Practitioner/doc", username="boss")
    for caller in (
        doctor,
        boss,
        await token("patient/*.rs", role="patient", patient="ana"),
        await token("patient/Observation.rs?category=laboratory", role="practitioner", patient="ana"),
        await token("system/Observation.rs", policy={"rules": [{"types": ["Observation"], "may": "rs"}]}),
    ):
        answer = await caller.call("GET", "/Observation/$explain?patient=ana&code=a|b")
        assert answer.status_code == (403 if caller is boss else 200), answer.text
        if answer.status_code == 403:
            searched = await caller.call("GET", "/Observation?patient=ana&code=a|b")
            assert answer.json()["issue"][0]["details"] == searched.json()["issue"][0]["details"]
            continue
        found = told(answer.json())
        assert set(found) == {"criterion", "plan", "cost", "refused", "advice"}
        assert set(found["cost"][0]) == {"growsWith", "limit"}
        assert set(found["plan"][0]) == {"kind", "how", "driver"}
        assert all(character not in answer.text.replace("5000000", "") for character in "23456789")


GRID = (
    "Observation/$explain?patient={}", "Observation/$explain?subject=Patient/{}&status=final", "Patient/$explain?_id={}",
    "Observation/$explain?subject:Patient._id={}&_sort=status", "Observation/$explain?_id=x&subject={}&code:text=x",
    "Patient/$explain?_has:Observation:subject:performer=Practitioner/{}", "Observation/$explain?performer:above={}",
    "Patient/$explain?identifier={}&_total=accurate", "Patient/$explain?name:contains={}", "Patient/$explain?_content={}",
    "Observation/$explain?code:text={}", "Observation/$explain?code={}", "$explain?_content={}&_type=Patient,Observation",
    "Observation/$explain?subject:Patient.name:contains={}&_sort=-date", "List/$explain?item=Patient/{}",
    "Patient/$explain?general-practitioner:identifier={}", "Encounter/$explain?location:below={}", "Patient/$explain?_list={}",
    "ValueSet/$explain?url:below=http://{}", "Patient/$explain?_filter=family eq {}", "Observation/$explain?value-quantity=5||{}",
)  # fmt: skip


async def test_what_is_there_makes_no_difference(door: Door, token: Token) -> None:
    """To who may not see everything the same is told of what is stored and of what is not."""
    word = "zqstored"
    for document in (
        {"resourceType": "Practitioner", "id": word, "identifier": [{"value": word}], "name": [{"text": word}]},
        {"resourceType": "Location", "id": word},
        {"resourceType": "Patient", "id": word, "identifier": [{"value": word}], "name": [{"family": word}],
         "text": {"status": "additional", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{word}</div>'}},
        {"resourceType": "List", "id": word, "status": "current", "mode": "working"},
        {"resourceType": "ValueSet", "id": word, "status": "active", "url": f"http://{word}/x"},
        observation(word, id=word, code={"text": word, "coding": [{"code": word, "system": "urn:x", "display": word}]},
                    valueQuantity={"value": 5, "unit": word}),
    ):  # fmt: skip
        answer = await door.put(document)
        assert answer.status_code in (200, 201), answer.text
    callers = [
        await token("patient/*.rs", role="patient", patient="ana"),
        await token("user/*.rs", role="practitioner", fhir_user="Practitioner/doc"),
    ]
    differing = 0
    for query in GRID:
        for caller in callers:
            stored = await caller.call("GET", "/" + query.format(word))
            absent = await caller.call("GET", "/" + query.format("zqabsent"))
            assert stored.status_code in (200, 403), (query, stored.text)
            assert stored.text.replace(word, "?") == absent.text.replace("zqabsent", "?"), query
        one, other = [(await door.call("GET", "/" + query.format(name))).text for name in (word, "zqabsent")]
        differing += one.replace(word, "?") != other.replace("zqabsent", "?")
    # Estimates do tell: to who may know.
    assert differing > 4


@pytest.mark.parametrize(
    ("scopes", "query", "missing"),
    [
        ("user/Patient.rs", "Observation/$explain?code=a", "Observation.s"),
        ("user/Patient.rs", "$explain?_type=Observation&code=a", "Observation.s"),
        ("user/Patient.rs", "$explain?_type=Patient,Observation&_id=a", "Observation.s"),
        ("user/Patient.rs", "Patient/$explain?_has:Observation:subject:code=a", "Observation.s"),
        ("user/Observation.rs", "Observation/$explain?subject:Patient.family=a", "Patient.s"),
        ("user/Observation.r", "Observation/$explain?code=a", "Observation.s"),
        ("user/Observation.c", "$explain?_id=a", "s"),
    ],
)
async def test_who_could_not_search_is_refused_as_by_the_search(
    token: Token, scopes: str, query: str, missing: str
) -> None:
    caller = await token(scopes, role="practitioner", fhir_user="Practitioner/doc")
    asked = await caller.call("GET", f"/{query}")
    searched = await caller.call("GET", f"/{query.replace('/$explain', '').replace('$explain', '')}")
    assert asked.status_code == searched.status_code == 403, (asked.text, searched.text)
    assert asked.json()["issue"][0]["details"] == searched.json()["issue"][0]["details"]
    assert missing in asked.text


async def test_a_refusal_tells_no_numbers_to_who_may_not_know(
    door: Door, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = Store.planned

    async def costly(self: Store, request: SearchRequest) -> Explained:
        found = await planned(self, request)
        found.cost.add(MUCH, lambda: "testing 77 values", lambda: "add a patient")
        return found

    monkeypatch.setattr(Store, "planned", costly)
    doctor = await token("user/*.rs", role="practitioner", fhir_user="Practitioner/doc")
    texts = []
    for caller in (door, doctor):
        found = await plan(caller, "Observation/$explain?_sort=value-quantity")
        (issue,) = found["refusal"][0]["issue"]
        assert found["refused"] == [True] and issue["code"] == "too-costly"
        texts.append(issue["details"]["text"])
    assert (
        "testing 77 values comes to about 100.0 M index entries" in texts[0] and "add a patient" in texts[0]
    )
    assert texts[1] == "This search is too costly: add a patient."


async def test_it_is_on_record(door: Door, token: Token) -> None:
    doctor = await token("user/*.rs", role="practitioner", fhir_user="Practitioner/doc")
    answer = await doctor.call("GET", "/Observation/$explain?patient=ana")
    connection = await asyncpg.connect(door.dsn)
    try:
        row = await connection.fetchrow(
            "select * from audit where request = $1", answer.headers["x-request-id"]
        )
    finally:
        await connection.close()
    assert row is not None
    assert (row["interaction"], row["type"], row["status"]) == ("$explain", "Observation", 200)
    assert "patient=ana" in row["detail"] and "Observation/" not in row["detail"]
