"""Where what is written comes from: https://hl7.org/fhir/R4/provenance.html#header.

A client says so itself in the header ``X-Provenance``: a Provenance without targets, which gets what the request writes
as its target and is written in the same commit. For a client that acts without a user (a lab, another practice) that
says nothing, the server does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import Caller, FhirRequest
from fhirhub.hub import Hub
from fhirhub.interactions.changes import change
from fhirhub.resource import json
from fhirhub.resource.meta import detach, instant
from fhirhub.store.records import Change

TYPE = "Provenance"
HEADER = "x-provenance"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_ACTIVITIES = {"POST": "CREATE", "PUT": "UPDATE", "PATCH": "UPDATE"}


def given(hub: Hub, request: FhirRequest, changes: Sequence[Change]) -> list[Change]:
    """The client's own Provenance of ``changes``, checked like anything it writes; nothing where it gives none.

    Raises BadRequest for a header that holds no valid Provenance.
    """
    text = request.headers.get(HEADER)
    if text is None:
        return []
    document = _parsed(text)
    targets = _targets(changes)
    if not targets:
        return []
    document = {**document, "target": targets}
    issues = hub.validator.validate(document)
    if issues:
        raise BadRequest([replace(issue, expression=f"X-Provenance: {issue.expression}") for issue in issues])
    return [change(hub, request.base, "POST", document, hub.new_id(), None, "X-Provenance")]


def witnessed(hub: Hub, request: FhirRequest, changes: Sequence[Change]) -> list[Change]:
    """The server's own Provenance of ``changes``, when they come from outside and the client gives none.

    What is outside: a client that acts without a user. No right of the client's is needed for it.
    """
    caller = hub.access.caller
    if not hub.witness or caller.user or not caller.client or HEADER in request.headers:
        return []
    targets = _targets([each for each in changes if each.type != TYPE])
    if not targets:
        return []
    document = _statement(caller, targets, {each.method for each in changes}, hub.clock())
    return [change(hub, request.base, "POST", document, hub.new_id(), None)]


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.parse(text.encode())
    except BadRequest as error:
        raise _refused(f"it is no JSON object: {error}") from None
    if document.get("resourceType") != TYPE:
        raise _refused("it is no Provenance; its resourceType has to say so")
    for name in ("target", "id"):
        if name in document:
            raise _refused(f"leave out {name}: the server sets it")
    return document


def _refused(why: str) -> BadRequest:
    return BadRequest(Issue("invalid", f"The header X-Provenance is not understood: {why}.", "X-Provenance"))


def _targets(changes: Sequence[Change]) -> list[dict[str, str]]:
    """References to the versions that ``changes`` make; those that change nothing make none."""
    found = []
    for each in changes:
        if each.document is None or _is_same(each):
            continue
        version = each.base.version + 1 if each.base is not None else 1
        found.append({"reference": f"{each.type}/{each.id}/_history/{version}"})
    return found


def _is_same(change: Change) -> bool:
    """Whether the document is what is there already, digit for digit."""
    base = change.base
    if base is None or base.deleted or base.content is None or change.document is None:
        return False
    meta, content = detach(change.document)
    before = json.parse(base.meta.encode()) if base.meta else {}
    return json.equal(content, json.parse(base.content.encode())) and json.equal(meta or {}, before)


def _statement(caller: Caller, targets: list[dict[str, str]], methods: set[str], now: int) -> dict[str, Any]:
    activities = {_ACTIVITIES[method] for method in methods if method in _ACTIVITIES}
    author = {"system": f"{_HL7}/provenance-participant-type", "code": "author", "display": "Author"}
    document: dict[str, Any] = {
        "resourceType": TYPE,
        "target": targets,
        "recorded": instant(now),
        "agent": [
            {
                "type": {"coding": [author]},
                "who": {
                    "identifier": {"value": caller.client},
                    "display": caller.client_name or caller.client,
                },
            }
        ],
    }
    if len(activities) == 1:
        coding = {"system": f"{_HL7}/v3-DataOperation", "code": activities.pop()}
        document["activity"] = {"coding": [coding]}
    return document
