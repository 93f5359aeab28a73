"""From a body to a Change of the store: parse, check, validate, extract; then what was written, as an answer needs it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fhirhub.errors import BadRequest, Conflict, FhirError, Issue, PreconditionFailed
from fhirhub.exchange import FhirRequest
from fhirhub.hub import Hub
from fhirhub.resource import json
from fhirhub.resource.meta import detach, with_labels
from fhirhub.search.custom import compiled, is_active, taken
from fhirhub.store.records import Change, StaleBase, Stored, Written

T = TypeVar("T")
Document = dict[str, Any]
ATTEMPTS = 12
"""Times a change is tried when others change the same resource at the same moment."""


def incoming(hub: Hub, request: FhirRequest) -> Document:
    """The valid resource in the body of ``request``; 400 with every problem found."""
    document = json.parse(request.body)
    check_type(document, request.type)
    check_valid(hub, document)
    return document


def check_type(document: Document, type: str | None) -> None:
    """Raise 400 when the document is not of ``type``."""
    found = document.get("resourceType")
    if found != type:
        shown = f"'{found[:64]}'" if isinstance(found, str) else "missing"
        text = f"The URL is for {type}, but resourceType is {shown}."
        raise BadRequest(Issue("invalid", text, "resourceType"))


def check_valid(hub: Hub, document: Document) -> None:
    """Raise 400 with every structural problem of ``document``; 422 for a search parameter that cannot be served."""
    issues = hub.validator.validate(document)
    if issues:
        raise BadRequest(issues)
    check_served(hub, document)


def check_served(hub: Hub, document: Document) -> None:
    """Raise 422 when ``document``, a valid one, is an active SearchParameter that cannot be served."""
    if is_active(document):
        taken(compiled(document, hub.definitions, hub.own), hub.own, document.get("id"))


def check_id(document: Document, type: str | None, id: str | None) -> None:
    """Raise 400 when the body does not carry the id of the URL (https://hl7.org/fhir/R4/http.html#update)."""
    found = document.get("id")
    if found != id:
        shown = f"'{found}'" if found is not None else "missing"
        raise BadRequest(
            Issue("invalid", f"The id in the body is {shown}; the URL says '{id}'.", f"{type}.id")
        )


def change(
    hub: Hub, url: str, method: str, document: Document, id: str, base: Stored | None, label: str = ""
) -> Change:
    """The Change that makes ``document`` the present version of ``id``.

    ``url`` is the service base that the caller used, ``base`` the version that ``document`` was computed from.
    """
    type = document["resourceType"]
    document = hub.store.completed(document, base)
    if method == "PUT" and base is not None:
        # Who does not know of labels must not take the protection away; a patch does what it says.
        document = with_labels(document, base.meta)
    if document.get("id") != id:
        rest = {name: value for name, value in document.items() if name != "id"}
        document = {"resourceType": type, "id": id, **rest}
    return Change(method, type, id, base, document, hub.extractor.rows(document, (url,)), label)


def stored(change: Change, written: Written) -> Stored:
    """What ``change`` left in the store, without reading it again."""
    assert change.document is not None
    meta, content = detach(change.document)
    return Stored(
        type=written.type,
        id=written.id,
        rid=written.rid,
        version=written.version,
        updated=written.updated,
        deleted=False,
        method=change.method,
        meta=json.dumps(meta).decode() if meta else None,
        content=json.dumps(content).decode(),
    )


def is_alive(stored: Stored | None) -> bool:
    """Whether there is a present version (a version 0 only holds the place of what others refer to)."""
    return stored is not None and stored.version > 0 and not stored.deleted


def stale(request: FhirRequest, error: StaleBase) -> FhirError:
    """What a lost race means: 412 for a caller who named the version, else another attempt."""
    if "if-match" not in request.headers:
        return error
    text = f"If-Match {request.headers['if-match'][:60]} does not hold any more: somebody else was faster."
    return PreconditionFailed(Issue("conflict", text))


async def persistent(hub: Hub, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """``attempt``, made again from the start while others change the same resources in between; 409 in the end.

    Those of this process who contend for ``name`` try again in turn; other processes are met by waiting a little.
    """
    try:
        return await attempt()
    except StaleBase:
        pass
    async with hub.turns.of(name):
        for round in range(ATTEMPTS):
            try:
                return await attempt()
            except StaleBase:
                await asyncio.sleep(random.random() * 0.002 * 2 ** min(round, 6))
    raise Conflict(
        Issue("conflict", "The resource is being changed by others all the time; try again later.")
    )
