"""The entries of a batch or transaction, as requests that go in and as responses that come out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from fhirhub.errors import BadRequest, FhirError, Issue, Unprocessable, outcome
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.changes import check_served
from fhirhub.resource import json
from fhirhub.resource.bundle import Entry
from fhirhub.resource.meta import instant, microseconds

BREATH = 50
"""Entries after which other requests get a turn: a large Bundle is seconds of work."""
_CONDITIONAL = frozenset({"update", "patch", "delete"})
WRITES = frozenset({"create", *_CONDITIONAL, *(f"conditional-{name}" for name in _CONDITIONAL)})


@dataclass(slots=True)
class Answered:
    """The answer to one entry; ``updated`` is ``lastModified`` as an instant."""

    status: int
    location: str | None = None
    etag: str | None = None
    updated: str | None = None
    resource: bytes | None = None
    outcome: bytes | None = None

    def as_json(self) -> bytes:
        """The entry of the response Bundle."""
        response: dict[str, Any] = {"status": f"{self.status} {HTTPStatus(self.status).phrase}"}
        for name, value in (("location", self.location), ("etag", self.etag), ("lastModified", self.updated)):
            if value is not None:
                response[name] = value
        if self.outcome is not None:
            response["outcome"] = orjson.Fragment(self.outcome)
        entry: dict[str, Any] = {} if self.resource is None else {"resource": orjson.Fragment(self.resource)}
        entry["response"] = response
        return orjson.dumps(entry)


def interaction_of(entry: Entry) -> str:
    """What ``entry`` would be as a request of its own."""
    if entry.id is None and entry.interaction in _CONDITIONAL:
        return f"conditional-{entry.interaction}"
    return entry.interaction


def request_of(entry: Entry, whole: FhirRequest) -> FhirRequest:
    """``entry`` as a request of its own, with the preferences and the base of the ``whole``."""
    interaction = interaction_of(entry)
    resource, content_type = entry.resource, "json"
    body = b""
    if resource is not None and interaction.endswith("patch"):
        body, content_type = patch_of(resource, entry.expression)
    elif resource is not None:
        body = json.dumps(resource)
    given = {
        "if-match": entry.if_match,
        "if-none-match": entry.if_none_match,
        "if-none-exist": entry.if_none_exist,
        "if-modified-since": entry.if_modified_since,
    }
    return replace(
        whole,
        interaction=interaction,
        type=entry.type,
        id=entry.id,
        version=int(entry.version) if entry.version and entry.version.isdecimal() else None,
        parameters=entry.parameters,
        body=body,
        content_type=content_type,
        headers={name: value for name, value in given.items() if value is not None},
        # An entry is answered in its place, not later.
        prefer=replace(whole.prefer, respond_async=False) if whole.prefer.respond_async else whole.prefer,
        operation=entry.operation.removeprefix("$") if entry.operation else None,
    )


def patch_of(resource: dict[str, Any], expression: str) -> tuple[bytes, str]:
    """Body and format of a patch: a Parameters as it is, a Binary unwrapped to the JSON Patch in it."""
    if resource["resourceType"] != "Binary":
        return json.dumps(resource), "json"
    try:
        return base64.b64decode(resource.get("data") or "", validate=True), "json-patch"
    except ValueError:
        raise BadRequest(
            Issue("value", "The data of the Binary is not base64.", f"{expression}.resource.data")
        ) from None


def answered(request: FhirRequest, result: FhirResult) -> Answered:
    """What an interaction answered, as an entry."""
    headers = result.headers
    location = headers.get("location") or headers.get("content-location")
    modified = headers.get("last-modified")
    about = request.prefer.returns == "OperationOutcome" and request.interaction in WRITES
    return Answered(
        result.status,
        location.removeprefix(request.base + "/") if location else None,
        headers.get("etag"),
        instant(microseconds(parsedate_to_datetime(modified))) if modified else None,
        None if about else result.body or None,
        result.body or None if about else None,
    )


def failed(status: int, issues: Sequence[Issue]) -> Answered:
    """An entry that went wrong."""
    return Answered(status, outcome=json.dumps(outcome(issues)))


def named(error: FhirError, expression: str) -> FhirError:
    """``error`` with the entry it happened in: ``Patient.name`` becomes ``Bundle.entry[3].resource.name``."""
    error.issues = tuple(_placed(issue, expression) for issue in error.issues)
    return error


def _placed(issue: Issue, entry: str) -> Issue:
    return replace(issue, expression=placed(issue.expression, entry))


def placed(expression: str | None, entry: str) -> str:
    """The expression of an issue of one resource, as seen from the Bundle."""
    if expression is None:
        return entry
    if expression.startswith("Bundle.entry["):
        return expression
    _, dot, rest = expression.partition(".")
    return f"{entry}.resource{dot}{rest}" if expression[:1].isupper() and "?" not in expression else entry


async def problems(hub: Hub, bundle: dict[str, Any]) -> tuple[list[Issue], dict[int, list[Issue]]]:
    """What is wrong with the structure of ``bundle``: outside its entries, and entry by entry."""
    listed = bundle.get("entry")
    entries = listed if type(listed) is list else []
    shell = {**bundle, "entry": [_without_resource(entry) for entry in entries]} if entries else bundle
    whole: list[Issue] = []
    found: dict[int, list[Issue]] = {}
    for issue in hub.validator.validate(shell):
        number = _entry_number(issue.expression)
        (whole if number is None else found.setdefault(number, [])).append(issue)
    for number, entry in enumerate(entries):
        if number % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        resource = entry.get("resource") if type(entry) is dict else None
        if type(resource) is dict:
            issues = hub.validator.validate(resource) or _unserved(hub, resource)
            if issues:
                place = f"Bundle.entry[{number}]"
                found.setdefault(number, []).extend(_placed(issue, place) for issue in issues)
    return whole, found


def _unserved(hub: Hub, resource: dict[str, Any]) -> list[Issue]:
    """What keeps a search parameter from being served."""
    try:
        check_served(hub, resource)
    except Unprocessable as error:
        return list(error.issues)
    return []


def _without_resource(entry: Any) -> Any:
    # A resource of a type nobody knows must still be reported, so only objects are taken out.
    if type(entry) is not dict or type(entry.get("resource")) is not dict:
        return entry
    return {name: value for name, value in entry.items() if name != "resource"}


def _entry_number(expression: str | None) -> int | None:
    if not expression or not expression.startswith("Bundle.entry["):
        return None
    digits = expression[len("Bundle.entry[") :].partition("]")[0]
    return int(digits) if digits.isdecimal() else None
