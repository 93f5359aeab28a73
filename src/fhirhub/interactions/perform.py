"""The one door to every interaction: is it allowed at all, then its handler. Entries of Bundles come through here too.

What is not named here is refused: a new interaction or operation is closed until somebody says what it takes.
"""

from __future__ import annotations

from fhirhub.auth.access import Access
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub

ACTIONS: dict[str, tuple[str, ...]] = {
    "read": ("r",),
    "vread": ("r",),
    "history-instance": ("r",),
    "history-type": ("s",),
    "history-system": (),
    "search-type": ("s",),
    "search-system": (),
    "search-compartment": ("s",),
    "create": ("c",),
    "update": ("u",),
    "patch": ("u",),
    "delete": ("d",),
    "conditional-update": ("s", "u"),
    "conditional-patch": ("s", "u"),
    "conditional-delete": ("s", "d"),
    "capabilities": (),
    "bundle": (),
}
"""Interaction -> what it takes on its type, in the letters of scopes. Those with nothing look at each type they touch."""

OPERATIONS: dict[str, str] = {"everything": "r", "lastn": "s"}
"""Operation -> what it takes on the type that it is called on."""

OPEN = frozenset({"capabilities"})
"""For everybody, without a token too."""


def admit(access: Access, interaction: str, type: str | None, operation: str | None) -> None:
    """Raise Forbidden, naming the scope that is missing, when ``access`` does not reach so far."""
    if access.sight.everything or interaction in OPEN:
        return
    if interaction == "operation":
        access.require(OPERATIONS.get(operation or "", "operation"), type)
        return
    if interaction == "search-compartment":
        # In a compartment it is the last of the path that is searched; all types look at each.
        type = operation
        if type == "*":
            return
    for action in ACTIONS[interaction]:
        access.require(action, type)


async def perform(hub: Hub, request: FhirRequest) -> FhirResult:
    """Answer ``request`` as far as the caller of ``hub`` may have it answered."""
    admit(hub.access, request.interaction, request.type, request.operation)
    return await hub.dispatch[request.interaction](hub, request)
