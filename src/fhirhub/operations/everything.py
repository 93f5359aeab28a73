"""$everything of a Patient or an Encounter: https://hl7.org/fhir/R4/patient-operation-everything.html.

The resource itself, all of its compartment, and what those refer to outside of it (practitioners, organizations …).
Types are walked in a fixed order, the compartment's own first; a page link says how far the walk has come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import living
from fhirhub.interactions.bundles import Link, bundle, found_entry, url_with
from fhirhub.interactions.history import counted, moment
from fhirhub.resource import json
from fhirhub.search.predicate import And, Ids, Or, Predicate, Refers, Updated
from fhirhub.search.request import Include, SearchRequest
from fhirhub.store.records import Stored

PURPOSE = "everything"
_PASSED_OVER = frozenset({"_format", "_pretty"})


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of the operation; ``since`` in microseconds since 1970 UTC, ``types`` empty for all."""

    since: int | None
    types: tuple[str, ...]
    count: int
    cursor: str | None


async def everything(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of the compartment of ``request.type``/``request.id``."""
    compartment, id = request.type, request.id
    assert compartment is not None and id is not None
    asked = _asked(hub, request)
    living(await hub.store.read(compartment, id), compartment, id)
    walk = _types(hub, compartment, asked)
    at, inner = hub.store.sealer.open(asked.cursor, _purpose(request)) if asked.cursor else (0, None)
    matches: list[Stored] = []
    included: dict[int, Stored] = {}
    following: tuple[int, str | None] | None = None
    while at < len(walk):
        type = walk[at]
        page = await hub.store.search(
            SearchRequest(
                type,
                where=_where(hub, compartment, id, type, asked),
                count=asked.count - len(matches),
                includes=_outward(hub, type, asked),
                cursor=inner,
            )
        )
        matches += page.matches
        inside = hub.definitions.compartments[compartment]
        included.update((stored.rid, stored) for stored in page.included if not inside.get(stored.type))
        at, inner = (at, page.next) if page.next else (at + 1, None)
        if len(matches) >= asked.count:
            following = (at, inner) if at < len(walk) else None
            break
    base = request.base
    entries = [found_entry(base, stored, stored.render(), "match") for stored in matches]
    entries += [found_entry(base, stored, stored.render(), "include") for stored in included.values()]
    return FhirResult(200, bundle("searchset", None, _links(hub, request, following), entries, hub.clock()))


def _asked(hub: Hub, request: FhirRequest) -> Asked:
    asked = Asked(None, (), hub.limits.everything, None)
    for name, value in _given(request):
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


def _given(request: FhirRequest) -> list[tuple[str, str]]:
    """The parameters of the URL and of a Parameters resource in the body."""
    given = list(request.parameters)
    if request.body:
        document = json.parse(request.body)
        listed = document.get("parameter", [])
        if document.get("resourceType") != "Parameters" or type(listed) is not list:
            raise BadRequest(
                Issue("invalid", "The body of an operation is a Parameters resource.", "resourceType")
            )
        for one in listed:
            values = (
                [str(value) for key, value in one.items() if key.startswith("value")]
                if type(one) is dict
                else []
            )
            if len(values) != 1 or type(one.get("name")) is not str:
                raise BadRequest(
                    Issue("invalid", "Each parameter has a name and one value.", "Parameters.parameter")
                )
            given.append((one["name"], values[0]))
    return given


def _types(hub: Hub, compartment: str, asked: Asked) -> list[str]:
    """The types of the compartment in the order of the walk."""
    members = hub.definitions.compartments[compartment]
    walk = [compartment, *(t for t in hub.definitions.resource_types if t != compartment and members.get(t))]
    return [type for type in walk if not asked.types or type in asked.types]


def _where(hub: Hub, compartment: str, id: str, type: str, asked: Asked) -> Predicate:
    """Belongs to the compartment, and changed since when that is asked."""
    codes = hub.definitions.compartments[compartment].get(type, ())
    ways: list[Predicate] = [Ids((id,))] if type == compartment else []
    pids = {
        alias.pid
        for code in codes
        for alias in hub.parser.registry.references(type, code)
        if alias.only in (None, compartment)
    }
    ways += [Refers(pid, ((compartment, id),)) for pid in sorted(pids)]
    member: Predicate = ways[0] if len(ways) == 1 else Or(tuple(ways))
    if asked.since is None:
        return member
    return And((member, Updated((("lo", ">=", asked.since),))))


def _outward(hub: Hub, type: str, asked: Asked) -> tuple[Include, ...]:
    """What resources of ``type`` refer to comes along, unless only certain types are asked for."""
    if asked.types:
        return ()
    return hub.parser.parse(type, (("_include", f"{type}:*"),)).includes


def _purpose(request: FhirRequest) -> str:
    return f"{PURPOSE} {request.type}/{request.id}"


def _links(hub: Hub, request: FhirRequest, following: tuple[int, str | None] | None) -> list[Link]:
    path = f"{request.base}/{request.type}/{request.id}/$everything"
    given = _given(request)
    first = [pair for pair in given if pair[0] != "_cursor"]
    links = [("self", url_with(path, given)), ("first", url_with(path, first))]
    if following is not None:
        links.append(
            (
                "next",
                url_with(path, [*first, ("_cursor", hub.store.sealer.seal(following, _purpose(request)))]),
            )
        )
    return links
