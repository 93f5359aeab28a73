"""What one caller may reach, as search predicates: the form in which access rules come to the store.

The store knows nothing of scopes, roles or tokens. It is given a Sight, and puts the predicate of the action and
type on every row that a request could touch, before any limit: https://hl7.org/fhir/R4/security.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fhirhub.search.predicate import And, Or, Predicate

ALL: Predicate = And(())
"""Every resource."""
NONE: Predicate = Or(())
"""No resource."""

ACTIONS = ("c", "r", "u", "d", "s")
"""As in SMART scopes: create; read, vread and history of one; update and patch; delete; search and history of many."""

_NO_RULES: Mapping[str, Mapping[str, Predicate]] = MappingProxyType({})
_NOTHING_HIDDEN: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """For each action and resource type, the condition on resources that the action may touch.

    What is not named is out of reach. ``within`` holds action -> type -> predicate; predicates are limited to what
    :func:`fhirhub.search.match.matches` decides from the rows of one resource (no chains, no ``_has``).
    """

    within: Mapping[str, Mapping[str, Predicate]] = _NO_RULES
    everything: bool = False
    """No rules at all: ``--no-auth``, and the server's own work."""
    hidden: Mapping[str, frozenset[str]] = _NOTHING_HIDDEN
    """Type -> names of top-level elements that are taken out of what is shown and cannot be searched by."""
    holder: str = ""
    """What page links are bound to: they open for this holder only (a digest of user, client, scopes, context)."""
    about: frozenset[str] = field(default=frozenset())
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


EVERYTHING = Sight(everything=True)
