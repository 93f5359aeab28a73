"""$everything of a Patient or an Encounter: https://hl7.org/fhir/R4/patient-operation-everything.html.

The resource itself, all of its compartment, and what those refer to outside of it (practitioners, organizations …).
Types are walked in a fixed order, the compartment's own first; a page link says how far the walk has come.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import living
from fhirhub.interactions.bundles import Link, bundle, url_with, whole_entries
from fhirhub.interactions.compartment import member, members
from fhirhub.interactions.history import counted, moment
from fhirhub.operations.given import given
from fhirhub.search.predicate import And, Updated
from fhirhub.search.request import Include, SearchRequest
from fhirhub.store.records import Page

PURPOSE = "everything"
TOGETHER = 8
"""Types that are searched at a time."""
_PASSED_OVER = frozenset({"_format", "_pretty"})


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of the operation; ``since`` in microseconds since 1970 UTC, ``types`` empty for all."""

    since: int | None
    types: tuple[str, ...]
    count: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """How far the walk has come: the number of a type, and the page within it (None: its first)."""

    type: int
    cursor: str | None


async def everything(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of the compartment of ``request.type``/``request.id``."""
    compartment, id = request.type, request.id
    assert compartment is not None and id is not None
    asked = _asked(hub, request)
    living(await hub.store.read(compartment, id), compartment, id)
    walk = _types(hub, compartment, asked)
    start = Place(*hub.store.sealer.open(asked.cursor, _purpose(request))) if asked.cursor else Place(0, None)
    found, following = await _walk(hub, request, asked, walk, start)
    base = request.base
    entries = whole_entries(base, found.matches, "match") + whole_entries(base, found.included, "include")
    return FhirResult(200, bundle("searchset", None, _links(hub, request, following), entries, hub.clock()))


async def _walk(
    hub: Hub, request: FhirRequest, asked: Asked, walk: list[str], start: Place
) -> tuple[Page, Place | None]:
    """One page of the types in ``walk`` from ``start`` on, and where the next page starts.

    Most types have nothing to give, so several are asked at a time. Their answers are taken in order; one that does
    not fit any more is left to the next page.
    """
    inside = hub.definitions.compartments[request.type or ""]
    found, seen, at = Page(), set[int](), start
    while at.type < len(walk):
        room = asked.count - len(found.matches)
        searches = [_search(hub, request, type, asked, room) for type in walk[at.type : at.type + TOGETHER]]
        searches[0] = replace(searches[0], cursor=at.cursor)
        for page in await asyncio.gather(*(_with_all_includes(hub, each) for each in searches)):
            if len(found.matches) + len(page.matches) > asked.count:
                return found, at
            found.matches += page.matches
            for stored in page.included:
                if not inside.get(stored.type) and stored.rid not in seen:
                    seen.add(stored.rid)
                    found.included.append(stored)
            at = Place(at.type, page.next) if page.next else Place(at.type + 1, None)
            if page.next or len(found.matches) == asked.count:
                return found, at if at.type < len(walk) else None
    return found, None


async def _with_all_includes(hub: Hub, search: SearchRequest) -> Page:
    """A page of ``search`` with everything that it includes, however much that is."""
    page = await hub.store.search(search)
    following = page.related
    while following is not None:
        more = await hub.store.search(replace(search, cursor=following))
        page.included += more.included
        following = more.related
    return page


def _asked(hub: Hub, request: FhirRequest) -> Asked:
    asked = Asked(None, (), hub.limits.everything, None)
    for name, value in given(request):
        if name == "_since":
            asked = replace(asked, since=moment(name, value))
        elif name == "_type":
            asked = replace(asked, types=asked.types + tuple(value.split(",")))
        elif name == "_count":
            asked = replace(asked, count=max(1, min(counted(value), hub.limits.everything)))
        elif name == "_cursor":
            asked = replace(asked, cursor=value)
        elif name not in _PASSED_OVER and not request.prefer.lenient:
            text = f"$everything has no parameter '{name[:64]}' here; known are _since, _type, _count."
            raise BadRequest(Issue("not-supported", text, name[:64]))
    for type in asked.types:
        if type not in hub.definitions.type_number:
            raise BadRequest(Issue("value", f"'{type[:64]}' is not an R4 resource type.", "_type"))
    return asked


def _types(hub: Hub, compartment: str, asked: Asked) -> list[str]:
    """The types of the compartment in the order of the walk."""
    walk = [compartment, *(type for type in members(hub, compartment) if type != compartment)]
    return [type for type in walk if not asked.types or type in asked.types]


def _search(hub: Hub, request: FhirRequest, type: str, asked: Asked, count: int) -> SearchRequest:
    """The search for what belongs to the compartment, and changed since when that is asked."""
    compartment = request.type or ""
    where = member(hub, compartment, request.id or "", type)
    if asked.since is not None:
        where = And((where, Updated((("lo", ">=", asked.since),))))
    return SearchRequest(type, where=where, count=count, includes=_outward(hub, compartment, type, asked))


def _outward(hub: Hub, compartment: str, type: str, asked: Asked) -> tuple[Include, ...]:
    """What resources of ``type`` refer to outside the compartment comes along, unless only certain types are asked for.

    Parameters that lead inside only are left out: those resources come by themselves.
    """
    if asked.types:
        return ()
    inside = hub.definitions.compartments[compartment]
    registry = hub.parser.registry
    pids = {
        link.pid
        for code, facet in registry.facets(type).items()
        if not facet.targets or any(not inside.get(target) for target in facet.targets)
        for link in registry.references(type, code)
    }
    return (Include(type, tuple(sorted(pids)), None, False, False),) if pids else ()


def _purpose(request: FhirRequest) -> str:
    return f"{PURPOSE} {request.type}/{request.id}"


def _links(hub: Hub, request: FhirRequest, following: Place | None) -> list[Link]:
    path = f"{request.base}/{request.type}/{request.id}/$everything"
    parameters = given(request)
    first = [pair for pair in parameters if pair[0] != "_cursor"]
    links = [("self", url_with(path, parameters)), ("first", url_with(path, first))]
    if following is not None:
        sealed = hub.store.sealer.seal((following.type, following.cursor), _purpose(request))
        links.append(("next", url_with(path, [*first, ("_cursor", sealed)])))
    return links
