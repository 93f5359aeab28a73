"""What the pages ask of the record and of its trail, which they do not know: to be given to the context by ``app``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhirhub.auth import preview


@dataclass(frozen=True, slots=True)
class Look:
    """One line of "who looked at my record", in plain words: what ``looked_at`` of the context answers with."""

    at: int
    """Microseconds since 1970 UTC."""
    who: str
    app: str
    what: str
    reason: str = ""
    """Why the glass was broken, if it was."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail, for administrators."""

    at: int
    who: str
    client: str
    what: str
    patients: str
    outcome: str
    address: str
    request: str
    """X-Request-Id."""


SearchTrail = Callable[[Mapping[str, str], str], Awaitable[tuple[Sequence[Event], str]]]
"""``(conditions, cursor or '')`` -> events and the next cursor; conditions: ``user``, ``patient``, ``since``, ``until``."""
Preview = Callable[[str], preview.Preview]
"""What a role may see and do; KeyError for no such role."""
CheckPolicy = Callable[[Mapping[str, Any]], None]
"""Raises PolicyError for the policy of a client that cannot be applied."""
