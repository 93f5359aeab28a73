"""What a search asks of a resource, as a tree the store turns into SQL and tests evaluate in memory.

Leaves speak of index rows (:mod:`fhirhub.search.rows`), never of documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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
    """A string row under ``key``; ``match`` is ``prefix``, ``equals``, ``contains`` or ``suffix``.

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
class Measure:
    """A number row under ``key`` that stands to ``value`` (give or take ``half``) of the UCUM unit ``code`` as
    ``prefix`` asks, in any unit that measures the same.

    ``unit`` is the hash of the code. ``points``: no row under the key is a range.
    """

    key: int
    prefix: str
    value: Fraction
    half: Fraction
    code: str
    unit: int
    points: bool


@dataclass(frozen=True, slots=True)
class Worded:
    """A token of parameter ``pid`` is described by a text with a word that starts with ``words`` (normalised).

    ``paths`` (column, SQL/JSON path) lead to those texts in the document.
    """

    pid: int
    words: str
    paths: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Says:
    """One of ``texts`` stands at one of ``paths`` of the document, to the letter."""

    paths: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """The resource holds a word that starts with ``word``: in its narrative, and unless ``narrative_only`` in its
    other texts, those of the tokens of parameters ``pids`` included (which stand at ``paths``).
    """

    word: str
    narrative_only: bool
    pid: int = 0
    """``_content`` itself, under which other texts of codes stand."""
    pids: tuple[int, ...] = ()
    paths: tuple[tuple[int, str, str], ...] = ()
    """(Parameter, column, SQL/JSON path)."""


@dataclass(frozen=True, slots=True)
class Words:
    """A word that starts with ``word`` is among those kept of the narrative, or of any text."""

    word: str
    narrative_only: bool


@dataclass(frozen=True, slots=True)
class Near:
    """The position (its number rows stand under the two keys) is no more than ``reach`` metres from this place."""

    latitude_key: int
    longitude_key: int
    latitude: float
    longitude: float
    reach: float


@dataclass(frozen=True, slots=True)
class Concepts:
    """A token of parameter ``pid`` is one of a set that only stored resources tell.

    ``relation``: ``in`` (``of`` is the url or the reference of a value set), ``below`` or ``above`` (``of`` is
    system|code). ``ways`` are (type, required value set) of the elements that the parameter stands on.
    """

    pid: int
    relation: str
    of: str
    ways: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Below:
    """A uri of parameter ``pid`` is ``uri``, or below it in the hierarchy of its path or of its version."""

    pid: int
    uri: str


@dataclass(frozen=True, slots=True)
class Kin:
    """Parameter ``pid`` refers to ``type``/``id`` or to what is below (or ``above``) it by the links ``by`` (a pid)."""

    pid: int
    type: str
    id: str
    by: int
    above: bool


@dataclass(frozen=True, slots=True)
class Contained:
    """Reference parameter ``pid`` leads to a contained resource of ``type`` that fulfils ``part``.

    With ``pid`` 0, there is one, whether anything refers to it or not.
    """

    pid: int
    type: str
    part: Predicate


@dataclass(frozen=True, slots=True)
class Present:
    """Parameter ``pid`` has any value (``:missing=false``)."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ids:
    """The resource's logical id is one of these (``_id``)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfType:
    """The resource is of one of these types: a condition of searches across types."""

    types: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Points:
    """Reference parameter ``pid`` points to a resource of this server that fulfils ``part``, and to no other one but
    of the types ``besides`` (None: to whatever else).

    A resource that was deleted fulfils nothing. Rules of access ask this; no search does.
    """

    pid: int
    part: Predicate
    besides: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cites:
    """Parameter ``pid`` holds the canonical url of a resource of ``type`` that fulfils ``part``.

    ``paths`` (column, SQL/JSON path) lead to those urls in the document.
    """

    pid: int
    type: str
    part: Predicate
    paths: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cited:
    """A resource of ``type`` that fulfils ``part`` holds this one's canonical url in its parameter ``pid``."""

    type: str
    pid: int
    part: Predicate
    paths: tuple[tuple[str, str], ...]


Predicate = (
    Keys
    | Refers
    | Text
    | Span
    | Quantity
    | Measure
    | Worded
    | Says
    | Spoken
    | Words
    | Near
    | Concepts
    | Below
    | Kin
    | Contained
    | Present
    | Ids
    | OfType
    | Updated
    | And
    | Or
    | Not
    | Chain
    | Has
    | Points
    | Cites
    | Cited
)

DEFERRED = (Measure, Worded, Spoken, Concepts, Below, Kin, Contained)
"""Leaves that depend on what is stored elsewhere: the store replaces them by others before it searches."""


def rewritten(where: Any, change: Callable[[Any], Any]) -> Any:
    """``where`` with ``change`` applied to every leaf."""
    match where:
        case And(parts):
            return And(tuple(rewritten(part, change) for part in parts))
        case Or(parts):
            return Or(tuple(rewritten(part, change) for part in parts))
        case Not(part):
            return Not(rewritten(part, change))
        case Chain(pid, type, part):
            return Chain(pid, type, rewritten(part, change))
        case Has(type, pid, part):
            return Has(type, pid, rewritten(part, change))
        case Points(pid, part, besides):
            return Points(pid, rewritten(part, change), besides)
    return change(where)
