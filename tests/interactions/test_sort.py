"""_sort by every kind of parameter: https://hl7.org/fhir/R4/search.html#sort."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from fhirhub.definitions.tables import load
from fhirhub.search.registry import Registry
from fhirhub.search.sorting import document_paths
from support.steps import send

LOINC = "http://loinc.org"


def coded(code: str) -> dict[str, Any]:
    return {"coding": [{"system": LOINC, "code": code}]}


PEOPLE: list[dict[str, Any]] = [
    {"id": "a", "gender": "male", "identifier": [{"value": "30"}], "name": [{"family": "Zed"}], "deceasedBoolean": True,
     "managingOrganization": {"reference": "Organization/o2"}, "meta": {"tag": [{"code": "y"}]}},
    {"id": "b", "gender": "female", "identifier": [{"value": "40"}, {"value": "10"}], "deceasedDateTime": "2020",
     "managingOrganization": {"reference": "Organization/o1"}, "meta": {"tag": [{"code": "z"}, {"code": "x"}]}},
    {"id": "c", "name": [{"family": "Äbel"}], "telecom": [{"system": "email", "value": "c@c"}, {"system": "phone", "value": "1"}]},
    {"id": "d", "gender": "other", "identifier": [{"value": "20"}], "telecom": [{"system": "phone", "value": "0"}],
     "name": [{"family": "Baker"}], "deceasedBoolean": False},
]  # fmt: skip
VALUES: list[dict[str, Any]] = [
    {"id": "v1", "code": coded("b"), "valueQuantity": {"value": 5}, "subject": {"reference": "Patient/b"}},
    {"id": "v2", "code": coded("a"), "component": [{"code": coded("c"), "valueQuantity": {"value": 1}}],
     "subject": {"reference": "Patient/a"}},
    {"id": "v3", "code": coded("c"), "performer": [{"reference": "Organization/o1"}]},
]  # fmt: skip
SETS: list[dict[str, Any]] = [
    {"id": "s1", "status": "active", "url": "http://b.test"},
    {"id": "s2", "status": "active", "url": "http://a.test"},
    {"id": "s3", "status": "draft"},
]

ORDERS: dict[str, str] = {
    "Patient?_sort=gender": "badc",
    "Patient?_sort=-gender": "dabc",
    "Patient?_sort=identifier": "bdac",
    "Patient?_sort=-identifier": "badc",
    "Patient?_sort=organization": "bacd",
    "Patient?_sort=phone": "dcab",
    "Patient?_sort=_tag": "bacd",
    "Patient?_sort=-_tag": "badc",
    "Patient?_sort=deceased,_id": "cdab",
    "Patient?_sort=family": "cdab",
    "Patient?_sort=gender,-_id&_count=2": "badc",
    "Patient?_sort=-gender&organization:missing=false": "ab",
    "Observation?_sort=code": "v2v1v3",
    "Observation?_sort=combo-code": "v2v1v3",
    "Observation?_sort=-combo-code": "v3v2v1",
    "Observation?_sort=combo-value-quantity": "v2v1v3",
    "Observation?_sort=patient": "v2v1v3",
    "ValueSet?_sort=url": "s2s1s3",
    "ValueSet?_sort=-status,url": "s3s2s1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    resources = [{"resourceType": "Organization", "id": f"o{n}", "name": "O"} for n in (1, 2)]
    resources += [{"resourceType": "Patient", **each} for each in PEOPLE]
    resources += [{"resourceType": "Observation", "status": "final", **each} for each in VALUES]
    resources += [{"resourceType": "ValueSet", **each} for each in SETS]
    for each in resources:
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


async def ids(client: httpx.AsyncClient, url: str) -> tuple[list[str], str | None]:
    page = (await send(client, {"do": f"GET {url}"})).json()
    assert page["resourceType"] == "Bundle", page
    links = {link["relation"]: link["url"] for link in page["link"]}
    return [entry["resource"]["id"] for entry in page.get("entry", [])], links.get("next")


@pytest.mark.parametrize("query", ORDERS)
async def test_order(client: httpx.AsyncClient, query: str) -> None:
    """Page by page, one resource at a time too."""
    found, following = await ids(client, query)
    while following:
        more, following = await ids(client, following)
        found += more
    assert "".join(found) == ORDERS[query]
    single, following = await ids(client, f"{query.partition('&_count')[0]}&_count=1")
    while following:
        more, following = await ids(client, following)
        single += more
    assert single == found


async def test_a_composite_has_no_order(client: httpx.AsyncClient) -> None:
    answer = await client.get("Observation?_sort=code-value-quantity")
    assert answer.status_code == 400
    assert "no order" in answer.text


async def test_every_path_is_one_that_the_database_understands(dsn: str) -> None:
    registry = Registry(load())
    paths = {
        path
        for type in registry.definitions.resource_types
        for facet in registry.facets(type).values()
        for _, path in document_paths(facet)
    }
    assert len(paths) > 500
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetchval(
            "select count(*) from unnest($1::text[]) as p where jsonb_path_exists('{}', p::jsonpath) is not null",
            sorted(paths),
        )
    finally:
        await connection.close()
    assert found == len(paths)
