"""Every answer of a real server stands in the audit trail once, whoever asked and whatever was killed meanwhile.

Calls of all kinds and of many callers, to FHIR and to the authorization server, to two workers of which one after the
other is killed (SIGKILL); as many calls as ``FAULT_CALLS`` says (10000 at night).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import httpx
import pytest

from support.process import Server
from support.smart import bearer, issue

CALLS = int(os.environ.get("FAULT_CALLS", "2000"))
TOGETHER = 12
KILLS = max(CALLS // 500, 3)
PATIENTS = 20
pytestmark = pytest.mark.process


@pytest.fixture
def guarded(fresh_dsn: str) -> Iterator[Server]:
    """Two workers that ask for tokens, on a database of their own."""
    with TemporaryDirectory(prefix="fhirhub-test-", ignore_cleanup_errors=True) as home:
        variables = {"FHIRHUB_NO_AUTH": "off", "FHIRHUB_DATABASE_URL": fresh_dsn}
        with Server(Path(home), "--workers", "2", variables=variables) as started:
            started.wait_ready()
            yield started


@dataclass
class Calls:
    """What was asked under each request id, and how often that must stand in the trail."""

    callers: list[dict[str, str]]
    answered: dict[str, int] = field(default_factory=dict)
    """Request id -> interactions that were answered."""
    nobody: set[str] = field(default_factory=set)
    """Failures of callers who proved nothing: of those of a minute some stand there, the others as a number."""
    unknown: dict[str, int] = field(default_factory=dict)
    """Those without an answer, or with 503: they may stand there or not, but not more often than that."""
    statuses: Counter[int] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    @property
    def asked(self) -> int:
        return len(self.answered) + len(self.unknown) + len(self.nobody)

    async def one(self, client: httpx.AsyncClient) -> None:
        id = f"call-{self.asked}-{self.chance.getrandbits(40):x}"
        self.unknown[id] = 1
        method, path, body = self._drawn()
        headers = {"X-Request-Id": id, **self.chance.choice(self.callers)}
        if path.startswith("/auth"):
            await self._done(id, client.post(path, data=body, headers=headers))
        else:
            await self._done(id, client.request(method, f"/fhir/{path}", json=body, headers=headers))

    async def batch(self, client: httpx.AsyncClient) -> None:
        """Five interactions in one request; one refusal when there is no token."""
        id = f"batch-{self.asked}-{self.chance.getrandbits(40):x}"
        entries = []
        while len(entries) < 5:
            method, path, body = self._drawn()
            if not path.startswith("/auth") and method in ("GET", "POST"):
                resource = {"resource": body} if body else {}
                entries.append({"request": {"method": method, "url": path}, **resource})
        self.unknown[id] = len(entries)
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        headers = {"X-Request-Id": id, **self.chance.choice(self.callers)}
        await self._done(id, client.post("/fhir", json=bundle, headers=headers))

    async def _done(self, id: str, sending: Any) -> None:
        try:
            answer = await sending
        except httpx.HTTPError:
            await asyncio.sleep(0.02)
            return
        assert answer.headers["x-request-id"] == id
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            return
        count = self.unknown.pop(id)
        if answer.status_code == 401:
            self.nobody.add(id)
            return
        self.answered[id] = count if answer.status_code == 200 else 1

    def _drawn(self) -> tuple[str, str, Any]:
        id = f"p{self.chance.randrange(PATIENTS)}"
        patient = {"resourceType": "Patient", "id": id, "birthDate": f"19{self.chance.randrange(10, 99)}"}
        seen = {
            "resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id}"},
        }  # fmt: skip
        return self.chance.choice(
            [
                ("GET", f"Patient/{id}", None), ("GET", f"Patient/{id}", None), ("GET", f"Observation?patient={id}&_count=3", None),
                ("GET", f"Patient/{id}/_history?_count=2", None), ("GET", f"Patient/{id}/_history/1", None),
                ("GET", "Patient?nonsense=1", None), ("GET", "Patient/nobody", None), ("GET", "Nonsense/1", None),
                ("GET", f"Patient/{id}/$everything?_count=5", None), ("GET", "Condition?_count=1", None),
                ("PUT", f"Patient/{id}", patient), ("PUT", f"Patient/{id}", patient), ("POST", "Observation", seen),
                ("POST", "Observation", {"resourceType": "Observation"}), ("DELETE", f"Observation/{id}", None),
                ("POST", "/auth/token", {"grant_type": "refresh_token", "refresh_token": "x" * 43, "client_id": "x"}),
            ]
        )  # fmt: skip


async def _ask(server: Server, calls: Calls) -> None:
    """One connection after the other; a worker that dies takes one along."""
    limits = httpx.Limits(max_connections=1)
    origin = server.base.removesuffix("/fhir")
    async with httpx.AsyncClient(base_url=origin, timeout=30, trust_env=False, limits=limits) as client:
        while calls.asked < CALLS:
            await (calls.batch(client) if calls.chance.random() < 0.15 else calls.one(client))


async def _kill(server: Server, calls: Calls) -> int:
    """Kill a worker at equal distances on the way; how many were."""
    killed, chance = 0, random.Random(6)
    for number in range(1, KILLS + 1):
        while calls.asked < CALLS * number / (KILLS + 1):
            await asyncio.sleep(0.01)
        # Somebody has to answer: the next one dies when the last one is replaced.
        while len(workers := server.workers()) < 2 and calls.asked < CALLS:
            await asyncio.sleep(0.05)
        if calls.asked < CALLS:
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    return killed


async def _callers(dsn: str) -> list[dict[str, str]]:
    doctor = bearer(await issue(dsn, "user/*.cruds", username="doctor"))
    reader = bearer(await issue(dsn, "user/Patient.rs", username="reader"))
    biller = bearer(await issue(dsn, "user/*.cruds", role="biller", username="biller", fhir_user=None))
    patient = bearer(await issue(dsn, "patient/*.rs", role="patient", patient="p1", username="patient"))
    system = bearer(await issue(dsn, "system/*.cruds", client="Lab"))
    over = bearer(await issue(dsn, "user/*.cruds", username="doctor", seconds=-1))
    return [doctor, doctor, system, system, system, reader, biller, patient, over, bearer("y" * 43), {}]


_COUNTED = "select coalesce(sum((detail::jsonb -> 'more' ->> 'times')::int), 0) from audit where request = ''"


async def test_every_answer_is_on_the_trail_once(guarded: Server, fresh_dsn: str) -> None:
    calls = Calls(await _callers(fresh_dsn))
    async with asyncio.TaskGroup() as group:
        for _ in range(TOGETHER):
            group.create_task(_ask(guarded, calls))
        killing = group.create_task(_kill(guarded, calls))
    killed = killing.result()
    guarded.stop()
    connection = await asyncpg.connect(fresh_dsn)
    rows = await connection.fetch("select request, count(*) as n from audit where request <> '' group by 1")
    counted = await connection.fetchval(_COUNTED)
    await connection.close()
    found = {row["request"]: row["n"] for row in rows}
    wrong = {id: (n, found.get(id, 0)) for id, n in calls.answered.items() if found.get(id, 0) != n}
    twice = {id: (n, found[id]) for id, n in calls.unknown.items() if found.get(id, 0) > n}
    assert not wrong and not twice, (len(wrong), list(wrong.items())[:10], list(twice.items())[:10])
    assert found.keys() <= calls.answered.keys() | calls.unknown.keys() | calls.nobody
    # What a worker had counted when it was killed is not known any more.
    told = [found[id] for id in calls.nobody if id in found]
    assert set(told) == {1} and 0 < counted <= len(calls.nobody) - len(told)
    assert killed >= KILLS // 2 and len(calls.unknown) < KILLS * TOGETHER, (killed, len(calls.unknown))
    assert {200, 201, 400, 401, 403, 404} <= set(calls.statuses) and calls.statuses[500] == 0, calls.statuses
    _check_by_command(guarded, next(iter(calls.answered)))


def _check_by_command(server: Server, id: str) -> None:
    """The chains hold, and a request is found by its id."""
    assert _command(server, "audit", "verify")["problems"] == []
    assert _command(server, "audit", "search", "--request", id, "--limit", "1")["request"] == id


def _command(server: Server, *arguments: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRHUB_")}
    done = subprocess.run(
        [sys.executable, "-m", "fhirhub", *arguments, "--json"],
        capture_output=True, text=True, env=environment | server.variables, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout)
