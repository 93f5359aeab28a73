"""A new search parameter is indexed while searches go on (reindex): resources a second, and what searches notice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from random import Random

from bench.clinic import Clinic
from bench.gate import must
from bench.lab import Lab
from bench.load import Tally, User, drive, expect, get, send
from bench.records import Document, dump
from bench.scenarios import Figures, Scale
from bench.scenarios.searching import DRAWN, practice
from bench.shapes import MH, Draw
from fhirhub.definitions.tables import load

CLIENTS = 16
_PATIENCE = 600.0
_POLL = 0.1
_CODE = "bench-interpretation"
PARAMETER = {
    "resourceType": "SearchParameter",
    "url": "http://bench.test/SearchParameter/bench-interpretation",
    "name": "BenchInterpretation",
    "status": "active",
    "description": "What an observation means.",
    "code": _CODE,
    "base": ["Observation"],
    "type": "token",
    "expression": "Observation.interpretation",
}
_SEARCH = f"Observation?{_CODE}=N&_summary=count"


def reindex(lab: Lab, scale: Scale) -> Figures:
    """The mix of search-mh with 16 clients before and while a parameter of Observation is indexed."""
    place = practice(lab, scale.patients[-1])
    dsn = lab.copied(place.dsn, "fhb_reindex")
    count = "select count(*) from resource where rt = $1 and not deleted"
    observations = int(lab.sql(dsn, count, load().type_number["Observation"])[0][0])
    paths = _paths(place.clinic)
    with lab.fhirhub(dsn) as server:
        never = threading.Event()
        before = drive(server.port, _users(paths, never), warm=scale.warm, seconds=scale.crud_seconds)
        ready = threading.Event()
        drive(server.port, [_post()])
        began = time.perf_counter()
        took: list[float] = []
        watcher = threading.Thread(target=_watch, args=(server.port, began, ready, took), daemon=True)
        watcher.start()
        during = drive(server.port, _users(paths, ready))
        watcher.join()
        must(bool(took), "the parameter was not indexed in time")
        found: list[int] = []
        drive(server.port, [_count(found)])
    lab.drop("fhb_reindex")
    # As many for each patient: vital signs have an interpretation, pressures and pain scores have none.
    expected = place.clinic.count * len(_interpreted(place.clinic))
    must(found == [expected], f"{found} resources are found by the new parameter instead of {expected}")
    return {
        "observations": observations,
        "seconds": round(took[0], 2),
        "resources_s": round(observations / took[0]),
        "before": _told(before),
        "during": _told(during),
        "p99_ratio": round(during.percentile(0.99) / before.percentile(0.99), 2),
    }


def _paths(clinic: Clinic) -> dict[str, list[str]]:
    draw = Draw(Random("reindex"), clinic)
    return {name: [shape(draw) for _ in range(DRAWN)] for name, shape in MH.items()}


def _users(paths: dict[str, list[str]], until: threading.Event) -> Iterator[User]:
    return (_user(number, paths, until) for number in range(CLIENTS))


def _user(number: int, paths: dict[str, list[str]], until: threading.Event) -> User:
    random = Random(number)
    requests = [(name, get(path)) for name, each in paths.items() for path in each]
    while not until.is_set():
        yield random.choice(requests)


def _post() -> User:
    expect((yield "post", send("POST", "SearchParameter", dump(PARAMETER))), 201)


def _count(found: list[int]) -> User:
    answer = expect((yield "count", get(_SEARCH)), 200)
    found.append(json.loads(answer.body)["total"])


def _watch(port: int, began: float, ready: threading.Event, took: list[float]) -> None:
    """Ask until the parameter is served; it is refused before all of its rows are there."""
    while time.perf_counter() - began < _PATIENCE and not took:
        time.sleep(_POLL)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", f"/fhir/{_SEARCH}")
            if connection.getresponse().status == 200:
                took.append(time.perf_counter() - began)
        except OSError:
            continue
        finally:
            connection.close()
    ready.set()


def _interpreted(clinic: Clinic) -> list[Document]:
    return [
        each
        for each in clinic.documents(1)
        if each["resourceType"] == "Observation" and "interpretation" in each
    ]


def _told(tally: Tally) -> Figures:
    return {
        "rps": round(tally.rate, 1),
        "p50_ms": round(tally.percentile(0.5), 2),
        "p99_ms": round(tally.percentile(0.99), 2),
        "errors": sum(tally.failures.values()),
    }
