"""One workload a file. Each takes the laboratory and the scale and returns its figures as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import Tally

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how large: quick for every day, full for what is published."""

    warm: float = 1.0
    """Seconds of load that do not count."""
    seconds: float = 4.0
    """Seconds that count, for each measurement."""
    rounds: int = 3
    """Times that ours and the limit are measured in turn; the median counts."""
    crud_seconds: float = 10.0
    bundles: int = 40
    """Patient bundles of the transaction import."""
    memory_seconds: float = 60.0
    patients: tuple[int, ...] = (1000, 4000)
    """The sizes of the growing workloads."""
    many: int = 100_000
    """Observations of the workload million."""
    synthea: Path | None = None


FULL = Scale(2.0, 15.0, 3, 60.0, 10_000, 600.0, many=1_000_000)


@dataclass(slots=True)
class Rounds:
    """Several measurements of the same load."""

    tallies: list[Tally] = field(default_factory=list)
    server: float = 0.0
    """Processor seconds of the server, those of the warm-up too: the figures per request are on the high side."""
    database: float = 0.0

    def add(self, tally: Tally, server: float = 0.0, database: float = 0.0) -> None:
        """One more round, with the processor time that server and Postgres took for it."""
        self.tallies.append(tally)
        self.server += server
        self.database += database

    @property
    def rate(self) -> float:
        """The median rate."""
        return median(tally.rate for tally in self.tallies)

    @property
    def count(self) -> int:
        """Good answers of all rounds."""
        return sum(tally.count for tally in self.tallies)

    def p50(self) -> float:
        """The median p50 in milliseconds."""
        return median(tally.percentile(0.5) for tally in self.tallies)

    def all_cpu(self) -> float:
        """Processor seconds of server and Postgres for one request: unlike rates, hardly disturbed by others."""
        return (self.server + self.database) / self.count

    def summary(self) -> Figures:
        """Medians over the rounds, with the range of the rates."""
        rates = sorted(tally.rate for tally in self.tallies)
        failures: dict[str, int] = {}
        for tally in self.tallies:
            for name, count in tally.failures.items():
                failures[name] = failures.get(name, 0) + count
        return {
            "rps": round(self.rate, 1),
            "rps_range": [round(rates[0], 1), round(rates[-1], 1)],
            "p50_ms": round(self.p50(), 3),
            "p95_ms": round(median(tally.percentile(0.95) for tally in self.tallies), 3),
            "p99_ms": round(median(tally.percentile(0.99) for tally in self.tallies), 3),
            "requests": self.count,
            "server_cpu_us": round(self.server / self.count * 1e6),
            "database_cpu_us": round(self.database / self.count * 1e6),
            **({"failures": failures} if failures else {}),
        }
