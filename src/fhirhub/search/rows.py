"""Index rows: what a resource is found by, and the 64-bit keys they are filed under.

A *key* names a search parameter (``pid``, 14 bits) together with a value (49 bits):

==============  ==========================================  ==============================================
hashed key      ``-(1 + (pid << 49 | hash49(value)))``      tokens, uris, external references: negative
reference key   ``pid << 49 | rid of the target``           literal references to this server: positive
range key       ``pid << 49 | hash49(component) or 0``      strings, dates, numbers: positive
==============  ==========================================  ==============================================

The hash is BLAKE2b keyed with a secret of the store, so nobody can construct two values that collide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fhirhub.search.keeping import keeping

VALUE_BITS = 49
VALUE_MASK = (1 << VALUE_BITS) - 1
MIN_DATE = -(1 << 62)
"""Open start of a period, and the main date of a resource that has none (microseconds since 1970, UTC)."""
MAX_DATE = 1 << 62
"""Open end of a period."""
STRING_LENGTH = 200
"""Normalised strings are indexed up to this many characters."""


@keeping(16384)
def hash49(value: str, secret: bytes) -> int:
    """The 49-bit keyed hash of ``value``."""
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "big") >> (64 - VALUE_BITS)


def hashed_key(pid: int, value: str, secret: bytes) -> int:
    """The key of an exact value of parameter ``pid``."""
    return -1 - ((pid << VALUE_BITS) | hash49(value, secret))


def reference_key(pid: int, rid: int) -> int:
    """The key of a reference of parameter ``pid`` to the resource with the internal key ``rid``."""
    return (pid << VALUE_BITS) | rid


def range_key(pid: int, component: str = "", secret: bytes = b"") -> int:
    """The key under which ordered values of ``pid`` stand; ``component`` is the token half of a composite."""
    return (pid << VALUE_BITS) | (hash49(component, secret) if component else 0)


def key_pid(key: int) -> int:
    """The parameter a key belongs to."""
    return (key if key >= 0 else -1 - key) >> VALUE_BITS


Phrase = tuple[int, str, str, int]
"""(pid, text to find it by, text as it stands, key): what is known by a text, kept once however often it occurs.

For tokens and uris the key is that of their token rows. Under pid 0 stand the units of measure: (0, what it measures,
UCUM code, hash of the unit).
"""


@keeping(65536, text=1)
def phrase(pid: int, text: str, raw: str, key: int) -> tuple[int, Phrase]:
    """A phrase and the hash it is filed under (no secret: only equal phrases are meant to have equal hashes)."""
    spelt = f"{pid}\0{text}\0{raw}\0{key}".encode("utf-8", "surrogatepass")
    digest = blake2b(spelt, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True), (pid, text, raw, key)


@dataclass(slots=True)
class Inner:
    """A contained resource: the ``n``-th of its ``type`` in its container, with the rows it would have had itself."""

    type: str
    n: int
    id: str
    document: dict[str, Any]
    rows: Rows


@dataclass(slots=True)
class Rows:
    """Everything the index holds of one resource version."""

    tokens: set[int] = field(default_factory=set)
    codings: set[tuple[int, int]] = field(default_factory=set)
    """(key of the code or the system alone, key of the coding): the few pairs there are stand in a dictionary, so
    that a coding is one token row and not three."""
    phrases: dict[int, Phrase] = field(default_factory=dict)
    """Texts for the dictionary of phrases, by the hash of each."""
    references: set[tuple[int, str, str]] = field(default_factory=set)
    """(pid, target type, target id) of literal references inside this server."""
    strings: set[tuple[int, str]] = field(default_factory=set)
    """(range key, normalised value)."""
    dates: set[tuple[int, int, int]] = field(default_factory=set)
    """(range key, lo, hi): microseconds since 1970 UTC, both inclusive."""
    numbers: set[tuple[int, float, float, int, int]] = field(default_factory=set)
    """(range key, lo, hi, unit, label): 32-bit hashes of the unit and of its printed form where that differs; 0
    for none."""
    words: tuple[str, str] = ("", "")
    """Words of the narrative, and of other texts, joined by blanks."""
    params: set[int] = field(default_factory=set)
    """pids that have any value, for ``:missing``."""
    inside: list[Inner] = field(default_factory=list)
    """What the resource contains; its rows stand among these as well (:mod:`fhirhub.search.contained`)."""
    links: set[tuple[int, int]] = field(default_factory=set)
    """(pid, place in ``inside``) of references to what is contained in the same container."""
    date: int = MIN_DATE
    """The main clinical date: start of the type's ``sort_date`` parameter."""
