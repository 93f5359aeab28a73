"""The one door to every interaction: is it allowed at all, then its handler. Entries of Bundles come through here too.

What is not named here is refused: a new interaction or operation is closed until somebody says what it takes.
"""

from __future__ import annotations

from fhirhub.auth.access import Access
from fhirhub.errors import FhirError, Issue, MethodNotAllowed
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.store.audit.trail import Trail

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

OPERATIONS: dict[str, str] = {"everything": "r", "lastn": "s", "explain": "s"}
"""Operation -> what it takes on the type that it is called on."""

BOUND = frozenset({"async-status", "async-cancel", "reindex", "explain"})
"""Operations that look themselves at who calls them."""

SERVED: dict[str | None, frozenset[str]] = {"AuditEvent": frozenset({"read", "search-type"})}
"""Type -> all that is served on it, in Bundles too, where that is not everything."""

OPEN = frozenset({"capabilities"})
"""For everybody, without a token too."""


def admit(access: Access, interaction: str, type: str | None, operation: str | None) -> None:
    """Raise Forbidden, naming the scope that is missing, when ``access`` does not reach so far."""
    if interaction not in SERVED.get(type, (interaction,)):
        text = f"{type}s are recorded by the server itself: they can be read and searched, nothing else."
        raise MethodNotAllowed(Issue("not-supported", text), headers={"Allow": "GET, HEAD, OPTIONS"})
    if access.sight.everything or interaction in OPEN:
        return
    asked = (interaction, type, operation)
    if asked not in access.admitted:
        _admit(access, interaction, type, operation)
        access.admitted.add(asked)


def _admit(access: Access, interaction: str, type: str | None, operation: str | None) -> None:
    if interaction == "operation":
        if type is None and operation in BOUND:
            return
        access.require(OPERATIONS.get(operation or "", "operation"), type)
        return
    if interaction == "search-compartment":
        # In a compartment it is the last of the path that is searched; all types look at each.
        type = operation
        if type == "*":
            return
    for action in ACTIONS[interaction]:
        access.require(action, type)


async def perform(hub: Hub, request: FhirRequest, place: int | None = None) -> FhirResult:
    """Answer ``request`` as far as the caller of ``hub`` may have it answered; ``place`` is its position in a Bundle.

    Where there is an audit trail, it is on record before this returns, refusals and failures too.
    """
    audit = hub.store.audit
    if audit is None:
        admit(hub.access, request.interaction, request.type, request.operation)
        return await hub.dispatch[request.interaction](hub, request)
    trail = _trail(hub, request, place)
    told = hub if hub.store.takes(trail) else hub.told(trail)
    try:
        admit(hub.access, request.interaction, request.type, request.operation)
        result = await told.dispatch[request.interaction](told, request)
    except Exception as error:
        status = error.status if isinstance(error, FhirError) else 500
        why = str(error) if isinstance(error, FhirError) else type(error).__name__
        await audit.record([trail.finished(status, why)])
        recorded(error)
        raise
    finally:
        if told is not hub:
            hub.store.spent += told.store.spent
    if not trail.recorded:
        await audit.record([trail.finished(result.status)])
    return result


def _trail(hub: Hub, request: FhirRequest, place: int | None) -> Trail:
    origin = hub.store.origin
    interaction = f"${request.operation}" if request.interaction == "operation" else request.interaction
    return Trail(
        hub.access.at(origin.address), interaction, request.type, request.id,
        version=request.version, query=request.parameters, base=request.base if origin.is_told else "",
        request=origin.request, entry=place,
    )  # fmt: skip


def recorded(error: Exception) -> None:
    """Note that the audit trail already tells of ``error``."""
    error.__dict__["recorded"] = True


def is_recorded(error: Exception) -> bool:
    """Whether the audit trail already tells of ``error``."""
    return bool(error.__dict__.get("recorded"))
