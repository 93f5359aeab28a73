"""create, also conditional: https://hl7.org/fhir/R4/http.html#create."""

from __future__ import annotations

from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import answer_write
from fhirhub.interactions.changes import Document, change, incoming, persistent, stored
from fhirhub.interactions.criteria import Criteria, criteria_of_header, the_one
from fhirhub.interactions.provenance import given, witnessed
from fhirhub.view.view import View


async def create(hub: Hub, request: FhirRequest) -> FhirResult:
    """A new resource under an id of the server's choosing; the body's id is ignored."""
    document = incoming(hub, request)
    if "if-none-exist" in request.headers:
        criteria = criteria_of_header(hub, request)
        return await persistent(hub, criteria.text, lambda: _unless_there(hub, request, document, criteria))
    return await create_now(hub, request, document, hub.store)


async def create_now(hub: Hub, request: FhirRequest, document: Document, view: View) -> FhirResult:
    """Write ``document`` under a new id."""
    new = change(hub, request.base, "POST", document, hub.new_id(), None)
    written, *_ = await view.write([new, *given(hub, request, [new])], own=witnessed(hub, request, [new]))
    return answer_write(request, view.echo(new, stored(new, written)), created=True)


async def _unless_there(hub: Hub, request: FhirRequest, document: Document, criteria: Criteria) -> FhirResult:
    """https://hl7.org/fhir/R4/http.html#ccreate: none match, create; one, answer with it; more, 412."""
    # Most repeats find the resource at once, and need no lock for that.
    found = await the_one(hub.store, criteria)
    if found is None:
        async with hub.store.exclusively(criteria.locks) as session:
            found = await the_one(session, criteria)
            if found is None:
                return await create_now(hub, request, document, session)
    return answer_write(request, found, created=False, changed=False)
