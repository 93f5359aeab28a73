"""Statements of first pages, kept by the outline of their searches: only the arguments differ from one to the next.

Most searches ask for token rows and names (a patient's, those of a code), behind chains or not, and their statement
depends on nothing but how many keys each condition has and how many rows are expected under them. Searches for dates,
numbers and words are compiled anew each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fhirhub.search.predicate import And, Chain, Has, Keys, Not, OfType, Or, Present, Refers, Text
from fhirhub.search.request import SCORE
from fhirhub.search.rows import STRING_LENGTH
from fhirhub.store.asked import Asked
from fhirhub.store.plan import Plan
from fhirhub.store.statistics import Statistics

CAPACITY = 1000
"""Statements that are kept; all go when there are more."""
LONG = 10_000
"""Characters of a statement that is not: its like comes seldom."""
PLACES = 6000
"""Keys and texts of a search whose statement is kept; there are 6,400 private characters."""
SHORT = 6
"""Characters of a text from which on its length does not change what is expected of it
(:meth:`fhirhub.store.statistics.Statistics.rows`)."""
_FIRST = 0xE000
LAST = "\U0010ffff"
"""What ends the range of all texts with one beginning (:meth:`fhirhub.store.predicates.Compiler.text`)."""
Outline = tuple[Any, ...]


class Slot(int):
    """A key that knows its place among those of its search."""

    place: int


class Slots(tuple[Any, ...]):
    """The same of a list that is one argument."""

    place: int


@dataclass(frozen=True, slots=True)
class Template:
    """A statement by ``plan``; ``fills`` tell of each argument whether it is a key of the search, several, or fixed."""

    plan: Plan
    entries: float
    sql: str
    width: int
    fills: tuple[tuple[str, Any], ...]

    def values(self, own: Sequence[Any]) -> list[Any]:
        """The arguments for a search with its ``own`` keys and texts."""
        return [_filled(kind, fill, own) for kind, fill in self.fills]


def _filled(kind: str, fill: Any, own: Sequence[Any]) -> Any:
    if kind == "one":
        return own[fill]
    if kind == "many":
        return [own[place] for place in fill]
    return own[fill] + LAST if kind == "end" else fill


def fill(value: Any) -> tuple[str, Any]:
    """How an argument that was made of slots is made of keys and texts."""
    if isinstance(value, Slot | Slots):
        return "one", value.place
    if isinstance(value, list) and value and all(isinstance(each, Slot) for each in value):
        return "many", tuple(each.place for each in value)
    if isinstance(value, str) and value and _FIRST <= ord(value[0]) < _FIRST + PLACES:
        return "end" if value.endswith(LAST) else "one", ord(value[0]) - _FIRST
    return "fixed", value


def slotted(asked: Asked, own: Sequence[Any]) -> Asked:
    """``asked`` with all of its ``own`` as slots."""
    slots = iter([_slot(each, place) for place, each in enumerate(own)])
    parts = tuple(_slotted(part, asked, slots) for part in asked.parts)
    where = parts[0] if len(parts) == 1 else And(parts)
    remembered: dict[int, tuple[int, ...]] = dict.fromkeys(islice(slots, len(asked.remembered)), ())
    recalled = {(sql, tuple(islice(slots, len(values)))): 0 for sql, values in asked.recalled}
    return Asked(asked.request, where, parts, {}, remembered=remembered, recalled=recalled)


def _slot(value: Any, place: int) -> Any:
    """A key or list that knows its place, or a text of private characters that stand for it: as long as it matters."""
    if isinstance(value, list):
        several = Slots(value)
        several.place = place
        return several
    if isinstance(value, str):
        return chr(_FIRST + place) * min(len(value), SHORT)
    made = Slot(value)
    made.place = place
    return made


def _slotted(where: Any, asked: Asked, slots: Iterator[Any]) -> Any:
    match where:
        case Keys() | Refers():
            return Keys(tuple(islice(slots, len(_own(where, asked)))))
        case Text(_, match):
            return Text(next(slots), match, next(slots))
        case And(parts):
            return And(tuple(_slotted(part, asked, slots) for part in parts))
        case Or(parts):
            return Or(tuple(_slotted(part, asked, slots) for part in parts))
        case Not(part):
            return Not(_slotted(part, asked, slots))
        case Chain(pid, type_, part):
            return Chain(pid, type_, _slotted(part, asked, slots))
        case Has(type_, pid, part):
            return Has(type_, pid, _slotted(part, asked, slots))
    return where


def _own(leaf: Keys | Refers, asked: Asked) -> tuple[int, ...]:
    """The keys of a condition on token rows."""
    return leaf.keys if isinstance(leaf, Keys) else asked.keys[leaf]


@dataclass(slots=True)
class Templates:
    """The statements that are kept, for as long as ``statistics`` are the same."""

    statistics: Statistics
    _kept: dict[Outline, Template] = field(default_factory=dict)
    _stamp: tuple[Any, ...] = ()

    def outline(self, asked: Asked, count: bool) -> tuple[Outline, list[Any]] | None:
        """What the statement depends on, and what it is to be filled with; None for what is compiled each time.

        ``count``: the rows are to tell the total besides.
        """
        request = asked.request
        if not CAPACITY or request.cursor is not None or not request.type:
            return None
        found: list[Any] = []
        shapes = tuple([self._shape(part, asked, found, False) for part in asked.parts])
        if None in shapes:
            return None
        if any(sort.code == SCORE for sort in request.sort):
            return None
        found += asked.remembered
        found += [
            list(each) if isinstance(each, tuple) else each for _, values in asked.recalled for each in values
        ]
        if len(found) > PLACES:
            return None
        forward = any(not each.reverse for each in request.includes)
        known = len(asked.remembered), tuple([sql for sql, _ in asked.recalled])
        return (request.type, request.sort, request.count, forward, count, known, shapes), found

    def _shape(self, where: Any, asked: Asked, found: list[Any], tested: bool) -> Outline | None:
        """What the SQL and the cost of ``where`` depend on, except for its keys and texts, which go to ``found``.

        ``tested``: it never drives, so it makes no difference how many rows are expected under its keys.
        """
        match where:
            case Keys() | Refers():
                own = _own(where, asked)
                found += own
                return len(own), 0.0 if tested else sum(map(self.statistics.key, own))
            case Text(key, match, text) if type(where) is Text and text and len(found) < PLACES - 2:
                found += key, text[:STRING_LENGTH]
                return match, min(len(text), SHORT)
            case And(parts) | Or(parts):
                inner = tuple([self._shape(part, asked, found, tested) for part in parts])
                return None if None in inner else (type(where), inner)
            case Not(Not(part)):
                below = self._shape(part, asked, found, True)
                return None if below is None else (Not, Not, below)
            case Not(part):
                below = self._shape(part, asked, found, tested)
                return None if below is None else (Not, below)
            case Chain(pid, type_, part) | Has(type_, pid, part):
                below = self._shape(part, asked, found, tested)
                return None if below is None else (type(where), pid, type_, below)
            case Present() | OfType():
                return type(where), where
        return None

    def get(self, outline: Outline, stamp: tuple[Any, ...]) -> Template | None:
        """The statement kept for ``outline``; none that was made under another ``stamp``."""
        if stamp != self._stamp:
            self._kept.clear()
            self._stamp = stamp
        return self._kept.get(outline)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, outline: Outline, template: Template, stamp: tuple[Any, ...]) -> None:
        """Keep a statement that was made under ``stamp``."""
        if stamp != self._stamp or len(template.sql) > LONG:
            return
        if len(self._kept) >= CAPACITY:
            self._kept.clear()
        self._kept[outline] = template
