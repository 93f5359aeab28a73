"""$explain: how a search would be carried out, for whoever may make it. Not one of HL7's.

``GET [base]/Observation/$explain?code=…&_sort=-date`` answers, as Parameters, how each criterion was understood, by
which index the search begins and in which order it goes on, whether it would be refused as too costly, and what would
make it cheaper. ``[base]/$explain?_type=…`` is the same for searches across types. Nothing is searched for. What is
expected to be found is told to those who may search everything (:mod:`fhirhub.view.planning`); statements and what the
database makes of them are for ``fhirhub explain``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fhirhub.errors import BadRequest, Issue, MethodNotAllowed, outcome
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.perform import SERVED
from fhirhub.interactions.sealed import CURSOR
from fhirhub.interactions.search import check_named
from fhirhub.operations.given import given
from fhirhub.resource import json
from fhirhub.search.across import types_of
from fhirhub.search.predicate import And
from fhirhub.search.request import SearchRequest
from fhirhub.search.results import IGNORED
from fhirhub.search.said import indexes, said
from fhirhub.store.explain import KINDS
from fhirhub.view.planning import COSTLY, Planned

Part = dict[str, Any]
_COUNTS = "counts what fulfils them, or estimates it where that would take long"
_COMPONENT = "component-"
_SHAPING = ("_type", "_sort", "_include", "_revinclude", "_contained")
"""Beginnings of parameters that do not say by themselves what is found."""


async def explain(hub: Hub, request: FhirRequest) -> FhirResult:
    """The plan of the search that ``request`` describes; refused as that would be, except for its cost."""
    parameters = tuple(pair for pair in given(request) if pair[0] not in IGNORED)
    if any(name == CURSOR for name, _ in parameters):
        text = "Later pages follow the plan of the first one; leave _cursor out."
        raise BadRequest(Issue("not-supported", text, CURSOR))
    search = _search(hub, replace(request, parameters=parameters))
    if search.most:
        search = replace(search, count=min(search.count, search.most))
    planned = await hub.store.planned(search)
    found = [
        *_criteria(hub, search, request.base),
        _plan(search, planned),
        *_cost(search, planned),
        *(_named("advice", valueString=text) for text in [*planned.advice, *_elsewhere(hub, search)]),
        *(_named("ignored", valueString=issue.text) for issue in search.notes),
    ]
    return FhirResult(200, json.dumps({"resourceType": "Parameters", "parameter": found}))


def _search(hub: Hub, request: FhirRequest) -> SearchRequest:
    """The search as ``search-type`` and ``search-system`` understand it."""
    type, parameters = request.type, request.parameters
    if type is None:
        types = types_of(parameters, hub.definitions.resource_types)
        if len(types) == 1:
            type, parameters = types[0], tuple(pair for pair in parameters if pair[0] != "_type")
            hub.access.require("s", type)
    if type in SERVED:
        text = f"{type}s are not searched by an index of theirs; there is no plan to tell of."
        raise MethodNotAllowed(Issue("not-supported", text), headers={"Allow": "GET, HEAD, OPTIONS"})
    lenient, bases = request.prefer.lenient, (request.base,)
    if type is not None:
        return hub.parser.parse(type, parameters, lenient=lenient, bases=bases, contained=True)
    search = hub.parser.parse_across(parameters, lenient=lenient, bases=bases)
    check_named(hub, search)
    return search


def _named(name: str, *parts: Part, **value: Any) -> Part:
    return {"name": name, **value, **({"part": list(parts)} if parts else {})}


def _criteria(hub: Hub, search: SearchRequest, base: str) -> Iterator[Part]:
    """Each criterion by its name, as it was understood."""
    type, parser = _type(search), hub.parser
    types = [pair for pair in search.applied if pair[0] == "_type"]
    for name, value in search.applied:
        if name.startswith(_SHAPING):
            continue
        if type:
            where = parser.parse(type, [(name, value)], bases=(base,)).where
        else:
            where = parser.parse_across([*types, (name, value)], bases=(base,)).where
        if where == And(()):
            continue
        yield _named(
            "criterion",
            _named("parameter", valueString=name),
            _named("understood", valueString=said(hub.definitions, where)),
            *(_named("index", valueCode=index) for index in indexes(where)),
        )


def _type(search: SearchRequest) -> str:
    """The one type that the criteria are of; '' for several."""
    return search.inside[0] if search.inside is not None else search.type


def _plan(search: SearchRequest, planned: Planned) -> Part:
    counting = _counts(search)
    kind = "count" if counting else planned.plan.kind
    order = ",".join(("-" if each.descending else "") + each.code for each in search.sort)
    parts = [
        _named("kind", valueCode=kind),
        _named("how", valueString=f"It {_COUNTS if counting else KINDS[kind]}."),
        _named("driver", valueString=planned.driver),
    ]
    if order:
        parts.append(_named("order", valueString=order))
    parts += [
        _named("condition", _named("understood", valueString=text), _named("rows", valueDecimal=round(rows)))
        for text, rows in planned.conditions
    ]
    return _named("plan", *parts)


def _counts(search: SearchRequest) -> bool:
    """Whether only the number of matches is asked for."""
    return search.count == 0 or search.summary == "count"


def _grows(search: SearchRequest, planned: Planned) -> str:
    """What the cost grows with: the length of the ``page``, the number of ``matches`` or all there is of the ``type``."""
    whole, gathered = planned.plan.driver < 0, planned.plan.kind == "sort" or _counts(search)
    if whole and (gathered or search.where != And(())):
        return "type"
    return "matches" if gathered else "page"


def _cost(search: SearchRequest, planned: Planned) -> Iterator[Part]:
    """What it is expected to cost, and whether that is too much."""
    parts = [_named("growsWith", valueCode=_grows(search, planned))]
    if planned.limit:
        parts.append(_named("limit", valueDecimal=round(planned.limit)))
    if planned.entries is not None:
        parts.append(_named("entries", valueDecimal=round(planned.entries)))
    yield _named("cost", *parts)
    yield _named("refused", valueBoolean=bool(planned.refusal))
    if planned.refusal:
        yield _named("refusal", resource=outcome([Issue(COSTLY, planned.refusal, search.type or "_type")]))
    if planned.is_empty:
        yield _named("empty", valueBoolean=True)


def _elsewhere(hub: Hub, search: SearchRequest) -> Iterator[str]:
    """Parameters that look into the components as well, or instead."""
    type = _type(search)
    known = hub.parser.registry.facets(type) if type else {}
    for code in dict.fromkeys(name.partition(":")[0] for name, _ in search.applied):
        inner, both = _COMPONENT + code, "combo-" + code
        if inner in known:
            also = f", {both} into both" if both in known else ""
            yield f"{code} does not look into the components of an {type}: {inner} does{also}."
