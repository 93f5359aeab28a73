"""Searches that ask for too much: refused with the limit and with what to do instead."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fhirhub.store import totals
from fhirhub.store.cost import Guard

TOO_MUCH = {
    "alternatives": ("Observation?code=" + ",".join(f"c{n}" for n in range(501)), "500 values at most"),
    "parameters": ("Observation?" + "&".join(["code=a"] * 201), "200 parameters at most"),
    "chain": ("Observation?" + "has-member:Observation." * 7 + "code=a", "6 links at most"),
    "_has": (
        "Patient?_has:Observation:subject:" + "_has:Observation:has-member:" * 7 + "code=a",
        "6 links at most",
    ),
    "untyped chain": ("Observation?focus.code=a", "types"),
}


@pytest.mark.parametrize("case", TOO_MUCH)
async def test_what_asks_for_too_much_is_refused(client: httpx.AsyncClient, case: str) -> None:
    query, text = TOO_MUCH[case]
    answer = await client.get(query)
    (issue,) = answer.json()["issue"]
    assert answer.status_code == 400 and issue["code"] == "too-costly", issue
    assert text in issue["details"]["text"]
    assert "?" in issue["expression"][0] or issue["expression"] == [query.partition("?")[0]]


async def test_what_costs_too_much_is_refused(app: Any, client: httpx.AsyncClient) -> None:
    usual = app.store.searcher.guard
    assert usual.ceiling and usual.timeout
    app.store.searcher.guard = Guard(50)
    try:
        answer = await client.get("Observation?_sort=status")
        (issue,) = answer.json()["issue"]
        assert answer.status_code == 400 and issue["code"] == "too-costly"
        assert "leave _sort=status out" in issue["details"]["text"]
        assert (await client.get("Observation?identifier=a")).status_code == 200
    finally:
        app.store.searcher.guard = usual


async def test_a_total_that_would_take_long_is_an_estimate_and_says_so(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await client.put(
        "Observation/a",
        json={"resourceType": "Observation", "id": "a", "status": "final", "code": {"text": "a"}},
    )
    assert made.status_code == 201, made.text
    for query in (
        "Observation?status:not=amended&_summary=count",
        "Observation?status:not=amended&_total=accurate",
    ):
        found = (await client.get(query)).json()
        assert found["total"] == 1
        monkeypatch.setattr(totals, "COUNTED", 1)
        # Not the very same search, whose statement is ready.
        found = (await client.get(f"{query}&_format=json")).json()
        monkeypatch.undo()
        assert found["total"] > 1
        told = [each["resource"] for each in found["entry"] if each["search"]["mode"] == "outcome"]
        assert "estimate" in told[0]["issue"][0]["details"]["text"]
