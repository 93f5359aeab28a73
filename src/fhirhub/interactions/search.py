"""search on a type, across types and in a compartment, by GET and by POST: https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fhirhub.errors import Issue, NotFound
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import Link, bundle, found_entry, notes_entry, url_with, whole_entries
from fhirhub.interactions.compartment import member, members
from fhirhub.interactions.hints import hint
from fhirhub.interactions.inside import shown
from fhirhub.interactions.sealed import CURSOR, opened, sealed
from fhirhub.interactions.shape import cut
from fhirhub.search.across import combined, types_of
from fhirhub.search.predicate import And, Predicate
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page

_ABOUT_THE_ANSWER = frozenset({"_format", "_pretty"})


async def search_type(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of the resources that match, with what they include."""
    assert request.type is not None
    return await _page(hub, request, request.type, f"{request.base}/{request.type}")


async def search_compartment(hub: Hub, request: FhirRequest) -> FhirResult:
    """A search in a compartment: ``Patient/1/Observation`` or ``Patient/1/*`` (the last of the path is ``operation``)."""
    compartment, id, type = request.type, request.id, request.operation
    assert compartment is not None and id is not None and type is not None
    inside = members(hub, compartment)
    if type == "*":
        path = f"{request.base}/{compartment}/{id}/*"
        types = tuple(dict.fromkeys((compartment, *inside)))
        parameters = opened(hub, path.removeprefix(request.base), request.parameters)
        search = hub.parser.parse_across(
            parameters, lenient=request.prefer.lenient, bases=(request.base,), types=types
        )
        check_named(hub, search)
        within = combined(search.types, [member(hub, compartment, id, each) for each in search.types])
        search = replace(search, where=And((within, search.where)))
        return await _answer(hub, request, search, path, parameters is not request.parameters)
    if type not in inside:
        raise NotFound(Issue("not-found", f"{type} is not in the compartment of a {compartment}."))
    path = f"{request.base}/{compartment}/{id}/{type}"
    return await _page(hub, request, type, path, member(hub, compartment, id, type))


async def _page(
    hub: Hub, request: FhirRequest, type: str, path: str, within: Predicate | None = None
) -> FhirResult:
    """One page of a search on ``type``, whose links begin with ``path``; ``within`` narrows it."""
    parameters = opened(hub, path.removeprefix(request.base), request.parameters)
    asker = hub.access.sight.holder
    search = hub.parser.understood(
        type, parameters, request.prefer.lenient, (request.base,), within is None, asker
    )
    if within is not None:
        search = replace(search, where=And((within, search.where)))
    return await _answer(hub, request, search, path, parameters is not request.parameters)


async def _answer(
    hub: Hub, request: FhirRequest, search: SearchRequest, path: str, was_sealed: bool
) -> FhirResult:
    """The page that ``search`` asks for."""
    if search.most:
        search = replace(search, count=min(search.count, search.most))
    page = await hub.store.search(search)
    hides_self = request.content_type == "form" or was_sealed
    links = _links(hub, request, search, page, path, hides_self)
    hinted = await hint(hub, search, page, request.base)
    if hinted is not None:
        page.notes.append(hinted)
    entries = _entries(hub, request.base, search, page)
    return FhirResult(200, bundle("searchset", page.total, links, entries, hub.clock()))


async def search_system(hub: Hub, request: FhirRequest) -> FhirResult:
    """A search across the types that ``_type`` names, or across all; over one type it is a search on that."""
    parameters = opened(hub, "", request.parameters)
    types = types_of(parameters, hub.definitions.resource_types)
    if len(types) == 1 and parameters is request.parameters:
        rest = tuple(pair for pair in parameters if pair[0] != "_type")
        hub.access.require("s", types[0])
        return await hub.dispatch["search-type"](hub, replace(request, type=types[0], parameters=rest))
    search = hub.parser.parse_across(parameters, lenient=request.prefer.lenient, bases=(request.base,))
    check_named(hub, search)
    return await _answer(hub, request, search, request.base, parameters is not request.parameters)


def check_named(hub: Hub, search: SearchRequest) -> None:
    """Raise Forbidden for a type that is asked for by name and may not be searched, or when none may be.

    Where no types are named, those that may not be searched simply have no matches.
    """
    if any(name == "_type" for name, _ in search.applied):
        for type in search.types:
            hub.access.require("s", type)
    elif not any(hub.access.sight.allows("s", type) for type in search.types):
        hub.access.require("s", None)


def _entries(hub: Hub, base: str, search: SearchRequest, page: Page) -> list[bytes]:
    entries: list[bytes] = []
    if search.elements or search.summary != "false" or search.inside is not None:
        entries += _shaped(hub, base, search, page)
    else:
        entries += whole_entries(base, page.matches, "match", page.scores)
    if search.summary == "false":
        entries += whole_entries(base, page.included, "include")
    else:
        for stored in page.included:
            shortened = cut(hub, stored.render(), search.summary, ())
            entries.append(found_entry(base, stored, shortened, "include"))
    if search.notes or page.notes:
        entries.append(notes_entry([*search.notes, *page.notes]))
    return entries


def _shaped(hub: Hub, base: str, search: SearchRequest, page: Page) -> Iterator[bytes]:
    """Entries of matches that are not shown as they are stored."""
    cutting = bool(search.elements) or search.summary != "false"
    for stored in page.matches:
        for place, resource in shown(hub, search, stored, base):
            if cutting:
                resource = cut(hub, resource, search.summary, search.elements)
            yield found_entry(base, stored, resource, "match", place, page.scores.get(stored.rid))


def _links(
    hub: Hub, request: FhirRequest, search: SearchRequest, page: Page, path: str, hides_self: bool
) -> list[Link]:
    """self, first, previous and next; what was searched for is sealed in them, not told in words.

    ``self`` tells how the server has understood the search, except where ``hides_self``: that came in a form, or sealed
    itself.
    """
    about = [pair for pair in request.parameters if pair[0] in _ABOUT_THE_ANSWER]
    applied = [pair for pair in search.applied if pair[0] not in _ABOUT_THE_ANSWER]
    # The first page is its own first: a link to it would only be sealed for nothing.
    first = None if search.cursor is None else ""
    cursors: dict[str, str | None] = {"self": search.cursor or "", "first": first, "previous": page.previous,
               "next": page.next, "related": page.related}  # fmt: skip
    left = applied
    if search.most:
        left = _counted_down(search, applied, len(page.matches))
        if search.most <= len(page.matches):
            cursors["next"] = None
        if search.cursor:
            # How many there were before is not known here: whoever goes back begins anew.
            cursors["first"] = cursors["previous"] = None
    told: list[Link] = []
    for relation, cursor in cursors.items():
        if cursor is None:
            continue
        asked = left if relation == "next" else applied
        if cursor:
            asked = [*asked, (CURSOR, cursor)]
        if relation != "self" or hides_self:
            asked = [(CURSOR, sealed(hub, path.removeprefix(request.base), asked))]
        told.append((relation, url_with(path, [*asked, *about])))
    return told


def _counted_down(search: SearchRequest, applied: list[tuple[str, str]], shown: int) -> list[tuple[str, str]]:
    """``applied`` for the next page: of ``_maxresults``, what is left."""
    return [(name, str(search.most - shown) if name == "_maxresults" else value) for name, value in applied]
