"""Chains, _has and includes over canonical urls: https://hl7.org/fhir/R4/references.html#canonical."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.lifespan import running
from support.smart import bearer, issue

URL = "http://x.test/m"


def measure(id: str, title: str, url: str, version: str = "") -> dict[str, Any]:
    made = {"resourceType": "Measure", "id": id, "status": "active", "url": url, "title": title}
    return made | ({"version": version} if version else {})


def report(id: str, canonical: str) -> dict[str, Any]:
    return {
        "resourceType": "MeasureReport", "id": id, "status": "complete", "type": "individual", "measure": canonical,
        "period": {"start": "2020", "end": "2021"}, "subject": {"reference": f"Patient/{id}"},
    }  # fmt: skip


def plan(id: str, *definitions: str) -> dict[str, Any]:
    actions = [{"definitionCanonical": each} for each in definitions]
    return {
        "resourceType": "PlanDefinition", "id": id, "status": "draft", "url": f"http://x.test/{id}",
    } | ({"action": actions} if actions else {})  # fmt: skip


REPORTS = {"bare": URL, "one": f"{URL}|1", "two": f"{URL}|2", "other": "http://x.test/n", "lost": f"{URL}|9"}
CONTENT = [
    measure("m1", "Pressure", URL, "1"),
    measure("m2", "Sugar", URL, "2"),
    measure("n", "Weight", "http://x.test/n"),
    *({"resourceType": "Patient", "id": id} for id in REPORTS),
    *(report(id, canonical) for id, canonical in REPORTS.items()),
    plan("p1", "http://x.test/p2", "http://x.test/elsewhere"),
    plan("p2", "http://x.test/p3"),
    plan("p3"),
]

CASES: dict[str, list[str]] = {
    "MeasureReport?measure.title=Pressure": ["bare", "one"],
    "MeasureReport?measure.title=Sugar": ["bare", "two"],
    "MeasureReport?measure.title=Weight": ["other"],
    "MeasureReport?measure:Measure.title=Nothing": [],
    "MeasureReport?measure.status=active": ["bare", "one", "other", "two"],
    "MeasureReport?measure.status:not=draft&measure._id=m2": ["bare", "two"],
    "MeasureReport?measure.title=Sugar&_sort=_id&_count=1&_total=accurate": ["bare", "two"],
    'MeasureReport?_filter=measure.title eq "Sugar" and not (_id eq bare)': ["two"],
    "Patient?_has:MeasureReport:subject:measure.title=Sugar": ["bare", "two"],
    "Measure?_has:MeasureReport:measure:_id=one": ["m1"],
    "Measure?_has:MeasureReport:measure:_id=bare": ["m1", "m2"],
    "Measure?_has:MeasureReport:measure:_id=lost": [],
    "Measure?_has:MeasureReport:measure:patient=Patient/other": ["n"],
    "Measure?_has:MeasureReport:measure:status=complete": ["m1", "m2", "n"],
    "Measure?_has:MeasureReport:measure:status=pending": [],
    "PlanDefinition?definition:PlanDefinition.definition:PlanDefinition._id=p3": ["p1"],
    "PlanDefinition?_has:PlanDefinition:definition:_id=p1": ["p2"],
    "MeasureReport?measure.measure.title=x": ["400"],
}
INCLUDED: dict[str, list[str]] = {
    "MeasureReport?_id=one&_include=MeasureReport:measure": ["m1"],
    "MeasureReport?_id=bare,other&_include=MeasureReport:measure": ["m1", "m2", "n"],
    "MeasureReport?_id=bare&_include=MeasureReport:measure:Measure": ["m1", "m2"],
    "MeasureReport?_id=one&_include=MeasureReport:*": ["m1", "one"],
    "MeasureReport?_id=lost&_include=MeasureReport:measure": [],
    "Measure?_id=m1&_revinclude=MeasureReport:measure": ["bare", "one"],
    "Measure?_id=n&_revinclude=MeasureReport:*": ["other"],
    "Measure?_id=n&_revinclude=*": ["other"],
    "PlanDefinition?_id=p1&_include=PlanDefinition:definition": ["p2"],
    "PlanDefinition?_id=p1&_include:iterate=PlanDefinition:definition": ["p2", "p3"],
    "PlanDefinition?_id=p3&_revinclude:iterate=PlanDefinition:definition": ["p1", "p2"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def stored(client: httpx.AsyncClient) -> None:
    entries = [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in CONTENT
    ]
    body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = await client.post(BASE, json=body)
    assert answer.status_code == 200, answer.text


async def found(client: httpx.AsyncClient, query: str, mode: str) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    url: str | None = f"{BASE}/{query}"
    while url:
        answer = await client.get(url)
        if answer.status_code == 400:
            return ["400"]
        assert answer.status_code == 200, answer.text
        body = answer.json()
        ids += [each["resource"]["id"] for each in body.get("entry", []) if each["search"]["mode"] == mode]
        url = next((each["url"] for each in body["link"] if each["relation"] == "next"), None)
    return sorted(ids)


@pytest.mark.parametrize("query", CASES)
async def test_urls_are_followed(client: httpx.AsyncClient, query: str) -> None:
    assert await found(client, query, "match") == CASES[query]


@pytest.mark.parametrize("query", INCLUDED)
async def test_what_urls_lead_to_comes_along(client: httpx.AsyncClient, query: str) -> None:
    assert await found(client, query, "include") == INCLUDED[query]


async def test_nothing_is_told_of_what_the_caller_may_not_see(
    settings: Settings, tmp_path: Any, client: httpx.AsyncClient
) -> None:
    """Measures in draft are out of reach: they are neither followed nor included, nor do they tell by their reports."""
    draft = measure("hidden", "Secret", "http://x.test/hidden") | {"status": "draft"}
    body = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in (draft, report("of-hidden", "http://x.test/hidden") | {"subject": {"reference": "Patient/one"}})
    ]}  # fmt: skip
    assert (await client.post(BASE, json=body)).status_code == 200
    assert await found(client, "MeasureReport?measure.title=Secret", "match") == ["of-hidden"]
    guarded = replace(settings, no_auth=False, data_dir=tmp_path)
    async with running(create_app(guarded)) as app:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30) as door:
            dsn = str(guarded.database_url)
            token = await issue(dsn, "system/MeasureReport.rs system/Measure.rs?status=active")
            door.headers.update(bearer(token))
            assert await found(door, "MeasureReport?measure.title=Secret", "match") == []
            assert await found(door, "MeasureReport?measure.title=Weight", "match") == ["other"]
            assert await found(door, "Measure?_has:MeasureReport:measure:_id=of-hidden", "match") == []
            query = "MeasureReport?_id=of-hidden,other&_include=MeasureReport:measure"
            assert await found(door, query, "include") == ["n"]
            door.headers.update(bearer(await issue(dsn, "system/Measure.rs system/MeasureReport.rs?_id=one")))
            assert await found(door, "Measure?_id=m1&_revinclude=MeasureReport:measure", "include") == ["one"]
            assert await found(door, "Measure?_has:MeasureReport:measure:status=complete", "match") == ["m1"]
            door.headers.update(bearer(await issue(dsn, "system/MeasureReport.rs")))
            refused = await door.get(f"{BASE}/MeasureReport?measure.title=Weight")
            assert refused.status_code == 403
