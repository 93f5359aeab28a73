"""delete, also conditional on one or several: https://hl7.org/fhir/R4/http.html#delete."""

from __future__ import annotations

from fhirhub.errors import Issue, PreconditionFailed
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import check_if_match, etag, information
from fhirhub.interactions.changes import is_alive, persistent, stale
from fhirhub.interactions.criteria import Criteria, criteria_of, matching
from fhirhub.store.records import Change, StaleBase, Stored
from fhirhub.view.view import View


async def delete(hub: Hub, request: FhirRequest) -> FhirResult:
    """The resource is gone from now on, its past is not. Deleting what is not there is no error."""
    type, id = request.type, request.id
    assert type is not None and id is not None

    async def attempt() -> FhirResult:
        base = await hub.store.read(type, id, "d")
        check_if_match(request.headers, base)
        if base is None or not is_alive(base):
            return _deleted(request, [])
        try:
            written = await hub.store.write([deletion(base)])
        except StaleBase as error:
            raise stale(request, error) from error
        return _deleted(request, [base], written[0].version)

    return await persistent(hub, f"{type}/{id}", attempt)


def deletion(base: Stored, label: str = "") -> Change:
    """The Change that deletes ``base``."""
    return Change("DELETE", base.type, base.id, base, None, None, label)


async def conditional_delete(hub: Hub, request: FhirRequest) -> FhirResult:
    """All matches are deleted together, or none when there are more than the server's limit."""
    assert request.type is not None
    criteria = criteria_of(hub, request.type, request.parameters, request.base)
    return await persistent(hub, criteria.text, lambda: _delete_matches(hub, request, criteria))


async def _delete_matches(hub: Hub, request: FhirRequest, criteria: Criteria) -> FhirResult:
    async with hub.store.exclusively(criteria.locks) as session:
        found = await deletable(hub, session, criteria)
        for base in found:
            check_if_match(request.headers, base)
        if found:
            await session.write([deletion(base) for base in found])
    return _deleted(request, found)


async def deletable(hub: Hub, session: View, criteria: Criteria) -> list[Stored]:
    """The matches of a conditional delete; 412 when they are more than the server deletes at once."""
    limit = hub.limits.deletes
    found = await matching(session, criteria, limit + 1, whole=True)
    if len(found) > limit:
        text = (
            f"The condition {criteria.text[:200]} matches more than {limit} resources; delete them in parts."
        )
        raise PreconditionFailed(Issue("too-costly", text))
    return found


def _deleted(request: FhirRequest, gone: list[Stored], version: int | None = None) -> FhirResult:
    headers = {"etag": etag(version)} if version is not None else {}
    if request.prefer.returns == "OperationOutcome":
        names = ", ".join(f"{stored.type}/{stored.id}" for stored in gone[:20])
        text = f"Deleted {len(gone)}: {names}." if gone else "Nothing was there to delete."
        return FhirResult(200, information(text), headers)
    return FhirResult(204, b"", headers)
