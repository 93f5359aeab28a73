"""Search parameters sealed into page links, so that what was searched for (names, identifiers) does not stand in them.

URLs end up in logs and histories; https://hl7.org/fhir/R4/http.html#search has POST for what must not be there. The
links of a search that came by GET, ``self`` excepted, are sealed, too: whoever follows them spreads nothing further.
"""

from __future__ import annotations

from fhirhub.hub import Hub
from fhirhub.interactions.bundles import Parameters

CURSOR = "_cursor"
_MARK = "~"


def sealed(hub: Hub, path: str, parameters: Parameters) -> str:
    """``parameters`` of a search at ``path`` as an opaque cursor that only this store can open."""
    return _MARK + hub.store.sealer.seal(list(parameters), f"form {path}")


def opened(hub: Hub, path: str, parameters: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """``parameters``, or those sealed in its cursor; 400 when the cursor was not made here for ``path``."""
    token = next((value for name, value in parameters if name == CURSOR and value[:1] == _MARK), None)
    if token is None:
        return parameters
    return tuple((name, value) for name, value in hub.store.sealer.open(token[1:], f"form {path}"))
