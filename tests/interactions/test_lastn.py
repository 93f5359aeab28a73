"""Observation/$lastn, and the hint that a code stands in components.

https://hl7.org/fhir/R4/observation-operation-lastn.html
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.steps import Step, run

LOINC = "http://loinc.org"


def coding(*codes: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code} for code in codes]}


def observation(
    id: str, code: dict[str, Any], day: int | None, patient: str = "p", **more: Any
) -> dict[str, Any]:
    when = {"effectiveDateTime": f"2020-01-{day:02}"} if day else {}
    return {"resourceType": "Observation", "id": id, "status": "final", "code": code, "category": [coding("vital")],
            "subject": {"reference": f"Patient/{patient}"}, **when, **more}  # fmt: skip


CONTENT: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "p"}, {"resourceType": "Patient", "id": "q"},
    observation("a1", coding("a"), 1), observation("a3", coding("a"), 3), observation("a2", coding("a", "alpha"), 2),
    # The same code under another name, known by a resource that has both.
    observation("a4", coding("alpha"), 4), observation("a0", coding("a"), None),
    observation("b5", coding("b"), 5), observation("b1", coding("b"), 1),
    observation("t2", {"text": "By hand"}, 2), observation("t1", {"text": "By hand"}, 1),
    observation("q9", coding("a"), 9, "q"),
    observation("bp", coding("panel"), 7, component=[{"code": coding("8480-6"), "valueQuantity": {"value": 120}}]),
]  # fmt: skip

CASES: dict[str, list[str]] = {
    "patient=p&category=vital": ["bp", "b5", "a4", "t2"],
    "patient=p&category=vital&max=2": ["bp", "b5", "b1", "a4", "a3", "t2", "t1"],
    "patient=p&category=vital&max=100": ["bp", "b5", "b1", "a4", "a3", "a2", "a1", "a0", "t2", "t1"],
    f"subject=Patient/p&code={LOINC}|a": ["a3"],
    "patient=p&category=vital&date=lt2020-01-03": ["t2", "a2", "b1"],
    "patient=q&category=vital": ["q9"],
    "patient=nobody&category=vital": [],
    "patient=p&category=nothing": [],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    for each in CONTENT:
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("query", CASES)
async def test_the_last_of_each_code(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"Observation/$lastn?{query}")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [entry["resource"]["id"] for entry in found.get("entry", [])] == CASES[query]
    assert found["total"] == len(CASES[query])


STEPS: dict[str, list[Step]] = {
    "by POST": [
        {"do": "POST Observation/$lastn", "send": {"resourceType": "Parameters", "parameter": [
            {"name": "patient", "valueString": "p"}, {"name": "category", "valueString": "vital"}, {"name": "max", "valueInteger": 1}]},
         "has": {"entry.#": 4}},
    ],
    "refusals": [
        {"do": "GET Observation/$lastn?patient=p", "status": 400, "issue": "category or code"},
        {"do": "GET Observation/$lastn?category=vital", "status": 400, "issue": "patient or subject"},
        {"do": "GET Observation/$lastn?patient=p&category=vital&max=0", "status": 400, "issue": "max"},
        {"do": "GET Observation/$lastn?patient=p&category=vital&_sort=date", "status": 400, "issue": "own order"},
        {"do": "GET Observation/$lastn?patient=p&category=vital&nonsense=1", "status": 400},
        {"do": "GET Patient/$lastn", "status": 404},
    ],
    "a code that stands in components": [
        {"do": f"GET Observation?code={LOINC}|8480-6", "has": {
            "entry.#": 1, "entry.0.search.mode": "outcome", "entry.0.resource.issue.0.severity": "information",
            "entry.0.resource.issue.0.details.text":
                "No Observation has that as its own, but components of some have it: search by component-code, or by combo-code for both."}},
        {"do": f"GET Observation?code={LOINC}|8480-6&patient=q", "has": {"entry": "-"}},
        {"do": f"GET Observation?component-code={LOINC}|8480-6", "has": {"entry.#": 1, "entry.0.search.mode": "match"}},
        {"do": f"GET Observation?code={LOINC}|8480-6&_summary=count", "has": {"total": 0, "entry.#": 1}},
        {"do": "GET Observation?value-quantity=120&_total=accurate", "has": {"total": 0, "entry.0.search.mode": "outcome"}},
        {"do": "GET Observation?code=nothing", "has": {"entry": "-"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, STEPS[name])
