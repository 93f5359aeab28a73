"""read and vread: https://hl7.org/fhir/R4/http.html#read."""

from __future__ import annotations

from fhirhub.errors import Issue, NotFound
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import living, not_modified, version_headers
from fhirhub.interactions.shape import shaped


async def read(hub: Hub, request: FhirRequest) -> FhirResult:
    """The present version; 304 when the caller has it, 404, or 410 when deleted."""
    type, id = request.type, request.id
    assert type is not None and id is not None
    stored = living(await hub.store.read(type, id), type, id)
    headers = version_headers(stored.version, stored.updated)
    if request.headers and not_modified(request, stored):
        return FhirResult(304, b"", headers)
    body = stored.render()
    return FhirResult(200, shaped(hub, request, body) if request.parameters else body, headers)


async def vread(hub: Hub, request: FhirRequest) -> FhirResult:
    """One version of the past, or the present one; 410 when that version is the deletion."""
    type, id, version = request.type, request.id, request.version
    assert type is not None and id is not None and version is not None
    stored = await hub.store.vread(type, id, version)
    if stored is None:
        raise NotFound(Issue("not-found", f"There is no version {version} of {type}/{id}."))
    living(stored, type, id)
    headers = version_headers(stored.version, stored.updated)
    if request.headers and not_modified(request, stored):
        return FhirResult(304, b"", headers)
    body = stored.render()
    return FhirResult(200, shaped(hub, request, body) if request.parameters else body, headers)
