"""``python -m bench``: run the workloads and write ``bench/results/<date>-<commit>.json`` and ``.md``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.lab import ROOT, Lab
from bench.scenarios import FULL, Figures, Scale
from bench.scenarios.counting import million
from bench.scenarios.crud import crud_hs, crud_mh
from bench.scenarios.growth import growth
from bench.scenarios.guarded import guarded
from bench.scenarios.importing import tx_import
from bench.scenarios.process import memory, start
from bench.scenarios.reading import history_depth, read
from bench.scenarios.reindexing import reindex
from bench.scenarios.searching import search_hs, search_mh, search_x
from bench.scenarios.tokens import token
from bench.scenarios.writing import single_write

SYNTHEA = ROOT.parent / "shared" / "data" / "synthea"
_IDLE = 0.5
SCENARIOS = {
    "read": read,
    "history-depth": history_depth,
    "single-create": single_write,
    "tx-import": tx_import,
    "crud-hs": crud_hs,
    "crud-mh": crud_mh,
    "growth": growth,
    "search-hs": search_hs,
    "search-mh": search_mh,
    "search-x": search_x,
    "guarded": guarded,
    "token": token,
    "reindex": reindex,
    "million": million,
    "start": start,
    "memory": memory,
}
"""In the order in which they are run; history-depth uses what read has put into the store."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure fhirhub against limits.")
    parser.add_argument("workloads", nargs="*", help=f"some of: {', '.join(SCENARIOS)}  [default: all]")
    parser.add_argument("--full", action="store_true", help="long measurements, for publication")
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, 4), help="workers of each server"
    )
    parser.add_argument("--http-server", default="uvicorn", choices=("uvicorn", "granian"))
    parser.add_argument("--synthea", type=Path, default=SYNTHEA, help="folder of Synthea bundles (*.json.gz)")
    parser.add_argument(
        "--patients", type=_sizes, help="sizes of the growing workloads  [default: 1000,4000]", metavar="N,N…"
    )
    parser.add_argument(
        "--many",
        type=int,
        help="Observations of the workload million  [default: 100000; 1000000 with --full]",
    )
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="where to write")
    parser.add_argument("--scratch", type=Path, help="where the database of the run goes (a short path)")
    chosen = parser.parse_args()
    unknown = set(chosen.workloads) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if "history-depth" in chosen.workloads and "read" not in chosen.workloads:
        chosen.workloads.insert(0, "read")
    return chosen


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted(int(each) for each in text.split(",")))
    if not sizes or sizes[0] < 1:
        raise argparse.ArgumentTypeError("name one number of patients or more")
    return sizes


def measure(lab: Lab, chosen: argparse.Namespace, scale: Scale) -> Figures:
    """The figures of the chosen workloads; one that fails is told and left out, the others go on."""
    figures: Figures = {}
    for name, scenario in SCENARIOS.items():
        if chosen.workloads and name not in chosen.workloads:
            continue
        began = time.monotonic()
        try:
            figures[name] = scenario(lab, scale)
        except Exception as error:  # a workload is a program of its own
            figures[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        _say(f"{name}: {time.monotonic() - began:.0f} s {figures[name].get('failed', '')}")
    return figures


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _stop(*_: Any) -> None:
    raise SystemExit(1)


def main() -> int:
    """Run; 0 when nothing failed."""
    signal.signal(signal.SIGTERM, _stop)
    chosen = arguments()
    scale = replace(FULL if chosen.full else Scale(), synthea=chosen.synthea)
    if chosen.many:
        scale = replace(scale, many=chosen.many)
    if chosen.patients:
        scale = replace(scale, patients=chosen.patients)
    about = machine.describe(ROOT)
    if about["load_before"][0] > _IDLE:
        _say(f"The machine is busy (load average {about['load_before'][0]}): the figures will be low.")
    began = time.monotonic()
    lab = Lab(chosen.workers, chosen.http_server, chosen.scratch)
    try:
        figures = measure(lab, chosen, scale)
        postgres = lab.sql(lab.postgres.dsn, "select version()")[0][0].split(" on ")[0]
    finally:
        lab.close()
    run: Figures = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "postgres": postgres,
        "http_server": chosen.http_server,
        "workers": chosen.workers,
        "full": chosen.full,
        "seconds": time.monotonic() - began,
        "figures": figures,
    }
    path = report.write(run, chosen.results)
    sys.stdout.write(report.markdown(run))
    _say(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 1 if any("failed" in each for each in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
