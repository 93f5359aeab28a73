"""What a condition is made of, told by one walk: most searches need none of the passes that a few of them do."""

from __future__ import annotations

from typing import Any

from fhirhub.search.predicate import DEFERRED, And, Chain, Contained, Has, Not, Or, Points, Quantity, Span

SETTLED = frozenset(DEFERRED)
"""Kinds of leaves that stored resources and dictionaries decide."""
FOLDED = frozenset((Span, Quantity, Or))
"""Kinds that are folded: rows of the ordered indexes, and alternatives of them."""
_SEVERAL = frozenset((And, Or))
_ONE = frozenset((Not, Chain, Has, Points, Contained))


def kinds(where: Any) -> set[type]:
    """The types of all nodes of ``where``, branches and leaves, those behind chains too."""
    kind = type(where)
    found = {kind}
    if kind not in _SEVERAL and kind not in _ONE:
        return found
    rest = [where]
    while rest:
        each = rest.pop()
        kind = type(each)
        found.add(kind)
        if kind in _SEVERAL:
            rest.extend(each.parts)
        elif kind in _ONE:
            rest.append(each.part)
    return found
