"""Statements of first pages, kept by the outline of their searches: only the arguments differ from one to the next.

Most searches ask for token rows alone (a patient's, those of a code), and their statement depends on nothing but how
many keys each condition has and how many rows are expected under them. Everything else is compiled anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fhirhub.search.predicate import And, Keys, Predicate, Refers
from fhirhub.search.request import SCORE
from fhirhub.store.asked import Asked
from fhirhub.store.plan import Plan
from fhirhub.store.ranges import Condition
from fhirhub.store.statistics import Statistics

CAPACITY = 1000
"""Statements that are kept; all go when there are more."""
Outline = tuple[Any, ...]


class Slot(int):
    """A key that knows its place among those of its search."""

    place: int


def _slot(key: int, place: int) -> Slot:
    made = Slot(key)
    made.place = place
    return made


@dataclass(frozen=True, slots=True)
class Template:
    """A statement by ``plan``; ``fills`` tell of each argument whether it is a key of the search, several, or fixed."""

    plan: Plan
    entries: float
    sql: str
    width: int
    fills: tuple[tuple[str, Any], ...]

    def values(self, keys: Sequence[int]) -> list[Any]:
        """The arguments for a search with these ``keys``."""
        return [
            keys[fill] if kind == "key" else [keys[place] for place in fill] if kind == "keys" else fill
            for kind, fill in self.fills
        ]


def fill(value: Any) -> tuple[str, Any]:
    """How an argument that was made of slots is made of keys."""
    if isinstance(value, Slot):
        return "key", value.place
    if isinstance(value, list) and value and all(isinstance(each, Slot) for each in value):
        return "keys", tuple(each.place for each in value)
    return "fixed", value


def slotted(asked: Asked, keys: Sequence[int]) -> Asked:
    """``asked`` with all its ``keys`` as slots."""
    slots = iter([_slot(key, place) for place, key in enumerate(keys)])
    parts: tuple[Predicate, ...] = tuple(
        Keys(tuple(islice(slots, len(_own(part, asked))))) for part in asked.parts
    )
    where = parts[0] if len(parts) == 1 else And(parts)
    return Asked(asked.request, where, parts, {}, remembered=dict.fromkeys(slots, ()))


def _own(part: Condition, asked: Asked) -> tuple[int, ...]:
    """The keys of a condition on token rows."""
    return part.keys if isinstance(part, Keys) else asked.keys[part]


@dataclass(slots=True)
class Templates:
    """The statements that are kept, for as long as ``statistics`` are the same."""

    statistics: Statistics
    _kept: dict[Outline, Template] = field(default_factory=dict)
    _stamp: tuple[Any, ...] = ()

    def outline(self, asked: Asked, count: bool) -> tuple[Outline, list[int]] | None:
        """What the statement depends on, and the keys it is to be filled with; None for what is compiled each time.

        ``count``: the rows are to tell the total besides.
        """
        request = asked.request
        if not CAPACITY or request.cursor is not None or not request.type:
            return None
        rows, found, expected = self.statistics.key, list[int](), []
        for part in asked.parts:
            if not isinstance(part, Keys | Refers):
                return None
            own = _own(part, asked)
            expected.append((len(own), sum(map(rows, own))))
            found += own
        if any(sort.code == SCORE for sort in request.sort):
            return None
        found += asked.remembered
        forward = any(not each.reverse for each in request.includes)
        known = len(asked.remembered)
        return (request.type, request.sort, request.count, forward, count, known, tuple(expected)), found

    def get(self, outline: Outline, stamp: tuple[Any, ...]) -> Template | None:
        """The statement kept for ``outline``; none that was made under another ``stamp``."""
        if stamp != self._stamp:
            self._kept.clear()
            self._stamp = stamp
        return self._kept.get(outline)

    def keep(self, outline: Outline, template: Template) -> None:
        """Keep a statement."""
        if len(self._kept) >= CAPACITY:
            self._kept.clear()
        self._kept[outline] = template
