"""The figures of a run as a table for people: what was measured, what it is compared with, what was promised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One promised figure; ``at_least`` tells on which side of ``bound`` it must be."""

    name: str
    value: Callable[[Figures], float]
    bound: float
    at_least: bool
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the promise."""
        return value >= self.bound if self.at_least else value <= self.bound


def _best_read(figures: Figures) -> Figures:
    """The row of the read workload with the most workers, on the first HTTP server."""
    rows = [(name, row) for name, row in figures["read"].items() if " x" in name]
    first = rows[0][0].split(" x")[0]
    return max((row for row in rows if row[0].startswith(first)), key=lambda row: int(row[0].split(" x")[1]))[
        1
    ]


def _many(figures: Figures) -> Figures:
    return figures["tx-import"]["8 clients"]


SEARCHES = ("search-hs", "search-mh", "search-x")


def _smallest(figures: Figures, name: str) -> Figures:
    """The figures of a search workload at its smallest size."""
    return next(content for key, content in figures[name].items() if key.endswith(" patients"))


def _largest(figures: Figures, name: str) -> Figures:
    return [content for key, content in figures[name].items() if key.endswith(" patients")][-1]


def _search_goals(name: str) -> tuple[Goal, ...]:
    return (
        Goal(f"{name}, shapes that find what they must", lambda f: _right(f, name), 1.0, True),
        Goal(f"{name}, errors", lambda f: _largest(f, name)["errors"], 0, False),
        Goal(f"{name}, worst shape of L4", lambda f: f[name]["of_L4_worst"], 0.5, True),
        Goal(
            f"{name}, slowest shape, one client, p50",
            lambda f: _largest(f, name)["slowest_p50_ms"],
            5,
            False,
            "ms",
        ),
        Goal(f"{name}, rate kept at the largest size", lambda f: _kept(f, name), 0.8, True),
    )


def _right(figures: Figures, name: str) -> float:
    """The share of the shapes that pass the gate at every size."""
    sizes = [content for key, content in figures[name].items() if key.endswith(" patients")]
    return min(each["right"] / each["of"] for each in sizes)


def _kept(figures: Figures, name: str) -> float:
    return float(_largest(figures, name)["rps"] / _smallest(figures, name)["rps"])


def _exact_counts(figures: Figures) -> float:
    """The slowest count that is exact."""
    return max(
        each["p50_ms"] for each in figures["million"].values() if isinstance(each, dict) and each.get("exact")
    )


GOALS = (
    Goal("read, 64 clients, of L2", lambda f: _best_read(f)["of_L2"], 0.90, True),
    Goal("read, one client, p50 above L2", lambda f: _best_read(f)["p50_over_L2_ms"], 0.3, False, "ms"),
    Goal("create, 64 clients, of L5", lambda f: f["single-create"]["create_of_L5"], 0.60, True),
    Goal("update, 64 clients, of L5", lambda f: f["single-create"]["update_of_L5"], 0.60, True),
    Goal("transaction import", lambda f: _many(f)["resources_s"], 4000, True, "resources/s"),
    Goal("transaction import of L3", lambda f: f["tx-import"]["of_L3"], 0.30, True),
    Goal("read with 500 versions, of one", lambda f: f["history-depth"]["deep_of_single"], 0.90, True),
    Goal(
        "store, all indexes",
        lambda f: f["tx-import"]["disk"]["bytes_per_resource"],
        3400,
        False,
        "B/resource",
    ),
    Goal("worker under load, RSS", lambda f: f["memory"]["peak_rss"], 150, False, "MiB"),
    Goal("worker's growth under load", lambda f: f["memory"]["growth"], 0.05, False),
    Goal("start to first read", lambda f: f["start"]["seconds"], 1.0, False, "s"),
    Goal(
        "selective searches, four times the patients", lambda f: f["growth"]["worst_ratio"], 1.25, False, "x"
    ),
    *(goal for name in SEARCHES for goal in _search_goals(name)),
    Goal("search-mh, 64 clients, p50", lambda f: _largest(f, "search-mh")["p50_ms"], 40, False, "ms"),
    Goal("tokens of backend services", lambda f: f["token"]["tokens"]["rps"], 200, True, "tokens/s"),
    Goal("new parameter, beside searches", lambda f: f["reindex"]["resources_s"], 5000, True, "resources/s"),
    Goal("p99 of searches meanwhile", lambda f: f["reindex"]["p99_ratio"], 2.0, False, "x"),
    Goal("exact counts among a million", _exact_counts, 50, False, "ms"),
    Goal(
        "patient & code, newest, in the database",
        lambda f: f["million"]["patient & code, newest first"]["database_ms"],
        2.0,
        False,
        "ms",
    ),
)


def markdown(run: Figures) -> str:
    """The whole run as Markdown."""
    return "\n".join([*_head(run), *_goals(run["figures"]), *_details(run["figures"])]) + "\n"


def _head(run: Figures) -> Iterator[str]:
    about = run["machine"]
    yield f"# {run['date']}, commit {about['commit']}"
    yield ""
    yield (
        f"{about['cores']} cores ({about['cpu']}), {about['memory_gib']} GiB, {about['system']}, "
        f"Python {about['python']}, {run['postgres']}; HTTP server {run['http_server']}, "
        f"{run['workers']} workers; load average before the run {about['load_before'][0]}; "
        f"{'full' if run['full'] else 'quick'} run, {run['seconds']:.0f} s."
    )
    yield ""
    yield "Client, server and database share the cores. Validation, history, all indexes and fsync are on."
    if about["load_before"][0] > 0.5:
        yield ""
        yield "**The machine was not idle when the run began: figures are low, ratios rough.**"
    yield ""


def _goals(figures: Figures) -> Iterator[str]:
    figures = {name: content for name, content in figures.items() if "failed" not in content}
    yield "| | measured | goal | |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        try:
            value = goal.value(figures)
        except (KeyError, ValueError, StopIteration, IndexError):
            continue
        sign = "≥" if goal.at_least else "≤"
        verdict = "met" if goal.met(value) else "**missed**"
        yield f"| {goal.name} | {_number(value)} {goal.unit} | {sign} {_number(goal.bound)} | {verdict} |"
    yield ""


def _details(figures: Figures) -> Iterator[str]:
    for name, content in figures.items():
        yield f"## {name}"
        yield ""
        yield "| | |"
        yield "|---|---|"
        for path, value in _flat(content, ""):
            yield f"| {path} | {value} |"
        yield ""


def _flat(content: Any, path: str) -> Iterator[tuple[str, str]]:
    """Leaves by their path; a mapping of plain values becomes one line."""
    if isinstance(content, dict):
        plain = {key: value for key, value in content.items() if not isinstance(value, dict)}
        if plain and path:
            yield path, ", ".join(f"{key} {_number(value)}" for key, value in plain.items())
        elif plain:
            for key, value in plain.items():
                yield key, _number(value)
        for key, value in content.items():
            if isinstance(value, dict):
                yield from _flat(value, f"{path}, {key}" if path else key)
    else:
        yield path, _number(content)


def _number(value: Any) -> str:
    if isinstance(value, list):
        return "–".join(_number(each) for each in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def write(run: Figures, folder: Path) -> Path:
    """Write the run as ``<date>-<commit>.json`` and ``.md``; the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{run['date'][:10]}-{run['machine']['commit']}"
    (folder / f"{stem}.json").write_text(
        json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    path = folder / f"{stem}.md"
    path.write_text(markdown(run), encoding="utf-8")
    return path
