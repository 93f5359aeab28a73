"""`_summary` and `_elements` on one resource: https://hl7.org/fhir/R4/search.html#summary."""

from __future__ import annotations

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest
from fhirhub.hub import Hub
from fhirhub.resource import json
from fhirhub.resource.subset import elements_of, summary_of

SUMMARIES = ("true", "text", "data", "count", "false")


def shaped(hub: Hub, request: FhirRequest, body: bytes) -> bytes:
    """The resource ``body`` cut down as the parameters ``_summary`` and ``_elements`` ask."""
    summary = "false"
    elements: tuple[str, ...] = ()
    for name, value in request.parameters:
        if name == "_summary":
            if value not in SUMMARIES or value == "count":
                raise BadRequest(
                    Issue("value", f"_summary '{value[:40]}' is none of true, text, data, false.", name)
                )
            summary = value
        elif name == "_elements":
            elements += tuple(part.strip() for part in value.split(",") if part.strip())
    return cut(hub, body, summary, elements)


def cut(hub: Hub, body: bytes, summary: str, elements: tuple[str, ...]) -> bytes:
    """``body`` by one of the forms of ``_summary``, or with only ``elements`` and the mandatory ones."""
    if elements:
        return json.dumps(elements_of(json.parse(body), elements, hub.definitions))
    if summary != "false":
        return json.dumps(summary_of(json.parse(body), summary, hub.definitions))
    return body
