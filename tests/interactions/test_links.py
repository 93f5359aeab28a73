"""Page links tell nothing of what was searched for; ``self`` tells how the search was understood."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

SECRETS = ("Geheimrat", "geheimrat", "o5", "1950")


def links(bundle: dict[str, Any]) -> dict[str, str]:
    return {each["relation"]: each["url"] for each in bundle["link"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def patients(client: httpx.AsyncClient) -> None:
    for number in range(7):
        made = {
            "resourceType": "Patient",
            "id": f"o{number}",
            "name": [{"family": "Geheimrat"}],
            "birthDate": "1950-01-01",
        }
        assert (await client.put(f"Patient/o{number}", json=made)).status_code == 201


@pytest.mark.parametrize(
    "query",
    [
        "Patient?family=geheimrat&birthdate=1950-01-01&_count=2&_sort=family",
        "?_type=Patient,Person&_count=2&_id:not=o99",
        "Patient?_id="
        + ",".join([f"o{n}" for n in range(7)] + [f"{n:064d}" for n in range(480)])
        + "&_count=2",
    ],
)
async def test_only_self_names_what_was_searched_for(client: httpx.AsyncClient, query: str) -> None:
    page = (await client.get(query)).json()
    first = links(page)
    assert first["self"].endswith("_count=2") or "_count=2&" in first["self"]
    found: list[str] = []
    while True:
        found += [each["resource"]["id"] for each in page["entry"]]
        told = links(page)
        for relation, url in told.items():
            if relation != "self" or len(found) > 2:
                assert url.count("=") == 1 and "?_cursor=~" in url
                assert not any(secret in url.partition("~")[0] for secret in SECRETS)
        if "next" not in told:
            break
        page = (await client.get(told["next"])).json()
    assert sorted(found) == [f"o{number}" for number in range(7)]
    again = (await client.get(told["first"])).json()
    assert [each["resource"]["id"] for each in again["entry"]] == found[:2]


async def test_a_link_keeps_the_form_of_the_answer(client: httpx.AsyncClient) -> None:
    page = (await client.get("Patient?_count=2&_format=json&_pretty=true")).json()
    assert links(page)["next"].endswith("&_format=json&_pretty=true")


async def test_a_link_opens_where_it_was_made_only(client: httpx.AsyncClient) -> None:
    page = (await client.get("Patient?_count=2")).json()
    moved = links(page)["next"].replace("/Patient?", "/Person?")
    assert (await client.get(moved)).status_code == 400
