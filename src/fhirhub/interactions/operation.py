"""Operations by name: https://hl7.org/fhir/R4/operations.html. Each has its own file in ``operations``."""

from __future__ import annotations

from difflib import get_close_matches

from fhirhub.capability import ANY
from fhirhub.errors import Issue, NotFound
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub


async def operation(hub: Hub, request: FhirRequest) -> FhirResult:
    """Run the operation that the URL names; 404 when it is not offered on this type and level."""
    level = "instance" if request.id is not None else "type" if request.type is not None else "system"
    name = request.operation or ""
    handler = hub.operations.get((level, request.type, name))
    if handler is None and request.type is not None:
        handler = hub.operations.get((level, ANY, name))
    if handler is None:
        types = (request.type, ANY) if request.type is not None else (None,)
        known = {name: at for at, type, name in hub.operations if type in types}
        near = get_close_matches(name[:64], known, 1)
        hint = f" Did you mean ${near[0]} on {_place(known[near[0]], request)}?" if near else ""
        text = f"The operation ${name[:64]} is not offered on {_place(level, request)}.{hint}"
        raise NotFound(Issue("not-supported", text))
    return await handler(hub, request)


def _place(level: str, request: FhirRequest) -> str:
    return {"instance": f"one {request.type}", "type": f"{request.type}", "system": "the system"}[level]
