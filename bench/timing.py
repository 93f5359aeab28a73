"""``python -m bench.timing``: does the time of an answer tell what is hidden from what is not there?

An app of one patient asks for resources of another patient and for ids that nobody has, in random order over one
connection. Printed are the medians of both, and the probability that an answer about what is hidden takes longer than
one about what is absent (the statistic U of Mann and Whitney over n·n): 0.5 when the two cannot be told apart. At n
asked each, chance alone moves it by about 0.58/sqrt(2n), one standard deviation (0.009 at n = 2000).
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

from bench.lab import ROOT, Lab, Server

sys.path.insert(0, str(ROOT / "tests"))

from support.smart import issue  # noqa: E402

IDS = 200
"""Of each kind; asked in turn, so that none is more at hand than another."""
NUMBER = 2000
WARM = 200
Shape = Callable[[str], str]
SHAPES: dict[str, Shape] = {
    "read": lambda id: f"Observation/{id}",
    "vread": lambda id: f"Observation/{id}/_history/1",
    "history": lambda id: f"Observation/{id}/_history",
    "search by _id": lambda id: f"Observation?_id={id}",
    "search by reference": lambda id: f"Observation?derived-from=Observation/{id}",
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
    """Two patients; the Observations ``h…`` belong to the second, each derived from another."""
    documents = [
        {"resourceType": "Patient", "id": "own"},
        {"resourceType": "Patient", "id": "other"},
        *(_observation(f"h{number:07}", f"h{(number + 1) % IDS:07}") for number in range(IDS)),
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


def _observation(id: str, source: str) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"text": "x" * 500},
        "identifier": [{"system": "urn:bench", "value": id}],
        "subject": {"reference": "Patient/other"},
        "derivedFrom": [{"reference": f"Observation/{source}"}],
    }


def ask(server: Server, token: str, shape: Shape, number: int) -> dict[str, list[float]]:
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
        began = time.perf_counter()
        line.request("GET", f"/fhir/{path}", headers=headers)
        answer = line.getresponse()
        body = answer.read()
        times[kind].append((time.perf_counter() - began) * 1000)
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
    number = parser.parse_args().number
    lab = Lab(1, "uvicorn")
    try:
        dsn = lab.database("timing")
        with lab.fhirhub(dsn, auth=True) as server:
            furnish(server, asyncio.run(issue(dsn, "system/*.cruds")))
            token = asyncio.run(issue(dsn, "patient/*.rs", role="patient", patient="own"))
            lab.settle(dsn)
            print(f"{'':<22} {'hidden, ms':>12} {'absent, ms':>12} {'separation':>12}   n = {number}")
            for name, shape in SHAPES.items():
                times = ask(server, token, shape, number)
                medians = [statistics.median(times[kind]) for kind in ("hidden", "absent")]
                told = separation(times["hidden"], times["absent"])
                print(f"{name:<22} {medians[0]:>12.3f} {medians[1]:>12.3f} {told:>12.3f}")
    finally:
        lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
