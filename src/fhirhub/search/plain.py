"""Searches from which nothing but security labels keeps anything: as long as nothing carries these labels, they are those
of somebody who may see everything, and are made as such. The statement that answers confirms that nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import (
    And,
    Below,
    Chain,
    Has,
    Ids,
    Keys,
    Measure,
    Near,
    Not,
    Or,
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
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import key_pid
from fhirhub.search.sight import Sight

Absent = tuple[tuple[str, tuple[int, ...]], ...]
"""(resource type, keys): no resource of the type stands under any of the keys."""
MOST = 4
"""Types that one statement looks for labels of."""
_OWN = (
    Keys, Text, Span, Quantity, Measure, Present, Ids, Updated, Words, Worded, Spoken, Says, Below, Near,
)  # fmt: skip
"""Conditions that the resource itself and dictionaries of its own parameters decide."""


def absent(request: SearchRequest, sight: Sight, definitions: Definitions) -> Absent | None:
    """What must be absent for ``request`` within ``sight`` to be ``request`` itself; None when more than labels keeps
    something from it."""
    if request.includes or request.inside is not None or sight.about:
        return None
    types = {*(request.types or (request.type,))}
    for behind in _types(request.where):
        if behind is None or len(types) > MOST:
            return None
        types.add(behind)
    if len(types) > MOST:
        return None
    found: list[tuple[str, tuple[int, ...]]] = []
    for type in sorted(types):
        keys = _labels(sight, type, definitions)
        if keys is None:
            return None
        if keys:
            found.append((type, keys))
    return tuple(found)


def _types(where: Any) -> Iterator[str | None]:
    """The types that ``where`` looks at besides those searched; None for what depends on more than them."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _types(part)
        case Not(part):
            yield from _types(part)
        case Chain(_, type, part) | Has(type, _, part):
            yield type
            yield from _types(part)
        case Refers(_, targets):
            # That something is there to refer to is nothing that a search may tell of what is hidden.
            yield from dict.fromkeys(type for type, _ in targets)
        case _ if not isinstance(where, _OWN):
            yield None


def _labels(sight: Sight, type: str, definitions: Definitions) -> tuple[int, ...] | None:
    """The keys of the labels that keep the caller from resources of ``type``; None when something else does, too."""
    if type in sight.hidden:
        return None
    within = sight.of("s", type)
    if sight.shows(type) != within:
        return None
    return labels_of(within, definitions)


def labels_of(within: Predicate, definitions: Definitions) -> tuple[int, ...] | None:
    """The keys of labels, if ``within`` is all that carries none of them; None for any other condition."""
    match within:
        case And(()):
            return ()
        case Not(Keys(keys, ())):
            pids = {key_pid(key) for key in keys}
            if all(definitions.by_pid[pid].code == "_security" for pid in pids):
                return keys
    return None
