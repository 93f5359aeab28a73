"""How well matches fit: ``_sort=-_score`` and ``search.score``. https://hl7.org/fhir/R4/search.html#score"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

TEXT = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'


def location(id: str, longitude: float) -> dict[str, Any]:
    position = {"latitude": 47.0, "longitude": longitude}
    return {"resourceType": "Location", "id": id, "name": "Place", "position": position}


def basic(id: str, narrative: str, author: str) -> dict[str, Any]:
    return {
        "resourceType": "Basic", "id": id, "code": {"text": author},
        "text": {"status": "generated", "div": TEXT.format(narrative)},
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def record(client: httpx.AsyncClient) -> None:
    patients = {"p1": "Ann", "p2": "Annabel", "p3": "Annunziata", "p4": "Anna", "p5": "Bob"}
    for each in (
        *(location(f"l{n}", 7.0 + 0.01 * n) for n in (3, 0, 2, 1, 4)),
        *({"resourceType": "Patient", "id": id, "name": [{"family": name}]} for id, name in patients.items()),
        basic("b1", "fever and cough", "note"), basic("b2", "fever", "note"), basic("b3", "nothing", "cough"),
        basic("b4", "rash", "note"),
    ):  # fmt: skip
        made = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert made.status_code == 201, made.text


async def scores(client: httpx.AsyncClient, query: str) -> list[tuple[str, float]]:
    """(id, score) on all pages of the search, in order."""
    found: list[tuple[str, float]] = []
    url: str | None = query
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [(each["resource"]["id"], each["search"]["score"]) for each in page.get("entry", ())]
        url = next((each["url"] for each in page["link"] if each["relation"] == "next"), None)
    assert all(0 <= score <= 1 for _, score in found)
    return found


@pytest.mark.parametrize("count", [2, 50])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Location?near=47.0|7.0|5|km&_sort=-_score", "l0 l1 l2 l3 l4"),
        ("Location?near=47.0|7.0|5|km&_sort=_score", "l4 l3 l2 l1 l0"),
        ("Location?near=47.0|7.034|5|km&name=place&_sort=-_score,_id", "l3 l4 l2 l1 l0"),
        ("Patient?family=ann&_sort=-_score", "p1 p4 p2 p3"),
        ("Patient?family:contains=nna&_sort=-_score", "p4 p2"),
        ("Patient?_filter=family sw ann and not (family eq anna)&_sort=-_score", "p1 p2 p3"),
        ("Basic?_content=fever OR cough&_sort=-_score,_id", "b1 b2 b3"),
        ("Basic?_text=fever&_sort=-_score,_id", "b1 b2"),
    ],
)
async def test_the_best_come_first(client: httpx.AsyncClient, query: str, expected: str, count: int) -> None:
    found = await scores(client, f"{query}&_count={count}")
    assert [id for id, _ in found] == expected.split()
    order = sorted((score for _, score in found), reverse="-_score" in query)
    assert [score for _, score in found] == order


async def test_scores_say_how_well_it_fits(client: httpx.AsyncClient) -> None:
    assert dict(await scores(client, "Patient?family=ann&_sort=-_score")) == {
        "p1": 1,
        "p4": 0.75,
        "p2": 0.4286,
        "p3": 0.3,
    }
    near = dict(await scores(client, "Location?near=47.0|7.0|5|km&_sort=-_score"))
    assert near["l0"] == 1 and 0.8 < near["l1"] < 0.9 and 0.3 < near["l4"] < 0.5


async def test_without_asking_nothing_is_scored(client: httpx.AsyncClient) -> None:
    page = (await client.get("Patient?family=ann")).json()
    assert all("score" not in each["search"] for each in page["entry"])


@pytest.mark.parametrize(
    "query", ["Patient?_sort=-_score", "Patient?gender=male&_sort=_score", "Patient?family=a&_score=true"]
)
async def test_what_has_no_score_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "not-supported"
