"""A parsed search: what the store is asked, free of HTTP and of access rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fhirhub.errors import Issue
from fhirhub.fhirpath.compile import Route
from fhirhub.search.predicate import And, Predicate

SCORE = "_score"
"""The code of the sort by how well a match fits."""


@dataclass(frozen=True, slots=True)
class Sort:
    """One ``_sort`` key: a parameter of the type (``pid``), or ``_id`` / ``_lastUpdated`` by ``code``.

    ``pids`` are the parameters whose ordered rows count (several where it is the union of others); ``paths``
    (column, SQL/JSON path) lead to the values in the document where there are no such rows. ``routes`` lead there, too,
    if each of those values is a token that stands under ``pid``.
    """

    code: str
    pid: int
    kind: str
    descending: bool
    pids: tuple[int, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    routes: tuple[Route, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Include:
    """``_include`` (forward) or ``_revinclude`` (``reverse``): ``source`` is the type that holds the reference.

    ``pids`` are the reference parameters of ``source`` that count (several for the wildcard ``*``). Where they hold
    canonical urls, ``paths`` (column, SQL/JSON path) lead to those, and ``cited`` are the types that they may be of.
    """

    source: str
    pids: tuple[int, ...]
    target: str | None
    iterate: bool
    reverse: bool
    paths: tuple[tuple[str, str], ...] = ()
    cited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search on one resource type, or across several (``types``; ``type`` is then empty).

    ``applied`` are the parameters as understood, for the self link; ``notes`` are issues for the caller
    (parameters ignored under ``handling=lenient``), returned as an outcome entry.
    """

    type: str
    where: Predicate = And(())
    sort: tuple[Sort, ...] = ()
    count: int = 20
    total: str = "none"
    """``none``, ``estimate`` or ``accurate``."""
    includes: tuple[Include, ...] = ()
    summary: str = "false"
    """``true``, ``text``, ``data``, ``count`` or ``false``."""
    elements: tuple[str, ...] = ()
    most: int = 0
    """Matches that are wanted in all, this page and those after it; 0 for all there are."""
    cursor: str | None = None
    applied: tuple[tuple[str, str], ...] = ()
    notes: tuple[Issue, ...] = ()
    types: tuple[str, ...] = ()
    contained: str = "false"
    """``true`` (what is contained is looked for), ``both`` (that and what is not) or ``false``."""
    contained_type: str = "container"
    """What is shown when something contained is found: the ``container``, or only the ``contained``."""
    inside: tuple[str, Predicate] | None = None
    """The type and the condition that were asked of contained resources."""
    within: Callable[[str], Predicate] | None = None
    """Resource type -> the condition on what may come along by includes; None for no condition."""
    own: frozenset[tuple[str, str]] | None = None
    """(type, id) of the patients that the caller is confined to; None when not confined. What is looked at for such a
    caller may depend on their records only, not on what else there is."""
    holder: str = ""
    """Whom page links are made for."""
    bound: Predicate | None = None
    """The condition that page links are made for, where ``where`` says more than that."""
    plain: SearchRequest | None = None
    """The same for somebody who may see everything: what it finds is right as long as there is nothing of ``absent``."""
    absent: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(resource type, keys): taken to be in no resource of the type, which the statement has to confirm."""
