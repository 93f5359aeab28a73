"""``_maxresults``: no more matches than that, over all pages."""

from __future__ import annotations

import httpx
import pytest

from conftest import BASE


async def test_no_more_than_asked_for_over_all_pages(client: httpx.AsyncClient) -> None:
    for n in range(9):
        body = {"resourceType": "Basic", "id": f"m{n}", "code": {"text": "x"}}
        assert (await client.put(f"Basic/m{n}", json=body)).status_code == 201
    for most, count, pages in ((7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 5, [2]), (20, 5, [5, 4])):
        found: list[str] = []
        sizes: list[int] = []
        url: str | None = f"Basic?_sort=_id&_count={count}&_maxresults={most}"
        while url:
            answer = (await client.get(url)).json()
            links = {link["relation"]: link["url"] for link in answer["link"]}
            ids = [entry["resource"]["id"] for entry in answer.get("entry", ())]
            found += ids
            sizes.append(len(ids))
            url = links["next"].removeprefix(BASE + "/") if "next" in links else None
        assert sizes == pages and found == [f"m{n}" for n in range(9)][:most]


@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
async def test_it_is_a_number(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get(f"Basic?_maxresults={value}")
    assert answer.status_code == 400 and "_maxresults" in answer.text
