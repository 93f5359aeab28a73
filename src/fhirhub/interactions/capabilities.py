"""capabilities: https://hl7.org/fhir/R4/http.html#capabilities."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.shape import shaped
from fhirhub.resource import json

MODES = ("full", "normative", "terminology")


async def capabilities(hub: Hub, request: FhirRequest) -> FhirResult:
    """The CapabilityStatement (all its elements in use are normative), or for ``mode=terminology`` its sister."""
    mode = next((value for name, value in request.parameters if name == "mode"), "full")
    if mode not in MODES:
        raise BadRequest(Issue("value", f"mode '{mode[:40]}' is none of {', '.join(MODES)}.", "mode"))
    if mode == "terminology":
        body = _terminology(hub, request.base)
    else:
        body = hub.capability.statement_at(request.base)
    tag = _tag(body)
    # Nothing about a patient is in it: it may be kept, but must be asked for again.
    headers = {"etag": tag, "cache-control": "public, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return FhirResult(304, b"", headers)
    return FhirResult(200, shaped(hub, request, body) if request.parameters else body, headers)


@lru_cache(maxsize=16)
def _tag(body: bytes) -> str:
    return f'W/"{blake2b(body, digest_size=8).hexdigest()}"'


def _terminology(hub: Hub, base: str) -> bytes:
    """A TerminologyCapabilities that claims nothing: no code systems are looked up or expanded yet."""
    about = hub.capability.claims["statement"]
    return json.dumps(
        {
            "resourceType": "TerminologyCapabilities",
            "url": f"{base}/metadata?mode=terminology",
            "name": about["name"],
            "title": about["title"],
            "status": "active",
            "date": about["date"],
            "kind": "instance",
            "implementation": {"description": about["title"], "url": base},
        }
    )
