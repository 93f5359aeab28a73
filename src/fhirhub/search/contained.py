"""Contained resources: how they are indexed with what contains them, and how a search gets at them.

https://hl7.org/fhir/R4/search.html#contained and #chaining: ``_contained`` finds resources by what they contain, and a
chain goes through a reference to ``#id`` as it goes through any other.

The rows of the n-th contained resource of a type stand among those of its container, under keys of their own that mix
the type, the n and the key that the row would have had. A condition on contained resources is then the same condition
with its keys mixed likewise, for n = 0, 1, …; so conditions that must hold together hold for one and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhirhub.search.parameters.base import NUL, Context, Emit
from fhirhub.search.predicate import (
    And,
    Chain,
    Contained,
    Keys,
    Not,
    Or,
    Predicate,
    Quantity,
    Refers,
    Span,
    Text,
)
from fhirhub.search.rows import Inner, Rows, hashed_key, phrase, range_key

PLACE = (1 << 14) - 1
"""The pid under which rows of contained resources stand: the last one there is."""
MOST = 8
"""Contained resources of one type in one container that can be found."""


class Beyond(Exception):
    """A condition that the rows of a contained resource cannot answer."""


def _spelling(type: str, n: int, what: object) -> str:
    return f"{type}{NUL}{n}{NUL}{what}"


def link_key(pid: int, type: str, n: int, secret: bytes) -> int:
    """The token of a reference of parameter ``pid`` to the ``n``-th contained resource of ``type``."""
    return hashed_key(pid, f"{NUL}#{_spelling(type, n, '')}", secret)


def file(rows: Rows, secret: bytes) -> None:
    """Put the rows of what is contained (``rows.inside``) among ``rows``, and what refers to it."""
    for pid, place in rows.links:
        inner = rows.inside[place]
        rows.tokens.add(link_key(pid, inner.type, inner.n, secret))
    for inner in rows.inside:
        _file_one(inner, rows, secret)


def _file_one(inner: Inner, rows: Rows, secret: bytes) -> None:
    def mixed(what: object) -> int:
        return hashed_key(PLACE, _spelling(inner.type, inner.n, what), secret)

    def placed(key: int) -> int:
        return range_key(PLACE, _spelling(inner.type, inner.n, key), secret)

    own = inner.rows
    rows.tokens.add(mixed(""))
    rows.tokens.update(mixed(key) for key in own.tokens)
    rows.tokens.update(mixed(f"{pid}>{type}/{id}") for pid, type, id in own.references)
    for pid, place in own.links:
        other = rows.inside[place]
        rows.tokens.add(mixed(f"{pid}#{_spelling(other.type, other.n, '')}"))
    rows.strings.update((placed(key), text) for key, text in own.strings)
    rows.dates.update((placed(key & ~3), lo, hi) for key, lo, hi in own.dates)
    rows.numbers.update((placed(key & ~1), lo, hi, unit, label) for key, lo, hi, unit, label in own.numbers)
    rows.codings |= own.codings
    rows.phrases |= own.phrases
    id, known = phrase(PLACE, inner.type, str(inner.n), 0)
    rows.phrases[id] = known


# -- questions ------------------------------------------------------------------------------------------------


def reached(asked: Contained, counts: Mapping[str, int], secret: bytes) -> Predicate:
    """``asked`` as a condition on the rows of the container.

    ``counts`` tells how many contained resources of a type any container has; the part of ``asked`` has no deferred
    leaves and no codes any more. Raises Beyond.
    """
    found = []
    for n in range(counts.get(asked.type, 0)):
        where = _within(asked.part, asked.type, n, counts, secret, strict=not asked.pid)
        if asked.pid:
            where = And((Keys((link_key(asked.pid, asked.type, n, secret),)), where))
        elif not isinstance(where, Keys):
            # A condition that says what must not be holds for what is not there, too.
            there = hashed_key(PLACE, _spelling(asked.type, n, ""), secret)
            where = And((Keys((there,)), where))
        found.append(where)
    return found[0] if len(found) == 1 else Or(tuple(found))


def _within(
    where: Any, type: str, n: int, counts: Mapping[str, int], secret: bytes, strict: bool = False
) -> Any:
    """``where`` for the ``n``-th contained resource of ``type``.

    Unless ``strict``, alternatives that lead from there to resources of their own are left out.
    """

    def mixed(spellings: Sequence[object]) -> Keys:
        return Keys(tuple(hashed_key(PLACE, _spelling(type, n, each), secret) for each in spellings))

    def placed(key: int) -> int:
        return range_key(PLACE, _spelling(type, n, key), secret)

    def inner(part: Any) -> Any:
        return _within(part, type, n, counts, secret, strict)

    def alternatives(parts: Sequence[Any]) -> Any:
        kept = parts if strict else [part for part in parts if not isinstance(part, Chain)]
        if not kept:
            raise Beyond(where)
        return Or(tuple(map(inner, kept)))

    match where:
        case And(parts):
            return And(tuple(map(inner, parts)))
        case Or(parts):
            return alternatives(parts)
        case Not(part):
            return Not(_within(part, type, n, counts, secret, True))
        case Keys(keys, codes) if not codes and all(key < 0 for key in keys):
            return mixed(keys)
        case Refers(pid, targets):
            return mixed([f"{pid}>{target}/{id}" for target, id in targets])
        case Text(key, how, text):
            return Text(placed(key), how, text)
        case Span(key, bounds):
            return Span(placed(key & ~3), bounds)
        case Quantity(key, bounds, unit):
            return Quantity(placed(key & ~1), bounds, unit)
        case Contained(pid, other, part) if pid:
            return Or(
                tuple(
                    And(
                        (
                            mixed([f"{pid}#{_spelling(other, m, '')}"]),
                            _within(part, other, m, counts, secret, strict),
                        )
                    )
                    for m in range(counts.get(other, 0))
                )
            )
    raise Beyond(where)


def without_nothing(where: Any) -> Any:
    """``where`` without alternatives that nothing fulfils."""
    match where:
        case Or(parts):
            kept = [part for part in map(without_nothing, parts) if part != Or(())]
            return kept[0] if len(kept) == 1 else Or(tuple(kept))
        case And(parts):
            return And(tuple(map(without_nothing, parts)))
    return where


class Local(Context):
    """The context in which references to what is contained are followed: local id -> place, and what is there."""

    __slots__ = ("inside", "places")

    def __init__(self, document: dict[str, Any], inside: list[Inner], places: dict[str, int]) -> None:
        super().__init__(document, ())
        self.inside = inside
        self.places = places


def linker(pid: int, only: str | None) -> Emit:
    """The emitter of links to what is contained, for values of the reference parameter ``pid``."""

    def emit(value: Any, rows: Rows, context: Context) -> None:
        text = value.get("reference") if type(value) is dict else None
        if type(text) is not str or text[:1] != "#" or not isinstance(context, Local):
            return
        place = context.places.get(text[1:])
        if place is not None and only in (None, context.inside[place].type):
            rows.links.add((pid, place))

    return emit


def contained_in(
    document: dict[str, Any], types: Mapping[str, Any], rows_of: Callable[[dict[str, Any]], Rows]
) -> tuple[list[Inner], dict[str, int]]:
    """What ``document`` contains, as far as it can be found, and local id -> place in that list."""
    listed = document.get("contained")
    found: list[Inner] = []
    places: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for each in listed if type(listed) is list else ():
        kind, id = (each.get("resourceType"), each.get("id")) if type(each) is dict else (None, None)
        if type(kind) is not str or type(id) is not str or kind not in types or id in places:
            continue
        n = numbers.get(kind, 0)
        if n == MOST:
            continue
        numbers[kind] = n + 1
        places[id] = len(found)
        found.append(Inner(kind, n, id, each, rows_of(each)))
    return found, places
