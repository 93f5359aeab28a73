"""What one caller may reach, as search predicates: the form in which access rules come to the store.

The store knows nothing of scopes, roles or tokens. It is given a Sight, and puts the predicate of the action and
type on every row that a request could touch, before any limit: https://hl7.org/fhir/R4/security.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from fhirhub.search.predicate import And, Or, Predicate

ALL: Predicate = And(())
"""Every resource."""
NONE: Predicate = Or(())
"""No resource."""

ACTIONS = ("c", "r", "u", "d", "s")
"""As in SMART scopes: create; read, vread and history of one; update and patch; delete; search and history of many."""
REFER = "x"
"""Beside them in ``within``: what a written resource may refer to. Whatever may be read or searched may be, too."""
NAME = "n"
"""Beside them, too: ALL for types whose ids the caller may choose, by an update of what is not there. Who sees the
resources of some patients only may not: it would tell which ids are taken. Whom nothing but labels and consents keep
from some resources may; that an id is taken is all they learn."""


@dataclass(frozen=True, eq=False)
class Sight:
    """For each action and resource type, the condition on resources that the action may touch.

    What is not named is out of reach. ``within`` holds action -> type -> predicate; predicates are limited to what
    :func:`fhirhub.search.match.matches` decides from the rows of one resource (no chains, no ``_has``), and of those
    that it points to (:mod:`fhirhub.view.pointing`).
    """

    within: Mapping[str, Mapping[str, Predicate]] = field(default_factory=dict)
    everything: bool = False
    """No rules at all: ``--no-auth``, and the server's own work."""
    hidden: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Type -> names of top-level elements that are taken out of what is shown and cannot be searched by."""
    writable: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Type -> names of the only top-level elements that an update may change; a type not named has no such limit."""
    holder: str = ""
    """What page links are bound to: they open for this holder only (a digest of user, client, scopes, context)."""
    about: frozenset[str] = frozenset()
    """``Patient/…`` that the caller is confined to, for the audit trail; empty when not confined."""

    def of(self, action: str, type: str) -> Predicate:
        """The condition on resources of ``type`` for ``action``: ALL, NONE or something between."""
        if self.everything:
            return ALL
        rules = self.within.get(action)
        return NONE if rules is None else rules.get(type, NONE)

    def is_open(self, action: str, type: str) -> bool:
        """Whether ``action`` may touch every resource of ``type``, and everything in it."""
        return self.everything or (self.of(action, type) == ALL and type not in self.hidden)

    def allows(self, action: str, type: str) -> bool:
        """Whether ``action`` may touch any resource of ``type``."""
        return self.everything or self.of(action, type) != NONE

    def knows(self, type: str) -> Predicate:
        """The condition on resources of ``type`` that a written resource may refer to."""
        return either(self.of(REFER, type), self.shows(type))

    def shows(self, type: str) -> Predicate:
        """The condition on resources of ``type`` that may come along with others: what may be read or found."""
        return either(self.of("r", type), self.of("s", type))

    @cached_property
    def bounds(self) -> str:
        """The holder, with a digest of all that may be read and found: what was worked out before is good for as long
        as that is the same."""
        if self.everything:
            return self.holder
        told = blake2b(
            repr(sorted((type, *sorted(names)) for type, names in self.hidden.items())).encode(),
            digest_size=12,
        )
        for action in "rs":
            for type in self.within.get(action, ()):
                told.update(repr(self.of(action, type)).encode())
        return f"{self.holder} {told.hexdigest()}"

    def mark(self, types: tuple[str, ...]) -> str:
        """A digest of what may be found of ``types``: a page link is good for as long as that is the same."""
        found = self._marks.get(types)
        if found is None:
            told = repr([self.of("s", type) for type in types])
            found = self._marks[types] = blake2b(told.encode(), digest_size=12).hexdigest()
        return found

    @cached_property
    def _marks(self) -> dict[tuple[str, ...], str]:
        return {}


EVERYTHING = Sight(everything=True)


def either(first: Predicate, second: Predicate) -> Predicate:
    """``first`` or ``second``, simplified."""
    if first == second or second == NONE:
        return first
    if first == NONE:
        return second
    return ALL if ALL in (first, second) else Or((first, second))


def both(first: Predicate, second: Predicate) -> Predicate:
    """``first`` and ``second``, simplified."""
    if NONE in (first, second):
        return NONE
    if first == ALL:
        return second
    return first if second == ALL else And((first, second))
