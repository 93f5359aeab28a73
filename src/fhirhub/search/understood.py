"""What searches were understood as, kept for when the same is asked again: clients ask the same things over and over."""

from __future__ import annotations

from fhirhub.search.request import SearchRequest

Parameters = tuple[tuple[str, str], ...]
Asked = tuple[str, Parameters, bool, tuple[str, ...], bool, str]
"""Type, parameters, whether lenient, bases, whether contained resources can be shown, and who asks."""
CAPACITY = 1000
"""Searches that are kept; the older half goes when there are more."""
LONG = 500
"""Characters of the parameters of a search that is not."""
BY_THE_CLOCK = "ap"
"""The prefix that measures a date against the present time: whatever holds these letters is not kept."""


class Understood:
    """Remembers the searches of one set of definitions, each for whoever asked it: nobody can tell by the time an answer
    takes what others have asked.
    """

    def __init__(self) -> None:
        self._known: dict[Asked, SearchRequest] = {}

    def get(self, asked: Asked) -> SearchRequest | None:
        """What ``asked`` was understood as, the very same object each time."""
        return self._known.get(asked)

    def keep(self, asked: Asked, request: SearchRequest) -> None:
        """Remember ``request``, if it will always mean the same and is not long."""
        parameters = asked[1]
        if sum(len(name) + len(value) for name, value in parameters) > LONG:
            return
        if any(BY_THE_CLOCK in value for _, value in parameters):
            return
        if len(self._known) >= CAPACITY:
            for old in list(self._known)[: CAPACITY // 2]:
                del self._known[old]
        self._known[asked] = request
