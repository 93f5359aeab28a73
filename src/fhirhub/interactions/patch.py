"""patch by JSON Patch or FHIRPath Patch, also conditional: https://hl7.org/fhir/R4/http.html#patch."""

from __future__ import annotations

from fhirhub.auth.access import Access
from fhirhub.errors import BadRequest, Forbidden, Issue, NotFound
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import answer_write, check_if_match, living
from fhirhub.interactions.changes import Document, change, check_valid, persistent, stale, stored
from fhirhub.interactions.criteria import Criteria, criteria_of, the_one
from fhirhub.interactions.provenance import given, witnessed
from fhirhub.resource import json
from fhirhub.resource.patch import json_patch
from fhirhub.resource.path_patch import fhirpath_patch
from fhirhub.store.records import StaleBase, Stored
from fhirhub.view.view import View


async def patch(hub: Hub, request: FhirRequest) -> FhirResult:
    """A new version made from the present one; nothing new when nothing changes."""
    type, id = request.type, request.id
    assert type is not None and id is not None
    asks = asks_for_values(request.content_type, request.body)
    if asks:
        check_may_ask(hub.access, type, hub.access.sight.allows("r", type))

    async def attempt() -> FhirResult:
        base = living(await hub.store.read(type, id, "u"), type, id)
        if asks:
            check_may_ask(hub.access, type, await hub.store.read(type, id) is not None)
        return await _apply(hub, request, base, hub.store)

    return await persistent(hub, f"{type}/{id}", attempt)


async def conditional_patch(hub: Hub, request: FhirRequest) -> FhirResult:
    """The one match is patched; none is a 404, more are a 412."""
    assert request.type is not None
    criteria = criteria_of(hub, request.type, request.parameters, request.base)
    if asks_for_values(request.content_type, request.body):
        check_may_ask(hub.access, request.type, hub.access.sight.allows("r", request.type))
    return await persistent(hub, criteria.text, lambda: _patch_match(hub, request, criteria))


async def _patch_match(hub: Hub, request: FhirRequest, criteria: Criteria) -> FhirResult:
    async with hub.store.exclusively(criteria.locks) as session:
        found = await the_one(session, criteria, whole=True)
        if found is None:
            raise NotFound(Issue("not-found", f"Nothing matches {criteria.text[:200]}."))
        if asks_for_values(request.content_type, request.body):
            check_may_ask(hub.access, found.type, await session.read(found.type, found.id) is not None)
        return await _apply(hub, request, found, session)


async def _apply(hub: Hub, request: FhirRequest, base: Stored, view: View) -> FhirResult:
    check_if_match(request.headers, base)
    document = patched(hub, json.parse(base.render()), request.content_type, request.body)
    check_valid(hub, document)
    new = change(hub, request.base, "PATCH", document, base.id, base)
    try:
        written, *_ = await view.write([new, *given(hub, request, [new])], own=witnessed(hub, request, [new]))
    except StaleBase as error:
        raise stale(request, error) from error
    shown = view.echo(new, stored(new, written))
    return answer_write(request, shown, created=False, changed=written.changed)


def asks_for_values(content_type: str, body: bytes) -> bool:
    """Whether the outcome of the patch in ``body`` tells what values a resource has: a JSON Patch by its tests, a
    FHIRPath Patch by the conditions in its paths."""
    if content_type == "json-patch":
        operations = json.parse_value(body)
        found = operations if type(operations) is list else ()
        return any(type(each) is dict and each.get("op") == "test" for each in found)
    listed = json.parse(body).get("parameter")
    operations = [each.get("part") for each in listed if type(each) is dict] if type(listed) is list else ()
    parts = [part for some in operations if type(some) is list for part in some if type(part) is dict]
    return any("(" in str(part.get("valueString")) for part in parts if part.get("name") == "path")


def check_may_ask(access: Access, type: str, may_read: bool) -> None:
    """Raise Forbidden for a patch that asks for values, unless its maker may read what it patches."""
    if not may_read:
        text = (
            "A patch with a test, or with a condition in a path, tells what a resource holds, so it takes"
            f" {access.scope_for('r', type)} for that resource besides."
        )
        raise Forbidden(Issue("forbidden", text))


def patched(hub: Hub, document: Document, content_type: str, body: bytes) -> Document:
    """``document`` after the patch in ``body``: a JSON Patch (by content type) or a Parameters resource."""
    if content_type == "json-patch":
        return json_patch(document, json.parse_value(body))
    parameters = json.parse(body)
    if parameters.get("resourceType") != "Parameters":
        text = "A patch is a JSON Patch (application/json-patch+json) or a FHIRPath Patch: a Parameters resource."
        raise BadRequest(Issue("invalid", text, "resourceType"))
    return fhirpath_patch(document, parameters, hub.definitions)
