"""What travels between the processes of an import: tasks out, results back, as plain values that pickle well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Name = tuple[str, str]
"""(resource type, id)."""


@dataclass(slots=True)
class Item:
    """The smallest thing that is taken in or not.

    ``form`` is ``resource`` (one resource, written by POST or PUT as ``method`` says) or ``transaction`` (a
    transaction Bundle, all of it or nothing; a conditional entry of a batch is made into one of its own).
    """

    unit: str
    number: int
    file: str
    place: str
    """Where in the file: ``line 17``, ``entry 3`` or nothing."""
    form: str
    method: str = ""
    body: bytes = b""
    """The JSON text; may be empty while ``document`` is there."""
    document: dict[str, Any] | None = None
    """Not sent to another process."""


@dataclass(slots=True)
class Problem:
    """An item that was not taken in, as a line of the error file."""

    file: str
    place: str
    type: str | None
    id: str | None
    outcome: dict[str, Any]


@dataclass(slots=True)
class Deferred:
    """An item that refers to what is not there, or not yet; ``problem`` is what to say if it never comes."""

    item: Item
    name: Name | None
    """What others may be waiting for: the item's own type and id."""
    missing: tuple[Name, ...]
    """What it waits for, where that is known."""
    problem: Problem


@dataclass(slots=True)
class Task:
    """A unit of work: a JSON file to read (``path``, ``member``), lines of NDJSON (``data``), or ``items``."""

    number: int
    unit: str = ""
    file: str = ""
    path: str = ""
    member: str = ""
    first_line: int = 1
    data: bytes = b""
    items: list[Item] = field(default_factory=list)
    size: int = 0
    """Bytes of the input that are dealt with when the task is; for the progress."""


@dataclass(slots=True)
class Result:
    """What became of a task."""

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    """Resource type -> resources taken in, now or (``known``) by an earlier import."""
    known: int = 0
    problems: list[Problem] = field(default_factory=list)
    deferred: list[Deferred] = field(default_factory=list)
    failure: str = ""
    """Why the whole import cannot go on."""

    def add(self, other: Result) -> None:
        """Take in what a part of the task came to."""
        self.counts += other.counts
        self.known += other.known
        self.problems += other.problems
        self.deferred += other.deferred


@dataclass(slots=True)
class Order:
    """What a worker is told at its start."""

    dsn: str | None
    """None: validate only."""
    integrity: bool
    base: str
