"""What searches were understood as, kept for when the same is asked again: clients ask the same things over and over."""

from __future__ import annotations

import re

from fhirhub.search.request import SearchRequest

Parameters = tuple[tuple[str, str], ...]
Asked = tuple[str, Parameters, bool, tuple[str, ...], bool, str]
"""Type, parameters, whether lenient, bases, whether contained resources can be shown, and who asks."""
CAPACITY = 1000
"""Searches that are kept; the older half goes when there are more."""
ROOM = 500_000
"""Characters of the parameters of all of them; so it does when there are more."""
LONG = 10_000
"""Characters of the parameters of a search that is not kept."""
BY_THE_CLOCK = re.compile(r"(?<![0-9A-Za-z/])ap(?![A-Za-z])", re.IGNORECASE)
"""The prefix that measures a date against the present time, at the beginning of a value or in a ``_filter``: what may hold
it is not kept.
"""


class Understood:
    """Remembers the searches of one set of definitions, each for whoever asked it: nobody can tell by the time an answer
    takes what others have asked.
    """

    def __init__(self) -> None:
        self._known: dict[Asked, SearchRequest] = {}
        self._room = ROOM

    def get(self, asked: Asked) -> SearchRequest | None:
        """What ``asked`` was understood as, the very same object each time."""
        return self._known.get(asked)

    def keep(self, asked: Asked, request: SearchRequest) -> None:
        """Remember ``request``, if it will always mean the same and is not long."""
        parameters = asked[1]
        size = size_of(parameters)
        if size > LONG or any(BY_THE_CLOCK.search(value) for _, value in parameters):
            return
        self._room -= size
        if len(self._known) >= CAPACITY or self._room < 0:
            for old in list(self._known)[: (len(self._known) + 1) // 2]:
                del self._known[old]
                self._room += size_of(old[1])
        self._known[asked] = request


def is_long(request: SearchRequest) -> bool:
    """Whether nothing is to be kept of ``request``, which is not kept itself: a form may hold megabytes."""
    return size_of(request.applied) > LONG


def size_of(parameters: Parameters) -> int:
    """Characters of ``parameters``."""
    return sum([len(name) + len(value) for name, value in parameters])
