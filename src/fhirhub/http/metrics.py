"""Counters of requests, kept as plain lists so that counting one costs less than a microsecond.

Each worker writes its numbers to a file of its own about once a second; whichever worker is asked for the metrics
adds them all up. A worker that is started again goes on from its predecessor's file, so counters never go back.
The text is Prometheus' exposition format: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds."""

Key = tuple[str, str, str, int]
"""Method, route, resource type ('' when none), status."""

_EMPTY = [0.0] * (len(BOUNDS) + 2)
_SEARCHES = ("search-type", "search-system")
_ROUTES = {
    "read": "/fhir/{type}/{id}",
    "update": "/fhir/{type}/{id}",
    "patch": "/fhir/{type}/{id}",
    "delete": "/fhir/{type}/{id}",
    "vread": "/fhir/{type}/{id}/_history/{version}",
    "history-instance": "/fhir/{type}/{id}/_history",
    "history-type": "/fhir/{type}/_history",
    "history-system": "/fhir/_history",
    "create": "/fhir/{type}",
    "search-type": "/fhir/{type}",
    "conditional-update": "/fhir/{type}",
    "conditional-patch": "/fhir/{type}",
    "conditional-delete": "/fhir/{type}",
    "search-system": "/fhir",
    "bundle": "/fhir",
    "capabilities": "/fhir/metadata",
    "operation": "/fhir/${operation}",
}


class Counters:
    """The numbers of one worker; ``folder`` holds the files by which the workers share them, None for none."""

    def __init__(self, folder: Path | None = None, slot: int = 0) -> None:
        self._folder = folder
        self._slot = slot
        self._series: dict[Key, list[float]] = {}
        self.gauges: dict[str, float] = {}
        if folder is not None:
            for key, numbers in _read(folder / f"{slot}.json")[0].items():
                self._series[key] = numbers

    def record(self, key: Key, seconds: float) -> None:
        """Count one request."""
        numbers = self._series.get(key)
        if numbers is None:
            numbers = self._series[key] = _EMPTY.copy()
        numbers[bisect_left(BOUNDS, seconds)] += 1
        numbers[-1] += seconds

    def share(self) -> None:
        """Write the numbers where the other workers find them."""
        if self._folder is None:
            return
        rows = [[*key, *numbers] for key, numbers in self._series.items()]
        target = self._folder / f"{self._slot}.json"
        fresh = target.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"pid": os.getpid(), "series": rows, "gauges": self.measured()}))
        fresh.replace(target)

    def measured(self) -> dict[str, float]:
        """The gauges with those of the process."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return self.gauges | {
            "process_cpu_seconds": usage.ru_utime + usage.ru_stime,
            "process_resident_memory_bytes": _resident(),
        }

    def exposition(self) -> bytes:
        """The metrics of all workers as text."""
        series = {key: numbers.copy() for key, numbers in self._series.items()}
        workers = {str(self._slot): self.measured()}
        for path in sorted(self._folder.glob("*.json")) if self._folder else ():
            if path.stem != str(self._slot):
                others, workers[path.stem] = _read(path)
                for key, numbers in others.items():
                    mine = series.setdefault(key, _EMPTY.copy())
                    series[key] = [a + b for a, b in zip(mine, numbers, strict=True)]
        return "\n".join([*_requests(series), *_gauges(workers), ""]).encode()


def _read(path: Path) -> tuple[dict[Key, list[float]], dict[str, float]]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}, {}
    rows = {(row[0], row[1], row[2], row[3]): row[4:] for row in found["series"]}
    same = {key: numbers for key, numbers in rows.items() if len(numbers) == len(_EMPTY)}
    return same, found["gauges"]


def _resident() -> float:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _requests(series: Mapping[Key, list[float]]) -> Iterable[str]:
    durations: dict[str, list[float]] = {}
    searches = _EMPTY.copy()
    interactions: dict[str, float] = {}
    for (method, route, type, status), numbers in series.items():
        labels = _labels(
            http_request_method=method, http_route=_ROUTES.get(route, route), http_response_status_code=status
        )
        _add(durations.setdefault(labels, _EMPTY.copy()), numbers)
        if route in _SEARCHES:
            _add(searches, numbers)
        if route in _ROUTES:
            outcome = "success" if status < 400 else "refused" if status < 500 else "failed"
            name = _labels(type=type, interaction=route, outcome=outcome)
            interactions[name] = interactions.get(name, 0.0) + sum(numbers[:-1])
    yield from _histograms("http_server_request_duration_seconds", "Time to answer a request.", durations)
    yield from _histograms("fhirhub_search_seconds", "Time to answer a search.", {"": searches})
    yield "# HELP fhirhub_interactions_total Interactions by resource type and outcome."
    yield "# TYPE fhirhub_interactions_total counter"
    for labels in sorted(interactions):
        yield f"fhirhub_interactions_total{{{labels}}} {interactions[labels]:.0f}"


def _add(target: list[float], numbers: list[float]) -> None:
    for index, number in enumerate(numbers):
        target[index] += number


def _histograms(name: str, about: str, rows: Mapping[str, list[float]]) -> Iterable[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} histogram"
    for labels in sorted(rows):
        numbers, before, total = rows[labels], f"{labels}," if labels else "", 0.0
        for bound, number in zip((*BOUNDS, "+Inf"), numbers, strict=False):
            total += number
            yield f'{name}_bucket{{{before}le="{bound}"}} {total:.0f}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {numbers[-1]:.6f}"
        yield f"{name}_count{braces} {total:.0f}"


def _gauges(workers: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    """One line per worker, so that a leak in one of them is seen."""
    for name in sorted({name for gauges in workers.values() for name in gauges}):
        counter = name == "process_cpu_seconds"
        shown = name + "_total" if counter else name
        yield f"# TYPE {shown} {'counter' if counter else 'gauge'}"
        for worker, gauges in sorted(workers.items()):
            if name in gauges:
                yield f'{shown}{{worker="{worker}"}} {gauges[name]:g}'
    yield "# TYPE fhirhub_scrape_timestamp_seconds gauge"
    yield f"fhirhub_scrape_timestamp_seconds {time.time():.3f}"


def _labels(**labels: object) -> str:
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
