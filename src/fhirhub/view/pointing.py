"""What a resource points to, looked up where that decides whether it is within reach: the rows of a new image, or of a
former version, do not tell it (:class:`fhirhub.search.predicate.Points`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from fhirhub.search.match import Subject, pointed, points
from fhirhub.search.predicate import And, Not, Or, Points, Predicate
from fhirhub.search.rows import Rows
from fhirhub.search.sight import ALL, NONE
from fhirhub.store.records import Stored
from fhirhub.view.images import fits

Name = tuple[str, str]
"""(type, id) of a resource."""
Find = Callable[[Predicate, str, Sequence[str]], Awaitable[dict[str, Stored]]]
"""(condition, type, ids): those that are there and fulfil it, by id."""
Verdicts = dict[tuple[Points, frozenset[Name]], bool]
"""What was found out about conditions on what is pointed to."""


async def decide(
    within: Predicate, rows: Rows, find: Find, new: Mapping[Name, Subject], verdicts: Verdicts
) -> Predicate:
    """``within`` for a resource with ``rows``, with what it says of other resources decided.

    ``new`` are resources as they are about to be written, which ``find`` does not see. The decisions are kept in
    ``verdicts``, too.
    """
    found: dict[Points, Predicate] = {}
    for asked in pointing(within):
        targets = pointed(asked, rows)
        fulfilling = {name for name in targets if name in new and fits(asked.part, new[name])}
        for type in {type for type, _ in targets - new.keys()}:
            ids = [id for each, id in targets - new.keys() if each == type]
            fulfilling |= {(type, id) for id in await find(asked.part, type, ids)}
        holds = points(asked, targets, fulfilling.__contains__)
        verdicts[asked, frozenset(targets)] = holds
        found[asked] = ALL if holds else NONE
    return exchanged(within, found)


def decided(within: Predicate, rows: Rows, verdicts: Verdicts) -> Predicate:
    """``within`` for a resource with ``rows``, by what is in ``verdicts`` already."""
    found: dict[Points, Predicate] = {}
    for asked in pointing(within):
        holds = verdicts.get((asked, frozenset(pointed(asked, rows))))
        if holds is not None:
            found[asked] = ALL if holds else NONE
    return exchanged(within, found)


def exchanged(where: Any, found: Mapping[Points, Predicate]) -> Any:
    """``where`` with its conditions on what is pointed to exchanged for what was ``found``."""
    if not found:
        return where
    match where:
        case And(parts):
            return And(tuple(exchanged(part, found) for part in parts))
        case Or(parts):
            return Or(tuple(exchanged(part, found) for part in parts))
        case Not(part):
            return Not(exchanged(part, found))
        case Points():
            return found.get(where, where)
    return where


def pointing(where: Any) -> Iterator[Points]:
    """The conditions in ``where`` on what is pointed to."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from pointing(part)
        case Not(part):
            yield from pointing(part)
        case Points():
            yield where
