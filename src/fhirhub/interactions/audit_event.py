"""read and search of AuditEvent, out of the audit trail: https://hl7.org/fhir/R4/auditevent.html.

Nothing else is offered on it: what has happened is added by the server and changed by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Handler, Hub
from fhirhub.interactions.answers import version_headers
from fhirhub.interactions.audit_criteria import TYPE, Asked, asked
from fhirhub.interactions.bundles import bundle, notes_entry, url_with
from fhirhub.interactions.sealed import CURSOR, opened, sealed
from fhirhub.interactions.shape import cut, shaped
from fhirhub.resource import json
from fhirhub.store.audit.event import as_event, id_of, parse_id
from fhirhub.store.audit.search import Condition, Place, Wanted
from fhirhub.store.records import missing

_PURPOSE = "audit"
Parameters = Sequence[tuple[str, str]]


async def read_event(hub: Hub, request: FhirRequest) -> FhirResult:
    """One event; 404 for one that is not there, or is not about a patient that the caller may see events of."""
    assert request.id is not None
    name = parse_id(request.id)
    if name is None:
        raise missing(TYPE, request.id)
    page, allowed = await hub.store.events(Wanted((Condition("row", name[:2]),), count=1), "r")
    row = page.rows[0] if page.rows else None
    if row is None or not all(place <= len(row.patients) for place in name[2]):
        raise missing(TYPE, request.id)
    shown = {row.patients[place - 1] for place in name[2]} or set(row.patients)
    if (allowed is not None and not shown <= allowed) or id_of(row, shown) != request.id:
        raise missing(TYPE, request.id)
    body = json.dumps(as_event(row, request.base, shown, whole=allowed is None))
    return FhirResult(
        200, shaped(hub, request, body) if request.parameters else body, version_headers(1, row.at)
    )


async def search_events(hub: Hub, request: FhirRequest) -> FhirResult:
    """One page of events, newest first; of each row only the patients that are asked for, or may be seen."""
    path = f"{request.base}/{TYPE}"
    return await _page(hub, request, request.parameters, path)


async def search_patients_events(hub: Hub, request: FhirRequest) -> FhirResult:
    """``Patient/1/AuditEvent``: who looked at this record."""
    path = f"{request.base}/{request.type}/{request.id}/{TYPE}"
    return await _page(hub, request, request.parameters, path, request.id)


async def _page(
    hub: Hub, request: FhirRequest, given: tuple[tuple[str, str], ...], path: str, patient: str | None = None
) -> FhirResult:
    parameters = opened(hub, path.removeprefix(request.base), given)
    search = asked(parameters, request.base, hub.clock(), lenient=request.prefer.lenient)
    wanted = search.wanted
    if patient is not None:
        wanted = replace(wanted, patients=frozenset({patient}) & (wanted.patients or {patient}))
    if search.cursor:
        wanted = replace(wanted, after=_place(hub, search.cursor))
    page, allowed = await hub.store.events(wanted, "s")
    shown = wanted.patients if allowed is None else allowed & (wanted.patients or allowed)
    links = _links(search, page.next, hub)
    if request.content_type == "form" or parameters is not given:
        links = [
            (relation, [(CURSOR, sealed(hub, path.removeprefix(request.base), pairs))])
            for relation, pairs in links
        ]
    urls = [(relation, url_with(path, pairs)) for relation, pairs in links]
    entries = [
        _entry(hub, search, as_event(row, request.base, shown, whole=allowed is None), request.base)
        for row in page.rows
    ]
    if search.notes:
        entries.append(notes_entry(search.notes))
    return FhirResult(200, bundle("searchset", page.total, urls, entries, hub.clock()))


def _place(hub: Hub, cursor: str) -> Place:
    at, chain, seq = hub.store.sealer.open(cursor, _PURPOSE)
    return at, chain, seq


def _links(search: Asked, following: Place | None, hub: Hub) -> list[tuple[str, Parameters]]:
    applied = list(search.applied)
    own = [*applied, (CURSOR, search.cursor)] if search.cursor else applied
    found: list[tuple[str, Parameters]] = [("self", own), ("first", applied)]
    if following is not None:
        cursor = hub.store.sealer.seal(list(following), _PURPOSE)
        found.append(("next", [*applied, (CURSOR, cursor)]))
    return found


def _entry(hub: Hub, search: Asked, event: dict[str, Any], base: str) -> bytes:
    body = cut(hub, json.dumps(event), search.summary, search.elements)
    return b'{"fullUrl":"%b/AuditEvent/%b","resource":%b,"search":{"mode":"match"}}' % (
        base.encode(),
        event["id"].encode(),
        body,
    )


def instead(usual: Handler, special: Handler) -> Handler:
    """``special`` for AuditEvent, ``usual`` for every other type."""

    async def handler(hub: Hub, request: FhirRequest) -> FhirResult:
        return await (special if request.type == TYPE else usual)(hub, request)

    return handler


def in_compartments(usual: Handler) -> Handler:
    """``usual``; for the events about a patient, the trail."""

    async def handler(hub: Hub, request: FhirRequest) -> FhirResult:
        # For a search in a compartment, the type that is searched for is the last of the path.
        if request.operation != TYPE:
            return await usual(hub, request)
        if request.type != "Patient":
            text = (
                f"AuditEvents are found by patient or by agent, not in the compartment of a {request.type}."
            )
            raise BadRequest(Issue("not-supported", text))
        return await search_patients_events(hub, request)

    return handler
