"""What one caller may do: made of a grant by :mod:`fhirhub.auth.authority`, asked before every interaction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fhirhub.auth.policy import Label
from fhirhub.auth.scope import Scope
from fhirhub.errors import Forbidden, Issue
from fhirhub.exchange import Caller
from fhirhub.search.sight import EVERYTHING, Sight

DOING = {"c": "create", "r": "read", "u": "change", "d": "delete", "s": "search"}
"""Letters of scopes in the words of messages."""
PLACES = 100
"""Network addresses that are remembered of one caller."""


@dataclass(frozen=True, eq=False)
class Access:
    """What the caller may reach, and who it is."""

    sight: Sight
    caller: Caller = Caller()
    scopes: tuple[Scope, ...] = ()
    """Those that count: a person's ``patient/`` and ``user/`` scopes, a service's ``system/`` scopes."""
    levels: tuple[str, ...] = ("user",)
    """Levels of scopes that could help this caller."""
    known: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    """(action, type) -> what the View has found out about it."""
    admitted: set[tuple[str, str | None, str | None]] = field(default_factory=set, repr=False)
    """(interaction, type, operation) of what has been found to be open."""
    places: dict[str, Caller] = field(default_factory=dict, repr=False)
    """Network address -> the caller there."""
    labels: tuple[Label, ...] = ()
    """The security labels that close something to somebody, be it this caller or others."""

    def at(self, address: str) -> Caller:
        """The caller at this network address."""
        found = self.places.get(address)
        if found is None:
            if len(self.places) >= PLACES:
                self.places.clear()
            found = self.places[address] = replace(self.caller, address=address)
        return found

    def require(self, action: str, type: str | None) -> None:
        """Raise Forbidden (403), naming what is missing, unless ``action`` may touch anything of ``type``.

        ``action`` is a letter of scopes; no ``type`` is the level of the system: any type will do.
        """
        if self.sight.everything:
            return
        if type is None:
            among = self.sight.within.get(action, ())
            if any(self.sight.allows(action, each) for each in among):
                return
        elif self.sight.allows(action, type):
            return
        raise Forbidden(Issue("forbidden", self._missing(action, type)))

    def scope_for(self, action: str, type: str | None) -> str:
        """The scopes of which one would be needed: ``patient/Observation.s or user/Observation.s``."""
        return " or ".join(f"{level}/{type or '*'}.{action}" for level in self.levels)

    def _missing(self, action: str, type: str | None) -> str:
        what = f"{DOING[action]} {type or 'resources of all types'}" if action in DOING else "this operation"
        if action not in DOING:
            return "This operation is not open to anybody yet."
        if any(action in scope.letters and scope.names(type or "*") for scope in self.scopes):
            who = f"the role {self.caller.role}" if self.caller.role else "this client"
            return f"The scopes are enough, but {who} may not {what}; the practice's policy decides that."
        return f"To {what} needs the scope {self.scope_for(action, type)}, which this token does not have."


OPEN = Access(EVERYTHING)
"""``--no-auth``, and the server's own work."""
