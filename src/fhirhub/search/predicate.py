"""What a search asks of a resource, as a tree the store turns into SQL and tests evaluate in memory.

Leaves speak of index rows (:mod:`fhirhub.search.rows`), never of documents.
"""

from __future__ import annotations

from dataclasses import dataclass

Bound = tuple[str, str, int | float]
"""(column, operator, value): column ``lo`` or ``hi``; operator one of ``< <= > >= =``."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Any of these hashed keys is among the token rows, or any key that is filed under one of ``codes``.

    ``codes`` name all codings with a code, whatever the system, or with a system, whatever the code.
    """

    keys: tuple[int, ...]
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Refers:
    """Parameter ``pid`` refers to any of these resources of this server, (type, id) each."""

    pid: int
    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string row under ``key``; ``match`` is ``prefix``, ``equals`` or ``contains``.

    ``text`` is normalised as the rows are. ``:exact`` is not a Text: exact strings are hashed keys.
    """

    key: int
    match: str
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """One date row under ``key`` that fulfils all ``bounds`` (microseconds since 1970 UTC)."""

    key: int
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number row under ``key`` that fulfils all ``bounds``, in ``unit`` (32-bit hash, coded or printed) when given."""

    key: int
    bounds: tuple[Bound, ...]
    unit: int | None = None


@dataclass(frozen=True, slots=True)
class Present:
    """Parameter ``pid`` has any value (``:missing=false``)."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ids:
    """The resource's logical id is one of these (``_id``)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Updated:
    """``meta.lastUpdated`` fulfils all ``bounds`` (microseconds since 1970 UTC; column is ``lo``)."""

    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All of them; an empty And is true."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them; an empty Or is false."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not that."""

    part: Predicate


@dataclass(frozen=True, slots=True)
class Chain:
    """Reference parameter ``pid`` leads to a resource of ``type`` that fulfils ``part``."""

    pid: int
    type: str
    part: Predicate


@dataclass(frozen=True, slots=True)
class Has:
    """A resource of ``type`` that fulfils ``part`` refers to this one by its reference parameter ``pid``."""

    type: str
    pid: int
    part: Predicate


Predicate = Keys | Refers | Text | Span | Quantity | Present | Ids | Updated | And | Or | Not | Chain | Has
