"""Many Observations of the same kind (million): exact counts of many hits, and the newest of a patient and a code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any
from urllib.parse import parse_qsl

from bench import records
from bench.exact import BASE
from bench.gate import must
from bench.lab import Lab
from bench.load import User, drive, expect, get
from bench.records import VITALS
from bench.scenarios import Figures, Scale
from fhirhub.definitions.tables import load
from fhirhub.store.store import Store

PATIENTS = 1000
_TIMES = 7
_NEWEST = 60


def million(lab: Lab, scale: Scale) -> Figures:
    """Milliseconds of counts with that many hits, and of a first page in the database alone."""
    dsn = lab.database("fhb_million")
    imported = _import(lab, dsn, scale.many)
    lab.settle(dsn)
    of_code = len(range(0, scale.many, len(VITALS)))
    expected = {
        "all": ("Observation?_summary=count", scale.many),
        "a token that all have": ("Observation?status=final&_summary=count", scale.many),
        "a code": (f"Observation?code={records.LOINC}%7C{VITALS[0][0]}&_summary=count", of_code),
        "two codes": (f"Observation?code={VITALS[0][0]},{VITALS[1][0]}&_summary=count", None),
        "since a year": ("Observation?date=ge2015&_summary=count", None),
        "estimate": ("Observation?status=final&_total=estimate&_count=1", None),
    }
    figures: Figures = {"observations": scale.many, "import_resources_s": imported}
    with lab.fhirhub(dsn) as server:
        for name, (path, wanted) in expected.items():
            figures[name] = _counted(server.port, path, wanted)
        paths = _newest(scale.many)
        tally = drive(server.port, [_once(paths)])
    figures["patient & code, newest first"] = {
        "p50_ms": round(tally.percentile(0.5, "search"), 3),
        "database_ms": asyncio.run(_in_database(dsn, paths[:_TIMES])),
    }
    lab.drop("fhb_million")
    return figures


def _lines(count: int) -> Iterator[bytes]:
    """Patients, then Observations: the codes in turn, the patients at random."""
    random = Random("million")
    for number in range(PATIENTS):
        yield records.dump({"resourceType": "Patient", "id": f"p{number}", "gender": "unknown"})
    for number in range(count):
        subject = f"Patient/p{random.randrange(PATIENTS)}"
        made = records.observation(random, subject, None, records.instant(random), number)
        del made["referenceRange"]
        yield records.dump({**made, "id": f"o{number}"})


def _import(lab: Lab, dsn: str, count: int) -> int:
    """Bring them in with the import command; resources a second."""
    path = lab.home / "many.ndjson"
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in _lines(count))
    command = [sys.executable, "-m", "fhirhub", "import", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=lab.environment(dsn), check=False)
    path.unlink()
    if done.returncode:
        raise RuntimeError(f"the import failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    must(told["resources"] == count + PATIENTS, f"{told['resources']} resources came in")
    return round(told["resources"] / told["seconds"])


def _counted(port: int, path: str, wanted: int | None) -> Figures:
    """How long a count takes, what it says, and whether it says that it is an estimate."""
    bodies: list[dict[str, Any]] = []
    tally = drive(port, [_keeping(path, bodies)])
    total = bodies[-1]["total"]
    estimated = "estimate" in path or b"estimate" in records.dump(bodies[-1])
    must(wanted is None or estimated or total == wanted, f"{path} counts {total} instead of {wanted}")
    return {"p50_ms": round(tally.percentile(0.5, "search"), 2), "total": total, "exact": not estimated}


def _keeping(path: str, bodies: list[dict[str, Any]]) -> User:
    for number in range(_TIMES + 1):
        answer = expect((yield "search" if number else "warm", get(path)), 200)
        bodies.append(json.loads(answer.body))


def _newest(count: int) -> list[str]:
    random = Random("newest")
    return [
        f"Observation?patient=p{random.randrange(PATIENTS)}&code={random.choice(VITALS)[0]}&_sort=-date"
        for _ in range(_NEWEST)
    ]


def _once(paths: list[str]) -> User:
    for number, path in enumerate((*paths[:10], *paths)):
        expect((yield "search" if number >= 10 else "warm", get(path)), 200)


async def _in_database(dsn: str, paths: list[str]) -> float:
    """The median execution time that Postgres tells, in milliseconds."""
    store = await Store.open(dsn, load(), connections=2)
    try:
        times = []
        for path in paths:
            type_, _, query = path.partition("?")
            request = store.indexing.parser.parse(type_, parse_qsl(query), bases=(BASE,))
            for _ in range(2):
                steps = (await store.explain(request, run=True)).steps
            times.append(float(steps[-1].removeprefix("Execution Time: ").removesuffix(" ms")))
        return round(median(times), 3)
    finally:
        await store.close()
