"""Links between the entries of a transaction must lead to resources of a permitted type.

The validator sees a ``urn:uuid:`` there and cannot know what it stands for; here the entries are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import Issue
from fhirhub.resource.bundle import Entry
from fhirhub.resource.links import Found
from fhirhub.validation.reference import WIDENED


def misdirected(definitions: Definitions, found: Found, urls: Mapping[str, Entry]) -> Iterator[Issue]:
    """An issue for each reference of one resource that leads to an entry of a type it may not refer to."""
    for path, holder in found.references:
        entry = urls.get(holder["reference"])
        if entry is None or entry.type is None:
            continue
        allowed = _targets(definitions, found.root, _names(path))
        if allowed and entry.type not in allowed:
            text = f"{holder['reference'][:80]} is a {entry.type}; use a reference to {', '.join(sorted(allowed))}."
            yield Issue("value", text, f"{found.expression(path)}.reference")


def _names(path: Any) -> tuple[str, ...]:
    """The property names of a linked path, from the root."""
    names = []
    while path is not None:
        path, step = path
        if type(step) is str:
            names.append(step)
    return tuple(reversed(names))


@lru_cache(maxsize=4096)
def _targets(definitions: Definitions, root: str, names: tuple[str, ...]) -> frozenset[str]:
    """The resource types that the Reference at this place may lead to; empty for any."""
    targets: tuple[str, ...] = ()
    path, type = "", root
    for name in names:
        held = definitions.types[type].properties.get(name) if type in definitions.types else None
        if held is None:
            return frozenset()
        type, targets, path = held.type_name, held.type.targets, held.element.path
    return frozenset((*targets, *WIDENED.get(path, ()))) if targets else frozenset()
