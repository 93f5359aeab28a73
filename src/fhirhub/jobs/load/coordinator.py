"""The coordinator of an import: hands tasks to worker processes, gathers results, tries again what had to wait."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

import orjson

from fhirhub.errors import FhirError, Issue
from fhirhub.jobs.load.items import Order, Problem, Result, Task
from fhirhub.jobs.load.sources import UNREADABLE, Source, digest, tasks, unreadable, wave
from fhirhub.jobs.load.waiting import Waiting

AHEAD = 3
"""Tasks a worker has at most: two in hand, one at the door."""
NAMED = 50
"""Files of which a summary knows what they were."""
GROUP = 400
"""Waiting items that are sent together, unless more of them hang together."""


class ImportFailed(FhirError):
    """The import cannot go on; the text says why. What was taken in stays, and a second start goes on from there."""

    def __init__(self, text: str) -> None:
        super().__init__(Issue("exception", text))


@dataclass(slots=True)
class Summary:
    """How an import ended."""

    counts: Counter[str] = field(default_factory=Counter)
    """Resource type -> resources of the files that are in the store (in a dry run: that are sound)."""
    known: int = 0
    """How many of them an earlier import had taken in."""
    problems: int = 0
    seconds: float = 0.0
    files: int = 0
    read: list[tuple[Path, str]] = field(default_factory=list)
    """The first files that were read, with the SHA-256 of each."""

    @property
    def resources(self) -> int:
        """All of them."""
        return sum(self.counts.values())


@dataclass(slots=True)
class Progress:
    """Where an import stands: resources taken in, bytes of the input dealt with, and all of them."""

    resources: int
    done: int
    total: int
    waiting: int


class _Process:
    """A worker process and the line to it."""

    def __init__(self, order: Order) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fhirhub.jobs.load.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.line: Connection[Any, Any] = Connection(ours.detach())
        self.line.send(order)
        self.load = 0

    def close(self, *, now: bool) -> None:
        """Let it end, or end it."""
        if now:
            self.process.kill()
        else:
            try:
                self.line.send(None)
            except OSError:
                pass
        self.process.wait()
        self.line.close()


class Import:
    """One import of ``sources``.

    ``again``: take in what an earlier import has taken in, too. ``errors`` is the path of the error file, made when there is something to say. ``notice`` is called with the
    progress after every task.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        order: Order,
        *,
        workers: int,
        again: bool,
        errors: Path,
        notice: Callable[[Progress], None],
    ) -> None:
        self._sources = sources
        self._order = order
        self._workers = workers
        # Units under a name of their own are units that nobody has taken in before.
        self._salt = f":{time.time_ns()}" if again else ""
        self._errors_path = errors
        self._errors: IO[bytes] | None = None
        self._notice = notice
        self._processes: list[_Process] = []
        self._sizes: dict[int, int] = {}
        self._next = 0
        self._total = sum(source.size for source in sources)
        self._done = 0
        self._waiting = Waiting()
        self.summary = Summary(files=len(sources))

    def run(self) -> Summary:
        """Take everything in. Raises ImportFailed."""
        began = time.monotonic()
        clean = False
        try:
            self._processes = [_Process(self._order) for _ in range(self._workers)]
            waves: dict[int, list[Source]] = {}
            for source in self._sources:
                waves.setdefault(wave(source), []).append(source)
            for _, sources in sorted(waves.items()):
                self._through(self._first_tasks(sources))
            self._wait_out()
            clean = True
        finally:
            for process in self._processes:
                process.close(now=not clean)
            self._waiting.close()
            if self._errors is not None:
                self._errors.close()
            self.summary.seconds = time.monotonic() - began
        return self.summary

    def _first_tasks(self, sources: Iterable[Source]) -> Iterator[Task]:
        digests: dict[Path, str] = {}
        for source in sources:
            try:
                if source.path not in digests:
                    digests.clear()
                    digests[source.path] = digest(source.path)
                    if len(self.summary.read) < NAMED:
                        self.summary.read.append((source.path, digests[source.path]))
                for task in tasks(source, digests[source.path] + self._salt, self._next):
                    self._next = task.number + 1
                    yield task
            except UNREADABLE as error:
                self._report(unreadable(source.shown, error))

    def _wait_out(self) -> None:
        """Try what had to wait as long as that gets anywhere."""
        while self._waiting:
            before, self._waiting = self._waiting, Waiting()
            self._through(self._waiting_tasks(before))
            stuck = len(self._waiting) >= len(before)
            before.close()
            if stuck:
                for problem in self._waiting.problems():
                    self._report(problem)
                return

    def _waiting_tasks(self, waiting: Waiting) -> Iterator[Task]:
        task = Task(self._next)
        for group in waiting.groups():
            task.items += group
            if len(task.items) >= GROUP or any(item.form == "transaction" for item in group):
                self._next = task.number + 1
                yield task
                task = Task(self._next)
        if task.items:
            self._next = task.number + 1
            yield task

    def _through(self, tasks: Iterator[Task]) -> None:
        """Have the workers do ``tasks``, and wait until all are done."""
        for task in tasks:
            while (process := min(self._processes, key=lambda one: one.load)).load >= AHEAD:
                self._gather()
            self._sizes[task.number] = task.size
            try:
                process.line.send(task)
            except OSError:
                raise ImportFailed(
                    "A worker of the import died. Start it again: it goes on from here."
                ) from None
            process.load += 1
        while any(process.load for process in self._processes):
            self._gather()

    def _gather(self) -> None:
        """Take the results that are there; waits for one."""
        busy = [process for process in self._processes if process.load]
        ready = wait([process.line for process in busy])
        for process in (one for one in busy if one.line in ready):
            try:
                result: Result = process.line.recv()
            except (EOFError, OSError):
                raise ImportFailed(
                    f"A worker of the import ended with code {process.process.wait()}. Start it again: it goes on "
                    "from here."
                ) from None
            process.load -= 1
            if result.failure:
                raise ImportFailed(result.failure)
            self._take(result)

    def _take(self, result: Result) -> None:
        self.summary.counts.update(result.counts)
        self.summary.known += result.known
        self._done += self._sizes.pop(result.number)
        for problem in result.problems:
            self._report(problem)
        for deferred in result.deferred:
            self._waiting.add(deferred)
        self._notice(Progress(self.summary.resources, self._done, self._total, len(self._waiting)))

    def _report(self, problem: Problem) -> None:
        """One line of the error file."""
        self.summary.problems += 1
        if self._errors is None:
            self._errors = open(self._errors_path, "wb")
        line = {
            "file": problem.file,
            "place": problem.place or None,
            "type": problem.type,
            "id": problem.id,
            "outcome": problem.outcome,
        }
        self._errors.write(orjson.dumps(line) + b"\n")
        self._errors.flush()


def cores() -> int:
    """How many worker processes to use by default."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
