"""``python -m bench.timing``: does the time of an answer tell what is hidden from what is not there?

An app of one patient asks for resources of another patient and for ids that nobody has, in random order over one
connection. Printed are the medians of both, and the probability that an answer about what is hidden takes longer than
one about what is absent (the statistic U of Mann and Whitney over n·n): 0.5 when the two cannot be told apart. At n
asked each, chance alone moves it by about 0.58/sqrt(2n), one standard deviation (0.009 at n = 2000).

``--cpu`` takes the processor time of the server and of Postgres instead: what others do on the machine moves it less.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import statistics
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress

from bench import machine
from bench.lab import ROOT, Lab, Server

sys.path.insert(0, str(ROOT / "tests"))

from support.smart import issue  # noqa: E402

IDS = 200
"""Of each kind; asked in turn, so that none is more at hand than another."""
OWN = 20
"""Observations of the app's own patient."""
NUMBER = 2000
WARM = 200
Shape = Callable[[str], str]
SHAPES: dict[str, Shape] = {
    "read": lambda id: f"Observation/{id}",
    "vread": lambda id: f"Observation/{id}/_history/1",
    "history": lambda id: f"Observation/{id}/_history",
    "search by _id": lambda id: f"Observation?_id={id}",
    "search by reference": lambda id: f"Observation?derived-from=Observation/{id}",
    "search by patient": lambda id: f"Observation?patient={id}",
    "search by code": lambda id: f"Observation?code={id}",
    "chain": lambda id: f"Observation?patient.identifier={id}",
    "compartment": lambda id: f"Patient/{id}/Observation",
    "everything": lambda id: f"Patient/{id}/$everything",
    "include": lambda id: f"Observation?derived-from={id}&_include=Observation:derived-from",
    "search by identifier": lambda id: f"Observation?identifier=urn:bench|{id}",
    "count": lambda id: f"Observation?_id={id}&_summary=count",
    "search by _has": lambda id: f"Observation?_has:Observation:derived-from:_id={id}",
}  # fmt: skip


def separation(hidden: Sequence[float], absent: Sequence[float]) -> float:
    """The probability that one of ``hidden`` is larger than one of ``absent``; ties count half."""
    ordered = sorted(absent)
    ranks = (bisect_left(ordered, value) + bisect_right(ordered, value) for value in hidden)
    return sum(ranks) / (2 * len(hidden) * len(absent))


def furnish(server: Server, token: str) -> None:
    """One patient with Observations, and others ``h…`` with one each, which has the same id and is derived from another."""
    names = [f"h{number:07}" for number in range(IDS)]
    patients: list[dict[str, object]] = [
        {"resourceType": "Patient", "id": name, "identifier": [{"system": "urn:bench", "value": name}]}
        for name in ("own", *names)
    ]
    documents = [
        *patients,
        *(_observation(name, name, names[number - 1]) for number, name in enumerate(names)),
        *(_observation(f"own{number}", "own", "own0") for number in range(OWN)),
    ]
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in documents
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    line = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    line.request("POST", "/fhir", json.dumps(bundle), headers)
    answer = line.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"the records were not taken: {answer.read().decode()}")
    line.close()


def _observation(id: str, patient: str, source: str) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"coding": [{"system": "urn:bench", "code": id}], "text": "x" * 500},
        "identifier": [{"system": "urn:bench", "value": id}],
        "subject": {"reference": f"Patient/{patient}"},
        "derivedFrom": [{"reference": f"Observation/{source}"}],
    }


def cpu_of(server: Server) -> Callable[[], float]:
    """A clock of the processor seconds of the workers of ``server`` and of Postgres, in nanoseconds where Linux tells
    them (clock_getcpuclockid(3))."""
    clocks = [~pid << 3 | 2 for pid in (*server.workers(), *machine.family(server.postmaster))]

    def spent() -> float:
        total = 0.0
        for clock in clocks:
            with suppress(OSError):
                total += time.clock_gettime(clock)
        return total

    return spent


def ask(
    server: Server, token: str, shape: Shape, number: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Milliseconds of ``number`` answers about hidden and about absent ids, in random order."""
    line = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Authorization": f"Bearer {token}"}
    times: dict[str, list[float]] = {"hidden": [], "absent": []}
    order = ["hidden", "absent"] * (WARM + number)
    chance = random.Random(3)
    for start in range(0, len(order), 2):
        # Within each pair by chance: what the machine does meanwhile falls on both.
        order[start : start + 2] = chance.sample(order[start : start + 2], 2)
    bodies: dict[str, set[int]] = {"hidden": set(), "absent": set()}
    for kind in order:
        path = shape(f"{kind[0]}{chance.randrange(IDS):07}")
        began = clock()
        line.request("GET", f"/fhir/{path}", headers=headers)
        answer = line.getresponse()
        body = answer.read()
        times[kind].append((clock() - began) * 1000)
        bodies[kind].add(answer.status)
        if b"xxxx" in body:
            raise RuntimeError(f"{path} shows what is hidden")
    line.close()
    if bodies["hidden"] != bodies["absent"]:
        raise RuntimeError(f"statuses differ: {bodies}")
    return {kind: each[WARM:] for kind, each in times.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.timing", description=__doc__)
    parser.add_argument("--number", type=int, default=NUMBER, help="answers of each kind")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of time")
    given = parser.parse_args()
    number = given.number
    lab = Lab(1, "uvicorn")
    try:
        dsn = lab.database("timing")
        with lab.fhirhub(dsn, auth=True) as server:
            furnish(server, asyncio.run(issue(dsn, "system/*.cruds")))
            token = asyncio.run(issue(dsn, "patient/*.rs", role="patient", patient="own"))
            lab.settle(dsn)
            print(f"{'':<22} {'hidden, ms':>12} {'absent, ms':>12} {'separation':>12}   n = {number}")
            for name, shape in SHAPES.items():
                times = ask(server, token, shape, number, cpu_of(server) if given.cpu else time.perf_counter)
                medians = [statistics.median(times[kind]) for kind in ("hidden", "absent")]
                told = separation(times["hidden"], times["absent"])
                print(f"{name:<22} {medians[0]:>12.3f} {medians[1]:>12.3f} {told:>12.3f}")
    finally:
        lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
