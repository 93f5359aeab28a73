"""What a search with ``_containedType=contained`` shows: https://hl7.org/fhir/R4/search.html#contained."""

from __future__ import annotations

from collections.abc import Iterator

from fhirhub.errors import BadRequest, Issue
from fhirhub.hub import Hub
from fhirhub.resource import json
from fhirhub.search.match import Subject, Undecided, matches
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Stored

Shown = tuple[str, bytes]
"""What follows the address of the container (``#id``, or nothing), and the resource."""


def shown(hub: Hub, search: SearchRequest, stored: Stored, base: str) -> Iterator[Shown]:
    """What of the match ``stored`` is shown: itself, or those of the resources in it that were looked for."""
    whole = stored.render()
    if search.inside is None or search.contained_type == "container":
        yield "", whole
        return
    type, where = search.inside
    rows = hub.extractor.rows(json.parse(whole), (base,))
    try:
        found = [
            inner
            for inner in rows.inside
            if inner.type == type and matches(where, Subject(type, inner.id, stored.updated, inner.rows))
        ]
        itself = stored.type == type and search.contained == "both"
        if itself and (not found or matches(where, Subject(type, stored.id, stored.updated, rows))):
            yield "", whole
    except Undecided:
        text = "Value sets and hierarchies do not go with _containedType=contained; ask for the container."
        raise BadRequest(Issue("not-supported", text, f"{type}?_containedType")) from None
    for inner in found:
        yield f"#{inner.id}", json.dumps(inner.document)
