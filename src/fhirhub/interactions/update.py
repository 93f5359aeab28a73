"""update, also as create, also conditional: https://hl7.org/fhir/R4/http.html#update."""

from __future__ import annotations

from fhirhub.errors import BadRequest, Conflict, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import answer_write, check_if_match
from fhirhub.interactions.changes import (
    Document,
    change,
    check_id,
    incoming,
    is_alive,
    persistent,
    stale,
    stored,
)
from fhirhub.interactions.criteria import Criteria, criteria_of, the_one
from fhirhub.interactions.provenance import given, witnessed
from fhirhub.store.records import StaleBase, Stored
from fhirhub.view.view import View


async def update(hub: Hub, request: FhirRequest) -> FhirResult:
    """A new version of the resource at this id, or the first one; nothing new when nothing changes."""
    type, id = request.type, request.id
    assert type is not None and id is not None
    document = incoming(hub, request)
    check_id(document, type, id)

    async def attempt() -> FhirResult:
        return await replace_with(hub, request, document, await hub.store.read(type, id, "u"), hub.store)

    return await persistent(hub, f"{type}/{id}", attempt)


async def replace_with(
    hub: Hub, request: FhirRequest, document: Document, base: Stored | None, view: View
) -> FhirResult:
    """Write ``document`` (which has its id) over ``base``, when If-Match lets it."""
    check_if_match(request.headers, base)
    new = change(hub, request.base, "PUT", document, document["id"], base)
    try:
        written, *_ = await view.write([new, *given(hub, request, [new])], own=witnessed(hub, request, [new]))
    except StaleBase as error:
        raise stale(request, error) from error
    shown = view.echo(new, stored(new, written))
    return answer_write(request, shown, created=written.created, changed=written.changed)


async def conditional_update(hub: Hub, request: FhirRequest) -> FhirResult:
    """https://hl7.org/fhir/R4/http.html#cond-update: the one match is updated; none, created; more, 412."""
    assert request.type is not None
    criteria = criteria_of(hub, request.type, request.parameters, request.base)
    document = incoming(hub, request)
    return await persistent(hub, criteria.text, lambda: _update_match(hub, request, document, criteria))


async def _update_match(hub: Hub, request: FhirRequest, document: Document, criteria: Criteria) -> FhirResult:
    async with hub.store.exclusively(criteria.locks) as session:
        found = await the_one(session, criteria, whole=True)
        id = target_id(document, found)
        if found is None:
            (found,) = await session.read_many([(document["resourceType"], id)], "u") if id else (None,)
            if is_alive(found):
                raise taken(document, criteria)
        return await replace_with(hub, request, {**document, "id": id or hub.new_id()}, found, session)


def target_id(document: Document, found: Stored | None) -> str | None:
    """The id a conditional update writes to: that of the match, else the one in the body; 400 when they differ."""
    given = document.get("id")
    if found is not None and given not in (None, found.id):
        text = f"The condition matches {found.type}/{found.id}, but the id in the body is '{given}'."
        raise BadRequest(Issue("invalid", text, f"{found.type}.id"))
    return found.id if found is not None else given


def taken(document: Document, criteria: Criteria) -> Conflict:
    """409: the condition matches nothing, yet there is a resource with the id in the body."""
    text = f"Nothing matches {criteria.text[:200]}, but {document['resourceType']}/{document['id']} exists already."
    return Conflict(Issue("duplicate", text))
