"""batch and transaction come in by one door: https://hl7.org/fhir/R4/http.html#transaction."""

from __future__ import annotations

from dataclasses import replace

from fhirhub.errors import BadRequest
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.batch import batch
from fhirhub.interactions.changes import check_type
from fhirhub.interactions.entries import problems
from fhirhub.interactions.transaction import transaction
from fhirhub.resource import json


async def bundle(hub: Hub, request: FhirRequest) -> FhirResult:
    """Each entry by itself (batch), or all or nothing (transaction)."""
    document = json.parse(request.body)
    check_type(document, "Bundle")
    if "return" not in request.headers.get("prefer", ""):
        # A Bundle is answered with what was done; the resources come with it only when asked for.
        request = replace(request, prefer=replace(request.prefer, returns="minimal"))
    whole, by_entry = await problems(hub, document)
    if document.get("type") == "batch" and not whole:
        return await batch(hub, request, document, by_entry)
    if whole or by_entry:
        raise BadRequest([*whole, *(issue for number in sorted(by_entry) for issue in by_entry[number])])
    return await transaction(hub, request, document)
