"""$reindex: makes the index rows of some or all resource types anew, in the background. Not one of HL7's.

``POST [base]/$reindex?_type=Patient,Observation`` answers 202 and the URL that tells how far it is.
"""

from __future__ import annotations

from fhirhub.errors import BadRequest, Forbidden, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.async_ import accepted
from fhirhub.operations.given import given

KIND = "reindex"
ADMIN = "admin"
_PASSED_OVER = frozenset({"_format", "_pretty"})


async def reindex(hub: Hub, request: FhirRequest) -> FhirResult:
    """Make a job of it, for administrators whose app may change what it concerns."""
    access = hub.access
    if not access.sight.everything:
        if access.caller.role != ADMIN:
            raise Forbidden(Issue("forbidden", "$reindex is for administrators."))
        if not any(each.type == "*" and "u" in each.letters and not each.query for each in access.scopes):
            raise Forbidden(Issue("forbidden", f"$reindex needs the scope {access.scope_for('u', None)}."))
    types: list[str] = []
    for name, value in given(request):
        if name == "_type":
            types += value.split(",")
        elif name not in _PASSED_OVER:
            text = f"$reindex has no parameter '{name[:64]}'; known is _type."
            raise BadRequest(Issue("not-supported", text, name[:64]))
    for type in types:
        if type not in hub.definitions.type_number:
            raise BadRequest(Issue("value", f"'{type[:64]}' is not an R4 resource type.", "_type"))
    assert hub.background is not None
    id = await hub.background.jobs.add(
        KIND, {"types": list(dict.fromkeys(types))}, holder=hub.access.sight.holder
    )
    return accepted(request, id)
