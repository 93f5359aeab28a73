"""Ten thousand interactions of all kinds, refusals and dying connections among them: each stands in the trail once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import asyncpg
import httpx
import pytest

from conftest import BASE
from fhirhub.app import create_app
from fhirhub.auth.access import Access
from fhirhub.errors import Issue, Unauthorized
from fhirhub.exchange import Caller
from fhirhub.keys import load
from fhirhub.search.sight import ALL, EVERYTHING, Sight
from fhirhub.settings import Settings
from fhirhub.store.audit import floods
from fhirhub.store.audit.verify import verify
from support.lifespan import running

INTERACTIONS = 10_000
TOGETHER = 24
KILL = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and application_name = 'fhirhub' and pid <> pg_backend_pid()
order by random() limit 2
"""
READING = {"Patient": ALL, "Observation": ALL}
CALLERS = {
    b"ann": Access(EVERYTHING, Caller(user="ann", client="app")),
    b"reader": Access(Sight({"r": READING, "s": READING}), Caller(user="rea", client="app")),
}


class Gate:
    """Knows callers by a header; who gives none has no token."""

    async def access(self, headers: Any) -> Access:
        if b"x-caller" not in headers:
            raise Unauthorized(Issue("login", "There is no token."))
        return CALLERS[headers[b"x-caller"]]


@dataclass
class Sent:
    """What was asked under one request id, and what was answered: the statuses that the trail has to tell of."""

    request: str
    statuses: list[int] = field(default_factory=list)
    lost: bool = False
    """An answer was that the database went away, so it may be that what was asked has been done all the same."""

    def answered(self, status: int) -> None:
        self.statuses.append(status)
        self.lost = self.lost or status == 503


class Mix:
    """Calls chosen by chance."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.random = Random(11)
        self.names = map("r{:05}".format, itertools.count())
        self.sent: list[Sent] = []

    @property
    def told(self) -> int:
        return sum(len(each.statuses) for each in self.sent)

    async def run(self) -> None:
        while self.told < INTERACTIONS:
            await (self.batch() if self.random.random() < 0.3 else self.call())

    def entry(self) -> tuple[str, str, Any]:
        """Method, url and body of one interaction."""
        id = f"p{self.random.randrange(40)}"
        patient = {"resourceType": "Patient", "id": id, "birthDate": f"19{self.random.randrange(10, 99)}"}
        seen = {
            "resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id}"},
        }  # fmt: skip
        return self.random.choice(
            [
                ("GET", f"Patient/{id}", None), ("GET", f"Patient/{id}", None), ("GET", f"Observation?patient={id}&_count=3", None),
                ("GET", f"Patient/{id}/_history?_count=2", None), ("GET", "Patient?nonsense=1", None), ("GET", "Patient/nobody", None),
                ("GET", f"Patient/{id}/_history/1", None), ("PUT", f"Patient/{id}", patient), ("PUT", f"Patient/{id}", patient),
                ("POST", "Observation", seen), ("POST", "Observation", {"resourceType": "Observation"}), ("DELETE", f"Patient/{id}", None),
            ]
        )  # fmt: skip

    def start(self) -> tuple[Sent, dict[str, str]]:
        sent = Sent(next(self.names))
        self.sent.append(sent)
        caller = self.random.choice(["ann"] * 6 + ["reader"] * 2 + [""])
        return sent, {"x-request-id": sent.request, **({"x-caller": caller} if caller else {})}

    async def call(self) -> None:
        method, url, body = self.entry()
        sent, headers = self.start()
        answer = await self.client.request(method, url, json=body, headers=headers)
        sent.answered(answer.status_code)

    async def batch(self) -> None:
        sent, headers = self.start()
        entries = []
        for _ in range(12):
            method, url, body = self.entry()
            # Two changes of one resource would be one refusal of the whole.
            if method == "GET" or method == "POST":
                entries.append(
                    {"request": {"method": method, "url": url}} | ({"resource": body} if body else {})
                )
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        answer = await self.client.post("", json=bundle, headers=headers)
        if answer.status_code != 200:
            sent.answered(answer.status_code)
            return
        for entry in answer.json()["entry"]:
            sent.answered(int(entry["response"]["status"][:3]))


async def test_every_interaction_is_on_the_trail_once(
    settings: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here each refusal is to be found by its request; that only numbers are told of floods is held elsewhere.
    monkeypatch.setattr(floods, "EACH", INTERACTIONS)
    monkeypatch.setattr(floods, "ALL", INTERACTIONS)
    assert settings.database_url is not None
    own = replace(settings, audit="on", data_dir=tmp_path)
    app = create_app(own)
    connection = await asyncpg.connect(settings.database_url)
    async with running(app):
        app.gate = Gate()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
            mix = Mix(client)
            working = [asyncio.create_task(mix.run()) for _ in range(TOGETHER)]
            while not all(task.done() for task in working):
                await asyncio.sleep(0.25)
                await connection.execute(KILL)
            await asyncio.gather(*working)
    found: dict[str, list[int]] = {each.request: [] for each in mix.sent}
    for row in await connection.fetch("select request, status from audit where kind <> 'checkpoint'"):
        found[row["request"]].append(row["status"])
    wrong = [
        (each, found[each.request])
        for each in mix.sent
        if not each.lost and Counter(each.statuses) != Counter(found[each.request])
    ]
    lost = [each for each in mix.sent if each.lost]
    twice = [
        (each, found[each.request])
        for each in lost
        if found[each.request].count(503) > each.statuses.count(503)
        or len(found[each.request]) > len(each.statuses) + each.statuses.count(503)
    ]
    assert wrong == [] and twice == []
    assert 0 < len(lost) < len(mix.sent) // 10
    answered = Counter(status for each in mix.sent for status in each.statuses)
    assert {200, 201, 204, 400, 401, 403, 404, 410} <= set(answered), answered
    checked = await verify(connection, load(own).derive("audit"))
    await connection.close()
    assert checked.problems == [] and checked.rows > INTERACTIONS - len(lost) * 12
