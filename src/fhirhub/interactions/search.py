"""search on a type, by GET and by POST: https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

from dataclasses import replace

from fhirhub.errors import BadRequest, Issue, NotFound
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import bundle, found_entry, notes_entry, url_with
from fhirhub.interactions.compartment import member, members
from fhirhub.interactions.sealed import CURSOR, opened, sealed
from fhirhub.interactions.shape import cut
from fhirhub.search.predicate import And, Predicate
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page

Given = tuple[str, list[tuple[str, str]]]
"""A link relation and its parameters."""
_ABOUT_THE_ANSWER = frozenset({"_format", "_pretty"})


async def search_type(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of the resources that match, with what they include."""
    assert request.type is not None
    return await _page(hub, request, request.type, f"{request.base}/{request.type}")


async def search_compartment(hub: Hub, request: FhirRequest) -> FhirResult:
    """A search among those of a compartment: ``Patient/1/Observation`` (the type searched is the last of the path)."""
    compartment, id, type = request.type, request.id, request.operation
    assert compartment is not None and id is not None and type is not None
    if type not in members(hub, compartment):
        raise NotFound(Issue("not-found", f"{type} is not in the compartment of a {compartment}."))
    path = f"{request.base}/{compartment}/{id}/{type}"
    return await _page(hub, request, type, path, member(hub, compartment, id, type))


async def _page(
    hub: Hub, request: FhirRequest, type: str, path: str, within: Predicate | None = None
) -> FhirResult:
    """One page of a search on ``type``, whose links begin with ``path``; ``within`` narrows it."""
    parameters = opened(hub, type, request.parameters)
    search = hub.parser.parse(type, parameters, lenient=request.prefer.lenient, bases=(request.base,))
    if within is not None:
        search = replace(search, where=And((within, search.where)))
    page = await hub.store.search(search)
    links = _links(search, page, request)
    if request.content_type == "form" or parameters is not request.parameters:
        links = _hidden(hub, type, links)
    entries = _entries(hub, request.base, search, page)
    shown = [(relation, url_with(path, given)) for relation, given in links]
    return FhirResult(200, bundle("searchset", page.total, shown, entries, hub.clock()))


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


def _links(search: SearchRequest, page: Page, request: FhirRequest) -> list[Given]:
    """self, first, previous and next, each with its parameters."""
    about = [pair for pair in request.parameters if pair[0] in _ABOUT_THE_ANSWER]
    applied = [pair for pair in search.applied if pair[0] not in _ABOUT_THE_ANSWER]
    cursors = {"self": search.cursor or "", "first": "", "previous": page.previous, "next": page.next}
    return [
        (relation, [*applied, *([(CURSOR, cursor)] if cursor else []), *about])
        for relation, cursor in cursors.items()
        if cursor is not None
    ]


def _hidden(hub: Hub, type: str, links: list[Given]) -> list[Given]:
    """``links`` of a search that came in a form: nothing of it stands in the addresses, they carry it sealed."""
    return [
        (
            relation,
            [
                (CURSOR, sealed(hub, type, [pair for pair in given if pair[0] not in _ABOUT_THE_ANSWER])),
                *(pair for pair in given if pair[0] in _ABOUT_THE_ANSWER),
            ],
        )
        for relation, given in links
    ]
