"""_include and _revinclude: wildcards, :iterate, and the way to what does not fit.

https://hl7.org/fhir/R4/search.html#include
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

from fhirhub.store import includes

DEPTH = 12
CODE = {"text": "x"}


def content() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"resourceType": "Organization", "id": "o0", "name": "Root"}]
    found += [
        {"resourceType": "Organization", "id": f"o{n}", "name": f"Level {n}", "partOf": {"reference": f"Organization/o{n - 1}"}}
        for n in range(1, DEPTH)
    ]  # fmt: skip
    found += [
        {"resourceType": "Practitioner", "id": "d"},
        {"resourceType": "Patient", "id": "p", "managingOrganization": {"reference": f"Organization/o{DEPTH - 1}"},
         "generalPractitioner": [{"reference": "Practitioner/d"}]},
        {"resourceType": "Patient", "id": "q"},
    ]  # fmt: skip
    found += [
        {"resourceType": "Observation", "id": f"b{n:02}", "status": "final", "code": CODE, "effectiveDateTime": f"2020-01-{n + 1:02}",
         "subject": {"reference": "Patient/p"}, "performer": [{"reference": "Practitioner/d"}]}
        for n in range(17)
    ]  # fmt: skip
    found.append({"resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": CODE,
                  "result": [{"reference": "Observation/b01"}, {"reference": "Observation/b02"}]})  # fmt: skip
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def stored(client: httpx.AsyncClient) -> None:
    entries = [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in content()
    ]
    body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = await client.post("http://testserver/fhir", json=body)
    assert answer.status_code == 200, answer.text


async def page(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(found: dict[str, Any], mode: str) -> list[str]:
    return [each["resource"]["id"] for each in found.get("entry", []) if each["search"]["mode"] == mode]


def link(found: dict[str, Any], relation: str) -> str | None:
    return next((each["url"] for each in found["link"] if each["relation"] == relation), None)


ORGANIZATIONS = [f"o{n}" for n in range(DEPTH)]

CASES: dict[str, list[str]] = {
    "Patient?_id=p&_include=Patient:organization": ["o11"],
    "Patient?_id=p&_include=Patient:organization&_include=Organization:partof": ["o11"],
    "Patient?_id=p&_include=Patient:organization&_include:iterate=Organization:partof": ORGANIZATIONS,
    "Patient?_id=p&_include=*": ["d", "o11"],
    "Patient?_id=p&_include:iterate=*": ["d", *ORGANIZATIONS],
    "DiagnosticReport?_include=DiagnosticReport:result&_include:iterate=Observation:subject": ["b01", "b02", "p"],
    "DiagnosticReport?_include=DiagnosticReport:result&_include:iterate=Observation:performer:Organization": ["b01", "b02"],
    "Observation?_id=b01&_revinclude=*": ["r"],
    "Organization?_id=o0&_revinclude:iterate=Organization:partof&_revinclude:iterate=Patient:organization": [
        "p", *ORGANIZATIONS[1:]],
    "Patient?_id=q&_include=*&_revinclude=*": [],
}  # fmt: skip


@pytest.mark.parametrize("query", CASES)
async def test_what_is_included(client: httpx.AsyncClient, query: str) -> None:
    found = await page(client, query)
    assert sorted(ids(found, "include")) == sorted(CASES[query])
    assert link(found, "related") is None


@pytest.mark.parametrize(
    "way", ["", "&_include:iterate=Patient:organization", "&_sort=_id", "&gender:missing=true"]
)
async def test_a_link_leads_to_the_rest(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(includes, "INCLUDED", 5)
    found = await page(client, f"Patient?_id=p,q&_count=1&_revinclude=Observation:subject{way}")
    if ids(found, "match") == ["q"]:
        following = link(found, "next")
        assert following is not None
        found = await page(client, following)
    assert ids(found, "match") == ["p"]
    seen, following = ids(found, "include"), link(found, "related")
    assert len(seen) == 5
    while following:
        found = await page(client, following)
        assert ids(found, "match") == []
        assert link(found, "next") is None
        seen += ids(found, "include")
        following = link(found, "related")
    expected = [f"b{n:02}" for n in range(17)] + (["o11"] if "organization" in way else [])
    assert sorted(seen) == expected


async def test_an_end_is_told(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(includes, "FOUND", 8)
    found = await page(client, "Patient?_id=p&_revinclude:iterate=Observation:subject")
    assert len(ids(found, "include")) == 8
    assert "is where they end" in found["entry"][-1]["resource"]["issue"][0]["details"]["text"]


@pytest.mark.parametrize(
    "query", ["Patient?_contained=true&_sort=birthdate", "Patient?_contained=both&_include=*", "Patient?_sort=age"]
)  # fmt: skip
async def test_what_is_not_served_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "not-supported"
