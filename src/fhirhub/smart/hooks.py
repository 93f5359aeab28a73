"""What the pages ask of the record and of its trail, which they do not know: to be given to the context by ``app``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fhirhub.exchange import Caller
from fhirhub.smart.storage.accounts import Account


class Patient(Protocol):
    """A patient as a page names one."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def birth_date(self) -> str: ...


class Patients(Protocol):
    """Patients as somebody may see them."""

    async def find(self, account: Account, text: str, count: int) -> Sequence[Patient]:
        """Up to ``count`` patients whose name begins like ``text``, of those that ``account`` may see."""

    async def named(self, account: Account, id: str) -> Patient | None:
        """The patient with this logical id, if ``account`` may see them."""


@dataclass(frozen=True, slots=True)
class Look:
    """One line of "who looked at my record", in plain words."""

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


@dataclass(frozen=True, slots=True)
class Permission:
    """What a role may do with the resources of a type."""

    type: str
    may: str
    """In words: ``read, search, update``."""
    only: str
    """Criteria of the resources; '' for all."""
    hidden: str
    """Elements that are left out."""
    why: str
    """The rule it comes from."""


Audit = Callable[[str, Caller, int, Mapping[str, Any]], Awaitable[None]]
"""``(event, who, outcome, detail)``: put on record; returns when it is."""
LookedAt = Callable[[str, str], Awaitable[tuple[Sequence[Look], str]]]
"""``(patient id, cursor or '')`` -> the newest looks before the cursor, and the cursor of the next ones ('' = none)."""
SearchTrail = Callable[[Mapping[str, str], str], Awaitable[tuple[Sequence[Event], str]]]
"""``(conditions, cursor or '')`` -> events and the next cursor; conditions: ``user``, ``patient``, ``since``, ``until``."""
Preview = Callable[[str], Sequence[Permission]]
"""What a role may see and do."""
