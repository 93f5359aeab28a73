"""search on a type, by GET and by POST: https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

from dataclasses import replace

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import Link, bundle, found_entry, notes_entry, url_with
from fhirhub.interactions.sealed import CURSOR, opened, sealed
from fhirhub.interactions.shape import cut
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page

_ABOUT_THE_ANSWER = frozenset({"_format", "_pretty"})


async def search_type(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of the resources that match, with what they include."""
    assert request.type is not None
    parameters = opened(hub, request.type, request.parameters)
    search = hub.parser.parse(request.type, parameters, lenient=request.prefer.lenient, bases=(request.base,))
    page = await hub.store.search(search)
    hidden = request.content_type == "form" or parameters is not request.parameters
    links = _links(hub, request, search, page, hidden)
    entries = _entries(hub, request.base, search, page)
    return FhirResult(200, bundle("searchset", page.total, links, entries, hub.clock()))


async def search_system(hub: Hub, request: FhirRequest) -> FhirResult:
    """A search over one ``_type`` is a search on that type; over several it is not served yet."""
    types = {part for name, value in request.parameters if name == "_type" for part in value.split(",")}
    if len(types) != 1 or not types <= hub.definitions.type_number.keys():
        text = "A search over all types is not served yet: search on one type, or name one with _type."
        raise BadRequest(Issue("not-supported", text, "_type"))
    rest = tuple(pair for pair in request.parameters if pair[0] != "_type")
    return await search_type(hub, replace(request, type=types.pop(), parameters=rest))


def _entries(hub: Hub, base: str, search: SearchRequest, page: Page) -> list[bytes]:
    cutting = bool(search.elements) or search.summary != "false"
    entries = []
    for stored in page.matches:
        resource = stored.render()
        if cutting:
            resource = cut(hub, resource, search.summary, search.elements)
        entries.append(found_entry(base, stored, resource, "match"))
    for stored in page.included:
        resource = stored.render()
        if search.summary != "false":
            resource = cut(hub, resource, search.summary, ())
        entries.append(found_entry(base, stored, resource, "include"))
    if search.notes:
        entries.append(notes_entry(search.notes))
    return entries


def _links(hub: Hub, request: FhirRequest, search: SearchRequest, page: Page, hidden: bool) -> list[Link]:
    """self, first, previous and next. What came in a form stays out of the addresses: they carry it sealed."""
    applied = [pair for pair in search.applied if pair[0] not in _ABOUT_THE_ANSWER and pair[0] != CURSOR]
    shown = [pair for pair in request.parameters if pair[0] in _ABOUT_THE_ANSWER]
    path = f"{request.base}/{request.type}"
    here = search.cursor
    links: list[Link] = []
    for relation, cursor in (("self", here), ("first", ""), ("previous", page.previous), ("next", page.next)):
        if cursor is None and relation != "self":
            continue
        more = [*applied, (CURSOR, cursor)] if cursor else applied
        if hidden:
            more = [(CURSOR, sealed(hub, request.type or "", more))]
        links.append((relation, url_with(path, [*more, *shown])))
    return links
