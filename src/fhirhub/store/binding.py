"""What page links are bound to: a cursor opens for the search that it was made for, and for no other."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from fhirhub.search.request import SearchRequest


def bound(request: SearchRequest) -> str:
    """A digest of what a cursor is bound to: the shape of the condition and the order.

    The limits of dates and numbers are left out: those of ``ap`` move with the clock.
    """
    return blake2b(
        repr((_shape(request.bound or request.where), request.sort)).encode(), digest_size=12
    ).hexdigest()


def _shape(part: Any) -> Any:
    if isinstance(part, tuple):
        return part[:2] if len(part) == 3 and part[0] in ("lo", "hi") else tuple(map(_shape, part))
    names = getattr(type(part), "__match_args__", None)
    if names is not None:
        return type(part).__name__, *(_shape(getattr(part, name)) for name in names)
    return part
