"""Searches against the exact SQL they come down to, on growing practices (search-hs, search-mh, search-x, L4)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from random import Random
from statistics import median

from bench import gate
from bench.clinic import Clinic
from bench.exact import limit
from bench.lab import Lab, Server
from bench.load import User, drive, get
from bench.scenarios import Figures, Rounds, Scale
from bench.shapes import CLIENTS, SETS, Draw

DRAWN = 60
"""Searches drawn of each shape; the loads go round them."""
LIMITED = 12
"""Of these, how many pgbench goes round."""
ASKED = 4
"""Searches of each shape that the gate looks at."""
_LOADERS = 8
_MANY = 32
"""Clients of one shape, against the eight of pgbench, which does not wait for anybody between two searches."""
_WARM = 10


@dataclass(slots=True)
class Practice:
    """A database with so many patients."""

    dsn: str
    clinic: Clinic
    resources: int
    rate: float
    """Resources a second while it was loaded."""


def practice(lab: Lab, patients: int) -> Practice:
    """The database with the first ``patients`` patients; grown from a copy of the next smaller one."""
    found = lab.kept.get(f"practice {patients}")
    if found is not None:
        return found
    smaller = [
        each for key, each in lab.kept.items() if key.startswith("practice ") and each.clinic.count < patients
    ]
    start = max(smaller, key=lambda each: each.clinic.count, default=None)
    name = f"fhb_practice_{patients}"
    dsn = lab.database(name) if start is None else lab.copied(start.dsn, name)
    clinic = Clinic() if start is None else start.clinic.copy()
    before = 0 if start is None else start.resources
    with lab.fhirhub(dsn) as server:
        numbers = iter(range(clinic.count + 1, patients + 1))
        tally = drive(server.port, [clinic.poster(numbers) for _ in range(_LOADERS)])
    lab.settle(dsn)
    resources = int(lab.sql(dsn, "select count(*) from resource")[0][0])
    made = Practice(dsn, clinic, resources, (resources - before) / tally.seconds)
    lab.kept[f"practice {patients}"] = made
    return made


def search_hs(lab: Lab, scale: Scale) -> Figures:
    """The 24 parameters with 30 clients."""
    return _searches(lab, scale, "search-hs")


def search_mh(lab: Lab, scale: Scale) -> Figures:
    """The 30 shapes with 64 clients."""
    return _searches(lab, scale, "search-mh")


def search_x(lab: Lab, scale: Scale) -> Figures:
    """Our own shapes with 64 clients, and walks through many pages."""
    return _searches(lab, scale, "search-x")


def _searches(lab: Lab, scale: Scale, which: str) -> Figures:
    sizes = {
        size: _at(lab, scale, which, practice(lab, size), size == scale.patients[0])
        for size in scale.patients
    }
    return {
        "clients": CLIENTS[which],
        **_grown(sizes),
        **{f"{size} patients": each for size, each in sizes.items()},
    }


def _at(lab: Lab, scale: Scale, which: str, place: Practice, limited: bool) -> Figures:
    shapes = SETS[which]
    draw = Draw(Random(which), place.clinic)
    paths = {name: [shape(draw) for _ in range(DRAWN)] for name, shape in shapes.items()}
    with lab.fhirhub(place.dsn) as server:
        wrong = gate.check(server.port, place.clinic, gate.questions(shapes, draw, ASKED))
        right = {name: each for name, each in paths.items() if name not in wrong}
        rows = {name: _alone(server, each) for name, each in right.items()}
        before, database = server.cpu(), server.database_cpu()
        users = (mixed(n, paths) for n in range(CLIENTS[which]))
        tally = drive(server.port, users, warm=scale.warm, seconds=scale.crud_seconds)
        rounds = Rounds()
        rounds.add(tally, server.cpu() - before, server.database_cpu() - database)
        for name, row in rows.items():
            row["p50_many_ms"] = round(tally.percentile(0.5, name), 2)
        if limited:
            for name, row in rows.items():
                row |= _against_limit(lab, scale, server, place.dsn, paths[name])
        deep = _deep(server, place.clinic) if which == "search-x" else {}
    return {
        "patients": place.clinic.count,
        "resources": place.resources,
        "load_resources_s": round(place.rate),
        **rounds.summary(),
        "errors": sum(tally.failures.values()),
        "right": len(shapes) - len(wrong),
        "of": len(shapes),
        "slowest_p50_ms": max((row["p50_ms"] for row in rows.values()), default=0.0),
        **deep,
        "shapes": rows,
        **({"wrong": wrong} if wrong else {}),
    }


def _alone(server: Server, paths: list[str]) -> Figures:
    """One client, one shape."""
    tally = drive(server.port, [_once(paths)])
    return {
        "p50_ms": round(tally.percentile(0.5, "search"), 3),
        "p99_ms": round(tally.percentile(0.99, "search"), 3),
    }


def _once(paths: list[str]) -> User:
    for path in paths[:_WARM]:
        yield "warm", get(path)
    for path in paths:
        yield "search", get(path)


def mixed(number: int, paths: dict[str, list[str]]) -> User:
    """Searches of all shapes, each as likely as any other, for ever."""
    random = Random(number)
    requests = [(name, get(path)) for name, each in paths.items() for path in each]
    while True:
        yield random.choice(requests)


def _same(number: int, paths: list[str]) -> User:
    requests = [get(path) for path in paths]
    for request in itertools.cycle(requests[number % len(requests) :] + requests[: number % len(requests)]):
        yield "search", request


def _against_limit(lab: Lab, scale: Scale, server: Server, dsn: str, paths: list[str]) -> Figures:
    """One shape and the same searches made by pgbench, in turn: rates under many clients, waiting times of a single
    one, and processor time, which is the least disturbed by whatever else runs.
    """
    few = paths[:LIMITED]
    seconds = scale.seconds / 2
    found = limit(lab, dsn, few, seconds) if few[0] != "metadata" else {}
    before = server.cpu() + server.database_cpu()
    tally = drive(server.port, (_same(n, few) for n in range(_MANY)), seconds=seconds)
    spent = (server.cpu() + server.database_cpu() - before) / max(tally.count, 1)
    row: Figures = {"rps": round(tally.rate, 1)}
    if found:
        alone = drive(server.port, [_once(few * 4)]).percentile(0.5, "search")
        row |= {
            "L4_tps": round(found["tps"], 1),
            "of_L4": round(tally.rate / found["tps"], 3),
            "L4_ms": round(found["ms"], 3),
            "of_L4_alone": round(found["ms"] / alone, 3),
            "of_L4_cpu": round(found["cpu"] / spent, 3),
            "statements": round(found["statements"], 1),
        }
    return row


def _deep(server: Server, clinic: Clinic) -> Figures:
    """Milliseconds of a page: the first ten and the 41st to 50th of a walk through everything of a code."""
    tally = drive(server.port, [_walker("Observation?code=8867-4&_count=20", 50)])
    return {
        "first_pages_p50_ms": round(tally.percentile(0.5, "first"), 3),
        "pages_41_to_50_p50_ms": round(tally.percentile(0.5, "deep"), 3),
    }


def _walker(path: str, pages: int) -> User:
    for number in range(pages):
        answer = yield "first" if number < 10 else "deep" if number >= 40 else "between", get(path)
        found = answer.body.partition(b'"relation":"next","url":"')[2].partition(b'"')[0].decode()
        if not found:
            return
        path = found.partition("/fhir/")[2]


def _grown(sizes: dict[int, Figures]) -> Figures:
    """How much of the rate is left at the larger sizes, and how shapes with few hits have slowed down."""
    first, *others = sizes.values()
    figures: Figures = {}
    for size, each in list(sizes.items())[1:]:
        figures[f"kept_at_{size}"] = round(each["rps"] / first["rps"], 3) if first["rps"] else 0.0
        ratios = {
            name: row["p50_ms"] / first["shapes"][name]["p50_ms"]
            for name, row in each["shapes"].items()
            if name in first["shapes"] and first["shapes"][name]["p50_ms"]
        }
        figures[f"median_ratio_at_{size}"] = round(median(ratios.values()), 2) if ratios else 0.0
        worst = max(ratios, key=ratios.__getitem__, default="")
        figures[f"worst_ratio_at_{size}"] = f"{ratios[worst]:.2f} ({worst})" if worst else ""
    for kind in ("of_L4", "of_L4_alone", "of_L4_cpu"):
        shares = [row[kind] for row in first["shapes"].values() if kind in row]
        if shares:
            figures |= {f"{kind}_median": round(median(shares), 3), f"{kind}_worst": min(shares),
                        f"{kind}_half_or_more": f"{sum(share >= 0.5 for share in shares)} of {len(shares)}"}  # fmt: skip
    return figures
