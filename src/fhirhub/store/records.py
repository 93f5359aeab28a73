"""What goes into the store and comes out of it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fhirhub.errors import Conflict, FhirError, Issue, NotFound
from fhirhub.resource.meta import splice
from fhirhub.search.rows import Rows

METHODS = ("POST", "PUT", "PATCH", "DELETE")
"""The HTTP verb that made a version; stored by position."""


@dataclass(slots=True)
class Stored:
    """One version of a resource.

    ``updated`` is in microseconds since 1970 UTC; ``meta`` is the JSON text of ``meta`` without versionId and
    lastUpdated, ``content`` that of the resource without resourceType, id and meta. A version 0 is a placeholder:
    something refers to it, nobody has written it yet.
    """

    type: str
    id: str
    rid: int
    version: int
    updated: int
    deleted: bool
    method: str
    meta: str | None
    content: str | None

    def render(self) -> bytes:
        """The whole resource as JSON; resourceType, id and meta come first."""
        return splice(self.type, self.id, self.version, self.updated, self.meta, self.content or "{}")


@dataclass(slots=True)
class Change:
    """One intended new version.

    ``base`` is the version it was computed from (None: the resource must not exist); ``document`` the whole new
    resource as a parsed document (None for DELETE), ``rows`` its index rows.
    """

    method: str
    type: str
    id: str
    base: Stored | None
    document: dict[str, Any] | None
    rows: Rows | None
    label: str = ""
    """How to name the change in errors, ``Bundle.entry[3]``."""


@dataclass(slots=True)
class Written:
    """What became of a change. ``changed`` is False when it made no new version."""

    type: str
    id: str
    rid: int
    version: int
    updated: int
    changed: bool
    created: bool


@dataclass(slots=True)
class Page:
    """One page of a search; cursors are opaque and None where there is no such page."""

    matches: list[Stored] = field(default_factory=list)
    included: list[Stored] = field(default_factory=list)
    total: int | None = None
    next: str | None = None
    previous: str | None = None
    related: str | None = None
    """The page with more of what the matches of this one include."""
    notes: list[Issue] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    """rid -> how well the match fits, from 0 to 1, where the search is sorted by that."""
    cost: float = 0.0
    """Index entries that it was expected to look at (:mod:`fhirhub.store.cost`)."""


@dataclass(slots=True)
class HistoryPage:
    """One page of a history, newest version first."""

    versions: list[Stored] = field(default_factory=list)
    total: int | None = None
    next: str | None = None


class StaleBase(Conflict):
    """The version a change was based on is no longer the current one: read again, and try again."""


class Dangling(FhirError):
    """422: a resource refers to what is not there (referential integrity)."""

    status = 422


class Referenced(Conflict):
    """409: what is to be deleted is referred to by others."""


def missing(type_: str, id_: str) -> NotFound:
    """404 for a resource that is not there, or that the caller may not see."""
    return NotFound(Issue("not-found", f"There is no {type_} with the id '{id_}'."))


def missing_reference(type_: str, id_: str, label: str = "") -> Issue:
    """The issue that says that ``type_/id_``, which a resource refers to, is not there."""
    return Issue(
        "not-found",
        f"The reference {type_}/{id_} leads to nothing on this server; create it first, send both in one "
        "transaction, or refer to a resource that exists.",
        label or None,
    )
