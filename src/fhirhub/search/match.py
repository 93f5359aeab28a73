"""The predicate evaluated over rows in memory: what the store's SQL must agree with, kept plain for that
reason.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from fhirhub.search.parameters.near import metres
from fhirhub.search.parameters.quantity import UNITS, in_units
from fhirhub.search.predicate import (
    And,
    Below,
    Bound,
    Chain,
    Cited,
    Cites,
    Concepts,
    Contained,
    Has,
    Ids,
    Keys,
    Kin,
    Measure,
    Near,
    Not,
    OfType,
    Or,
    Points,
    Predicate,
    Present,
    Quantity,
    Refers,
    Says,
    Span,
    Spoken,
    Text,
    Updated,
    Worded,
    Words,
)
from fhirhub.search.rows import Rows

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A resource as a search sees it.

    ``updated`` is in microseconds since 1970 UTC; None for a contained resource, which has no such time of its own
    (https://hl7.org/fhir/R4/references.html#contained).
    """

    type: str
    id: str
    updated: int | None
    rows: Rows


class World(Protocol):
    """The other resources, for chains and ``_has``."""

    def resource(self, type: str, id: str) -> Subject | None:
        """The resource ``type/id``, None when there is none."""

    def resources(self, type: str) -> Iterable[Subject]:
        """All resources of ``type``."""


class Alone:
    """A world with nothing else in it."""

    def resource(self, type: str, id: str) -> Subject | None:
        return None

    def resources(self, type: str) -> Iterable[Subject]:
        return ()


def _within(bounds: tuple[Bound, ...], lo: float, hi: float) -> bool:
    return all(_OPERATORS[sign](lo if column == "lo" else hi, value) for column, sign, value in bounds)


class Undecided(LookupError):
    """The rows of the resource alone cannot answer."""


def has_word(text: str, words: str) -> bool:
    """Whether the normalised ``text`` has a word that starts with ``words``."""
    return text.startswith(words) or f" {words}" in text


def is_below(text: str, uri: str) -> bool:
    """Whether the uri ``text`` is ``uri`` or below it: by the segments of its path, or by the numbers of its version."""
    stem = uri.rstrip("/")
    deeper = "." if "|" in uri else "/"
    return (
        text in (uri, stem)
        or text.startswith(stem + deeper)
        or (deeper == "/" and text.startswith(stem + "|"))
    )


def _text(asked: Text, value: str) -> bool:
    if asked.match == "prefix":
        return value.startswith(asked.text)
    if asked.match == "suffix":
        return value.endswith(asked.text)
    return asked.text in value if asked.match == "contains" else asked.text == value


def _chain(chain: Chain, subject: Subject, world: World) -> bool:
    for pid, type, id in subject.rows.references:
        if pid == chain.pid and type == chain.type:
            target = world.resource(type, id)
            if target is not None and matches(chain.part, target, world):
                return True
    return False


def _contains(asked: Contained, subject: Subject, world: World) -> bool:
    for place, inner in enumerate(subject.rows.inside):
        if inner.type == asked.type and (not asked.pid or (asked.pid, place) in subject.rows.links):
            if matches(asked.part, Subject(inner.type, inner.id, None, inner.rows), world):
                return True
    return False


def _has(has: Has, subject: Subject, world: World) -> bool:
    link = (has.pid, subject.type, subject.id)
    return any(
        link in other.rows.references and matches(has.part, other, world)
        for other in world.resources(has.type)
    )


def pointed(asked: Points, rows: Rows) -> set[tuple[str, str]]:
    """(type, id) of all that decides ``asked`` for a resource with these rows."""
    return {(type, id) for pid, type, id in rows.references if pid == asked.pid}


def points(
    asked: Points, targets: Collection[tuple[str, str]], fulfils: Callable[[tuple[str, str]], bool]
) -> bool:
    """Whether ``asked`` holds of what points to ``targets``, of which ``fulfils`` tells those that fulfil its part."""
    others = [name for name in targets if not fulfils(name)]
    if asked.besides is not None and any(type not in asked.besides for type, _ in others):
        return False
    return len(others) < len(targets)


def _points(asked: Points, subject: Subject, world: World) -> bool:
    targets = pointed(asked, subject.rows)
    if targets and isinstance(world, Alone):
        raise Undecided("what it points to has to be looked up")

    def fulfils(name: tuple[str, str]) -> bool:
        target = world.resource(*name)
        return target is not None and matches(asked.part, target, world)

    return points(asked, targets, fulfils)


def _beyond(asked: Chain | Has | Points, subject: Subject, world: World) -> bool:
    """What other resources decide."""
    match asked:
        case Chain():
            return _chain(asked, subject, world)
        case Has():
            return _has(asked, subject, world)
    return _points(asked, subject, world)


def matches(predicate: Predicate, subject: Subject, world: World | None = None) -> bool:
    """Whether ``subject`` fulfils ``predicate``."""
    around = Alone() if world is None else world
    rows = subject.rows
    match predicate:
        case And(parts):
            return all(matches(part, subject, around) for part in parts)
        case Or(parts):
            return any(matches(part, subject, around) for part in parts)
        case Not(part):
            return not matches(part, subject, around)
        case Keys(keys, codes):
            filed = {coding for umbrella, coding in rows.codings if umbrella in codes}
            return not rows.tokens.isdisjoint(keys) or not rows.tokens.isdisjoint(filed)
        case Refers(pid, targets):
            return any((pid, type, id) in rows.references for type, id in targets)
        case Text(key):
            return any(key == own and _text(predicate, value) for own, value in rows.strings)
        case Span(key, bounds):
            return any(key == own and _within(bounds, lo, hi) for own, lo, hi in rows.dates)
        case Quantity(key, bounds, unit):
            return any(
                key == own and unit in (None, coded, printed) and _within(bounds, lo, hi)
                for own, lo, hi, coded, printed in rows.numbers
            )
        case Measure():
            units = [(raw, key) for pid, _, raw, key in rows.phrases.values() if pid == UNITS]
            return matches(in_units(predicate, units), subject, around)
        case Near(latitude_key, longitude_key, latitude, longitude, reach):
            north = [lo for key, lo, *_ in rows.numbers if key == latitude_key]
            east = [lo for key, lo, *_ in rows.numbers if key == longitude_key]
            return any(metres((latitude, longitude), at) <= reach for at in zip(north, east, strict=True))
        case Worded(pid, words):
            return any(pid == own and has_word(text, words) for own, text, _, _ in rows.phrases.values())
        case Words(word, narrative_only):
            return has_word(rows.words[0], word) or (not narrative_only and has_word(rows.words[1], word))
        case Spoken(word, narrative_only, pid, pids):
            told = any(
                own in (pid, *pids) and has_word(text, word) for own, text, *_ in rows.phrases.values()
            )
            return told or matches(Words(word, narrative_only), subject, around)
        case Below(pid, uri):
            return any(pid == own and is_below(text, uri) for own, text, _, _ in rows.phrases.values())
        case Concepts() | Kin() | Says() | Cites() | Cited():
            # What a value set holds, what is part of what, which version is meant: other resources and documents tell.
            raise Undecided(f"{type(predicate).__name__} is for the store to answer")
        case Contained():
            return _contains(predicate, subject, around)
        case Present(pid):
            return pid in rows.params
        case OfType(types):
            return subject.type in types
        case Ids(ids):
            return subject.id in ids
        case Updated(bounds):
            return subject.updated is not None and _within(bounds, subject.updated, subject.updated)
        case Chain() | Has() | Points():
            return _beyond(predicate, subject, around)
