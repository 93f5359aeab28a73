"""The server as a process: how fast it starts, and what memory it takes under load (start, memory)."""

from __future__ import annotations

import threading
import time
from random import Random
from statistics import mean, median

from bench import machine, records
from bench.lab import Lab, end, first_answer
from bench.load import User, drive, expect, send
from bench.scenarios import Figures, Scale
from bench.scenarios.crud import MH_PATIENTS, mh_users
from bench.scenarios.importing import poster

_STARTS = 5
_TIMEOUT = 30.0
_SAMPLES = 20


def _put_first() -> User:
    body = records.dump({**records.patient(Random(1), 1), "id": "first"})
    expect((yield "put", send("PUT", "Patient/first", body)), 201)


def start(lab: Lab, scale: Scale) -> Figures:
    """Seconds from spawning ``fhirhub serve`` to its first answered read, the embedded Postgres included.

    The store exists and is at rest; the first of the starts finds everything in the file cache already, since the
    store was made a moment before.
    """
    home = lab.home / "start"
    with lab.fhirhub(None, workers=1, home=home) as server:
        drive(server.port, [_put_first()])
        port = server.port
    seconds = []
    for _ in range(_STARTS):
        started = time.perf_counter()
        process, _ = lab.spawn(None, home=home, port=port)
        try:
            seconds.append(first_answer(port, "/fhir/Patient/first", started + _TIMEOUT) - started)
        finally:
            end(process)
    return {
        "seconds": round(median(seconds), 3),
        "range": [round(min(seconds), 3), round(max(seconds), 3)],
        "workers": lab.workers,
    }


def memory(lab: Lab, scale: Scale) -> Figures:
    """MiB of each worker idle and under crud-mh, and how they grow from the second quarter to the last."""
    dsn = lab.database("fhb_memory")
    with lab.fhirhub(dsn) as server:
        drive(server.port, [poster(records.bundles(1, MH_PATIENTS))])
        lab.settle(dsn)
        workers = server.workers()
        idle = [machine.memory(pid) for pid in workers]
        samples: list[list[dict[str, float]]] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(scale.memory_seconds / _SAMPLES):
                samples.append([machine.memory(pid) for pid in workers])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            tally = drive(server.port, mh_users(server), warm=scale.warm, seconds=scale.memory_seconds)
        finally:
            over.set()
            watcher.join()
    lab.drop("fhb_memory")
    rss = [mean(each["rss"] for each in sample) for sample in samples if all(sample)]
    quarter = max(len(rss) // 4, 1)
    before, after = mean(rss[quarter : 2 * quarter] or rss), mean(rss[-quarter:])
    return {
        "idle_rss": round(mean(each["rss"] for each in idle), 1),
        "idle_pss": round(mean(each["pss"] for each in idle), 1),
        "peak_rss": round(max(each["rss"] for sample in samples for each in sample if each), 1),
        "peak_pss": round(max(each["pss"] for sample in samples for each in sample if each), 1),
        "growth": round(after / before - 1, 4),
        "seconds": scale.memory_seconds,
        "load_rps": round(tally.rate),
    }
