"""What a handler is given: everything an interaction needs, in one frozen value. Nothing here is global."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from fhirhub.auth.access import Access
from fhirhub.capability import Capability
from fhirhub.definitions.tables import Definitions
from fhirhub.exchange import FhirRequest, FhirResult, Origin
from fhirhub.search.custom import Indexing, Own
from fhirhub.search.extract import Extractor
from fhirhub.search.parse import SearchParser
from fhirhub.store.audit.trail import Trail
from fhirhub.store.background import Background
from fhirhub.validation import Validator
from fhirhub.view.view import View

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_RANDOM_BITS = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for; above it the answer is a clear 4xx."""

    body: int = 64 * 1024 * 1024
    """Bytes of a body, uncompressed."""
    entries: int = 10_000
    """Entries of a batch or transaction."""
    deletes: int = 1_000
    """Resources one conditional delete may remove."""
    everything: int = 1_000
    """Resources on one page of $everything."""


class Turns:
    """Locks by name for those who lost a race and try again: one after the other, so that each gets through."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        """The lock of ``name``; it lasts as long as somebody holds on to it."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


@dataclass(frozen=True)
class Hub:
    """The parts of a running server, handed to every handler."""

    definitions: Definitions
    capability: Capability
    store: View
    """The store as the caller may see it."""
    validator: Validator
    extractor: Extractor
    parser: SearchParser
    limits: Limits
    clock: Callable[[], int]
    """Microseconds since 1970, UTC."""
    new_id: Callable[[], str]
    dispatch: Mapping[str, Handler]
    """Interaction name -> its handler."""
    operations: Mapping[tuple[str, str | None, str], Handler]
    """(level: instance, type or system; resource type; operation name) -> its handler."""
    turns: Turns = field(default_factory=Turns)
    witness: bool = False
    """Whether the server writes a Provenance of what clients without a user write."""
    background: Background | None = None
    """Where searches go that nobody waits for."""
    own: tuple[Own, ...] = ()
    """Search parameters of the store's own, in whatever state."""

    @property
    def access(self) -> Access:
        """What the caller may do."""
        return self.store.access

    def seen_by(self, access: Access, origin: Origin) -> Hub:
        """This hub for a caller at ``origin`` with ``access``."""
        return self._with(self.store.seen_by(access, origin))

    def told(self, trail: Trail) -> Hub:
        """This hub for one interaction, of which ``trail`` is to tell."""
        return self._with(self.store.told(trail))

    def _with(self, store: View) -> Hub:
        # What dataclasses.replace does, in a tenth of the time: every request has a hub of its own.
        made = object.__new__(Hub)
        made.__dict__.update(self.__dict__)
        made.__dict__["store"] = store
        return made


def refreshed(hub: Hub, indexing: Indexing, capability: Capability) -> Hub:
    """``hub`` with other search parameters of the store's own; ``capability`` is what is claimed without them."""
    return replace(
        hub,
        definitions=indexing.definitions,
        capability=capability.extended(indexing.served),
        extractor=indexing.extractor,
        parser=indexing.parser,
        own=indexing.own,
    )


Handler = Callable[[Hub, FhirRequest], Awaitable[FhirResult]]


def clock() -> int:
    """The present time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def new_id() -> str:
    """A new logical id, 22 characters: 48 bits of milliseconds, then 60 random bits, in Crockford's base 32.

    Ids made later sort later, so that rows made together lie together in the indexes.
    """
    value = (time.time_ns() // 1_000_000) << _RANDOM_BITS | int.from_bytes(os.urandom(8), "big") >> 4
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(100, -1, -10)])
