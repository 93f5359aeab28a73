"""Binary as the content itself rather than as a resource: https://hl7.org/fhir/R4/binary.html#rest.

The one type that the RESTful rules treat by its name, hence its name here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from fhirhub.errors import Issue, NotAcceptable
from fhirhub.exchange import FhirResult
from fhirhub.http.negotiation import is_fhir
from fhirhub.http.routes import Route
from fhirhub.resource import json

TYPE = "Binary"
_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_READS = frozenset({"read", "vread"})
_WRITES = frozenset({"create", "update"})


def may_be_content(method: str, path: str) -> bool:
    """Whether ``path`` (below the base) is where content may be asked for instead of a resource."""
    return method in ("GET", "HEAD") and path.startswith(f"{TYPE}/")


def content(route: Route, result: FhirResult, accept: bytes) -> FhirResult:
    """The content of the Binary in ``result``; 406 when it is of none of the types in ``accept``."""
    if result.status != 200:
        return result
    document = json.parse(result.body) if route.interaction in _READS else {}
    media = str(document.get("contentType", "")).partition(";")[0].strip().lower()
    if not _MEDIA.fullmatch(media) or not _wanted(media, accept):
        text = (
            "The content is of another type than Accept asks for; ask for application/fhir+json to see which."
        )
        raise NotAcceptable(Issue("not-supported", text))
    headers = {
        **result.headers,
        "content-type": media,
        # Whatever somebody stored must not run in a browser as a page of ours.
        "content-disposition": "attachment",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return FhirResult(200, base64.b64decode(document.get("data") or ""), headers)


def _wanted(media: str, accept: bytes) -> bool:
    ranges = [part.partition(";")[0].strip().lower() for part in accept.decode("latin-1").split(",")]
    return media in ranges or f"{media.partition('/')[0]}/*" in ranges


def wrapped(route: Route, headers: Mapping[bytes, bytes], body: bytes) -> bytes | None:
    """Content that was sent as it is, as a Binary resource; None when this is not what the request is about."""
    if route.type != TYPE or route.interaction not in _WRITES:
        return None
    media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if not _MEDIA.fullmatch(media) or is_fhir(media):
        return None
    made: dict[str, Any] = {"resourceType": TYPE}
    if route.id is not None:
        made["id"] = route.id
    made["contentType"] = media
    context = headers.get(b"x-security-context")
    if context:
        made["securityContext"] = {"reference": context.decode("latin-1")}
    if body:
        made["data"] = base64.b64encode(body).decode()
    return json.dumps(made)
