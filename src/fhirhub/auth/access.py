"""What a caller may do."""

from __future__ import annotations

from dataclasses import dataclass

from fhirhub.errors import Forbidden, Issue
from fhirhub.exchange import Caller
from fhirhub.search.sight import EVERYTHING, Sight


@dataclass(frozen=True, eq=False)
class Access:
    sight: Sight
    caller: Caller = Caller()

    def scope_for(self, action: str, type: str | None) -> str:
        return f"user/{type or '*'}.{action}"

    def require(self, action: str, type: str | None) -> None:
        if not self.sight.everything and not (type and self.sight.allows(action, type)):
            raise Forbidden(Issue("forbidden", f"needs {self.scope_for(action, type)}"))


OPEN = Access(EVERYTHING)
