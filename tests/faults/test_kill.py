"""Nothing acknowledged is lost, nothing is half done, whatever is killed while clients write.

A real server with real workers and a real Postgres; SIGKILL at random, as often as ``FAULT_KILLS`` says (workers,
Postgres; ``FAULT_KILLS=4,2`` for a shorter run).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fhirhub.definitions.tables import load
from fhirhub.store.postgres import Postgres
from fhirhub.store.verify import Verified, verify
from support.process import Server

WORKER_KILLS, POSTGRES_KILLS = map(int, os.environ.get("FAULT_KILLS", "20,10").split(","))
WRITERS = 4
SYSTEM = "http://example.org/faults"
LOINC = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}

pytestmark = pytest.mark.process


@dataclass
class Kept:
    """What a client was told, and what it does not know."""

    created: dict[str, str] = field(default_factory=dict)
    """id -> marker of every acknowledged create."""
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    """id -> (last acknowledged, last tried) value of what is updated again and again."""
    together: dict[str, bool] = field(default_factory=dict)
    """marker of a transaction -> whether it was acknowledged."""
    statuses: Counter[Any] = field(default_factory=Counter)


class Writer(threading.Thread):
    """A client that writes until it is told to stop, and remembers every answer."""

    def __init__(self, base: str, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"writer-{seed}", daemon=True)
        self._client = httpx.Client(base_url=base, timeout=15.0, trust_env=False)
        self._chance = random.Random(seed)
        self._stop_writing = stop
        self._own = f"counter-{seed}"
        self.kept = Kept()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_writing.is_set():
                self._chance.choice((self._create, self._update, self._transact))()
        except BaseException as error:
            self.error = error

    def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """The answer, or None when nobody can know what became of the request."""
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            self.kept.statuses[type(error).__name__] += 1
            time.sleep(0.02)
            return None
        self.kept.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            time.sleep(0.05)
        if answer.status_code >= 500:
            return None
        assert answer.status_code in (200, 201), answer.text
        return answer

    def _create(self) -> None:
        marker = uuid.uuid4().hex
        answer = self._send("POST", "Patient", _patient(marker))
        if answer is not None:
            self.kept.created[answer.json()["id"]] = marker

    def _update(self) -> None:
        acknowledged, tried = self.kept.counters.get(self._own, (0, 0))
        body = {**_patient(f"n{tried + 1}"), "id": self._own, "multipleBirthInteger": tried + 1}
        self.kept.counters[self._own] = (acknowledged, tried + 1)
        if self._send("PUT", f"Patient/{self._own}", body) is not None:
            self.kept.counters[self._own] = (tried + 1, tried + 1)

    def _transact(self) -> None:
        marker = uuid.uuid4().hex
        patient = f"urn:uuid:{uuid.uuid4()}"
        resources = [(patient, _patient(marker))]
        resources += [(f"urn:uuid:{uuid.uuid4()}", _observation(marker, patient, n)) for n in range(4)]
        entries = [
            {"fullUrl": url, "resource": one, "request": {"method": "POST", "url": one["resourceType"]}}
            for url, one in resources
        ]
        self.kept.together[marker] = False
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        self.kept.together[marker] = self._send("POST", "", bundle) is not None


def _patient(marker: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": SYSTEM, "value": marker}],
        "name": [{"family": f"Family{marker[:6]}", "given": ["Given"]}],
        "birthDate": "1980-02-03",
    }


def _observation(marker: str, subject: str, n: int) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "identifier": [{"system": SYSTEM, "value": marker}],
        "code": LOINC,
        "subject": {"reference": subject},
        "effectiveDateTime": f"2026-01-0{n + 1}",
        "valueQuantity": {"value": 60 + n, "system": "http://unitsofmeasure.org", "code": "/min"},
    }


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fhirhub-faults-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _kill(server: Server, chance: random.Random) -> None:
    """Kill workers and Postgres in random order; Postgres as a whole, or the postmaster alone."""
    victims = ["worker"] * WORKER_KILLS + ["postgres"] * POSTGRES_KILLS
    chance.shuffle(victims)
    for victim in victims:
        time.sleep(chance.uniform(0.15, 0.6))
        if victim == "worker":
            while not (workers := server.workers()):
                time.sleep(0.05)
            os.kill(chance.choice(workers), signal.SIGKILL)
            continue
        server.wait_ready(60)
        postmaster = psutil.Process(server.postmaster())
        doomed = [postmaster, *(postmaster.children(recursive=True) if chance.random() < 0.5 else [])]
        for process in doomed:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass


def test_nothing_acknowledged_is_lost(home: Path, request: pytest.FixtureRequest) -> None:
    chosen = request.config.getoption("--postgres-bin")
    variables = {"FHIRHUB_SHARED_BUFFERS": "128MiB"} | ({"FHIRHUB_POSTGRES_BIN": chosen} if chosen else {})
    stop = threading.Event()
    with Server(home, "--workers", "2", "--no-auth", variables=variables) as server:
        writers = [Writer(server.base, seed, stop) for seed in range(WRITERS)]
        for writer in writers:
            writer.start()
        _kill(server, random.Random(7))
        server.wait_ready(60)
        # Whoever survives goes on: the record has to work afterwards, and enough has to be at stake.
        until = time.monotonic() + 30
        while time.monotonic() < until and sum(writer.kept.statuses[201] for writer in writers) <= 60:
            time.sleep(0.2)
        stop.set()
        for writer in writers:
            writer.join(30)
            assert writer.error is None, repr(writer.error)
        statuses: Counter[Any] = sum((writer.kept.statuses for writer in writers), Counter())
        failures = [line for line in server.log if "traceback" in line and "cannot start" not in line]
        shown = f"{dict(statuses)}\n" + "".join(failures[:5])
        assert statuses[500] == 0, shown
        assert statuses[201] > 50, shown
        with server.client() as client:
            for writer in writers:
                _check(client, writer.kept)
        base = server.base
    found = _verified(home, chosen, base)
    assert found.disagreements == []
    assert found.resources > 0


def _check(client: httpx.Client, kept: Kept) -> None:
    for id, marker in kept.created.items():
        answer = client.get(f"Patient/{id}")
        assert answer.status_code == 200, f"Patient/{id} was acknowledged and is gone: {answer.text}"
        assert answer.json()["identifier"][0]["value"] == marker
    for id, (acknowledged, tried) in kept.counters.items():
        found = client.get(f"Patient/{id}").json().get("multipleBirthInteger", 0)
        assert acknowledged <= found <= tried, (id, acknowledged, found, tried)
    for marker, acknowledged in kept.together.items():
        query = {"identifier": f"{SYSTEM}|{marker}", "_summary": "count"}
        parts = [client.get(type, params=query).json()["total"] for type in ("Patient", "Observation")]
        assert parts in ([[1, 4]] if acknowledged else [[0, 0], [1, 4]]), (marker, acknowledged, parts)


def _verified(home: Path, chosen: str | None, base: str) -> Verified:
    """Documents against index rows, references and versions, in what the server left behind."""
    postgres = Postgres(home, programs=Path(chosen) if chosen else None, shared_buffers=128 << 20)
    dsn = postgres.start()
    try:
        return asyncio.run(verify(dsn, load(), bases=(base,)))
    finally:
        postgres.stop()
