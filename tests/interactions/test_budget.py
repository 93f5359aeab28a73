"""A caller's budget, over HTTP: what searches cost is taken from it, and who has spent it waits."""

from __future__ import annotations

from dataclasses import replace

import httpx

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.lifespan import running


async def test_who_has_spent_the_budget_waits(settings: Settings) -> None:
    app = create_app(replace(settings, budget=4))
    async with running(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            answers = [await client.get("Patient?name=a") for _ in range(6)]
            told = [(each.status_code, each.headers.get("ratelimit", "").split(";t")[0]) for each in answers]
            assert told[0] == (200, '"caller";r=2')
            assert told[-1][0] == 429
            refused = answers[-1]
            assert refused.json()["issue"][0]["code"] == "throttled"
            assert int(refused.headers["retry-after"]) > 0
            assert (await client.get("metadata")).status_code == 200
