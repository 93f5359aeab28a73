"""And and Or over predicates, said as plainly as possible: what is plain is quick to test and easy to compare."""

from __future__ import annotations

from collections.abc import Iterable

from fhirhub.search.parameters.base import any_of
from fhirhub.search.predicate import And, Or, Predicate
from fhirhub.search.sight import ALL, NONE


def every(parts: Iterable[Predicate]) -> Predicate:
    """All of ``parts``; ALL when there are none."""
    kept: dict[Predicate, None] = {}
    for part in parts:
        if part == NONE:
            return NONE
        kept.update(dict.fromkeys(part.parts if isinstance(part, And) else (part,)))
    if len(kept) == 1:
        return next(iter(kept))
    return And(tuple(kept)) if kept else ALL


def some(parts: Iterable[Predicate]) -> Predicate:
    """Any of ``parts``; NONE when there are none."""
    kept: dict[Predicate, None] = {}
    for part in parts:
        if part == ALL:
            return ALL
        kept.update(dict.fromkeys(part.parts if isinstance(part, Or) else (part,)))
    return any_of(tuple(kept)) if kept else NONE
