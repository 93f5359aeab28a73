"""Searches with few hits, on a thousand patients and on four thousand: they must not become slower (growth)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from statistics import median
from urllib.parse import quote

from bench import records
from bench.lab import Lab
from bench.load import User, WrongAnswer, drive, expect, get
from bench.scenarios import Figures, Scale
from bench.scenarios.importing import poster
from fhirhub.definitions.tables import load

REQUESTS = 150
"""Searches of each shape, one after the other."""
_WARM = 20
_LOADERS = 8
_PERSON = f"{records.PERSONS}.0"


def _patient_of(number: int) -> records.Document:
    return records.bundle(number)["entry"][0]["resource"]


Shape = Callable[[Random, int, list[str]], str]
"""(random, number of patients, some patient ids) -> path of a search."""

SHAPES: dict[str, Shape] = {
    "identifier": lambda random, count, ids: (
        f"Patient?identifier={quote(f'{_PERSON}|MR-{random.randint(1, count)}')}"
    ),
    "family + given": lambda random, count, ids: _named(random, count),
    "telecom": lambda random, count, ids: (
        f"Patient?email={quote(_patient_of(random.randint(1, count))['telecom'][1]['value'])}"
    ),
    "Observations of a patient, newest first": lambda random, count, ids: (
        f"Observation?patient={random.choice(ids)}&_sort=-date&_count=20"
    ),
    "patient & code, newest first": lambda random, count, ids: (
        f"Observation?patient={random.choice(ids)}&code={records.LOINC}%7C{random.choice(records.VITALS)[0]}&_sort=-date"
    ),
    "code, newest five": lambda random, count, ids: (
        f"Observation?code={random.choice(records.VITALS)[0]}&_sort=-date&_count=5"
    ),
    "code & a month": lambda random, count, ids: (
        f"Observation?code={random.choice(records.VITALS)[0]}&date=ge{(year := random.randint(2010, 2020))}-03"
        f"&date=lt{year}-04&_sort=-date&_count=20"
    ),
    "Conditions of a patient": lambda random, count, ids: f"Condition?patient={random.choice(ids)}",
    "Encounters of a patient, with practitioners": lambda random, count, ids: (
        f"Encounter?patient={random.choice(ids)}&_include=Encounter:participant"
    ),
    "chain: Observations by identifier": lambda random, count, ids: (
        f"Observation?patient.identifier={quote(f'{_PERSON}|MR-{random.randint(1, count)}')}&_count=20"
    ),
    "patient with everything about it": lambda random, count, ids: (
        f"Patient?_id={random.choice(ids)}&_revinclude=Condition:subject"
    ),
}


def _named(random: Random, count: int) -> str:
    name = _patient_of(random.randint(1, count))["name"][0]
    return f"Patient?family={name['family']}&given={name['given'][0]}"


def searcher(shape: Shape, seed: int, count: int, ids: list[str]) -> User:
    """Searches one after the other; each must find something, except by month."""
    random = Random(seed)
    for number in range(_WARM + REQUESTS):
        path = shape(random, count, ids)
        answer = expect((yield "warm" if number < _WARM else "search", get(path)), 200)
        if b'"mode":"match"' not in answer.body and "date=" not in path:
            raise WrongAnswer(f"{path} finds nothing: {answer.body[:300]!r}")


def growth(lab: Lab, scale: Scale) -> Figures:
    """p50 of each shape with one client at both sizes, and the ratio."""
    dsn = lab.database("fhb_growth")
    small, large = scale.patients[0], scale.patients[-1]
    first, second = _at(lab, dsn, 1, small), _at(lab, dsn, small + 1, large)
    lab.drop("fhb_growth")
    shapes = {
        name: {
            "p50_small_ms": round(first[name], 3),
            "p50_large_ms": round(second[name], 3),
            "ratio": round(second[name] / first[name], 2),
        }
        for name in SHAPES
    }
    return {
        "patients": [small, large],
        "resources": [first["resources"], second["resources"]],
        "load_resources_s": [round(first["rate"]), round(second["rate"])],
        "shapes": shapes,
        "median_ratio": median(each["ratio"] for each in shapes.values()),
        "worst_ratio": max(each["ratio"] for each in shapes.values()),
    }


def _at(lab: Lab, dsn: str, first: int, last: int) -> dict[str, float]:
    """Load the patients ``first`` to ``last`` and measure; a fresh server sees fresh statistics."""
    found: dict[str, float] = {}
    with lab.fhirhub(dsn) as server:
        before = lab.sql(dsn, "select count(*) from resource")[0][0]
        bundles = records.bundles(first, last - first + 1)
        tally = drive(server.port, [poster(bundles) for _ in range(_LOADERS)])
    lab.settle(dsn)
    found["resources"] = lab.sql(dsn, "select count(*) from resource")[0][0]
    found["rate"] = (found["resources"] - before) / tally.seconds
    ids = [
        row[0]
        for row in lab.sql(
            dsn, "select id from resource where rt = $1 order by id", load().type_number["Patient"]
        )
    ]
    sample = Random(1).sample(ids, min(len(ids), 500))
    with lab.fhirhub(dsn, workers=1) as server:
        for name, shape in SHAPES.items():
            tally = drive(server.port, [searcher(shape, 7, last, sample)])
            found[name] = tally.percentile(0.5, "search")
    return found
