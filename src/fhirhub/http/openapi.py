"""The HTTP interface as OpenAPI 3.1, made from what is claimed; one path per shape, not one per resource type."""

from __future__ import annotations

from typing import Any

from fhirhub.capability import ANY, Capability
from fhirhub.definitions.tables import Definitions

_FHIR = "application/fhir+json"
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}


def description(capability: Capability, definitions: Definitions, version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    about = capability.claims["statement"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": about["title"],
            "version": version,
            "description": f"{about['description']} What each type can do stands in /fhir/metadata; "
            "errors are OperationOutcomes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(definitions) | _operations(capability),
        "components": {
            "schemas": {
                "Type": {"type": "string", "enum": list(definitions.resource_types)},
                "Resource": {"type": "object", "required": ["resourceType"], "properties": {"resourceType": _TEXT}},
            }
        },
    }  # fmt: skip


def _operations(capability: Capability) -> dict[str, Any]:
    """The paths of the operations, each on the levels it is offered on."""
    found: dict[str, Any] = {}
    for one in capability.claims["operations"]:
        name, type = one["name"], one.get("type", "")
        text = one.get("documentation") or f"See {one['definition']} for its parameters."
        call = _call(f"${name} of {type}" if type else f"${name}", text, [])
        calls = {"post": call} if one.get("affectsState") else {"get": call}
        if "system" in one["levels"]:
            found[f"/fhir/${name}"] = calls
        if "type" in one["levels"] and type == ANY:
            found[f"/fhir/{{type}}/${name}"] = {"parameters": [_path("type", _TYPE_REFERENCE)], **calls}
        elif "type" in one["levels"]:
            found[f"/fhir/{type}/${name}"] = calls
        if "instance" in one["levels"]:
            found[f"/fhir/{type}/{{id}}/${name}"] = {"parameters": [_path("id", _ID)], **calls}
    return found


_ID = {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}
_TYPE_REFERENCE = {"$ref": "#/components/schemas/Type"}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": _TEXT}


def _call(
    summary: str,
    text: str,
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    ok: str = "200",
) -> dict[str, Any]:
    resource = {_FHIR: {"schema": {"$ref": "#/components/schemas/Resource"}}}
    call: dict[str, Any] = {
        "summary": summary,
        "description": text,
        "tags": ["FHIR"],
        "responses": {
            ok: {"description": "Done", "content": resource} if ok != "204" else {"description": "Done"},
            "default": {"description": "An OperationOutcome that says what is wrong", "content": resource},
        },
    }
    if parameters:
        call["parameters"] = parameters
    if body is not None:
        call["requestBody"] = {
            "required": True,
            "content": resource if body == _FHIR else {body: {"schema": {}}},
        }
    return call


def _paths(definitions: Definitions) -> dict[str, Any]:
    type, id = _path("type", _TYPE_REFERENCE), _path("id", _ID)
    page = [_query("_count", _NUMBER), _query("_since", _TEXT)]
    search = [
        _query("_count", _NUMBER),
        _query("_sort", _TEXT),
        _query("_include", _TEXT),
        _query("_revinclude", _TEXT),
        _query("_total", {"enum": ["none", "estimate", "accurate"]}),
        _query("_summary", {"enum": ["true", "text", "data", "count", "false"]}),
        _query("_elements", _TEXT),
    ]
    form = "application/x-www-form-urlencoded"
    return {
        "/fhir": {
            "post": _call("Batch or transaction", "A Bundle of type batch or transaction.", None, _FHIR)
        },
        "/fhir/metadata": {"get": _call("Capabilities", "What this server can do.")},
        "/fhir/_history": {"get": _call("History of everything", "Newest first.", page)},
        "/fhir/{type}": {
            "parameters": [type],
            "get": _call("Search", "Any search parameter of the type, too.", search),
            "post": _call("Create", "The server chooses the id.", [_header("If-None-Exist")], _FHIR, "201"),
            "put": _call("Conditional update", "The search criteria stand in the query.", None, _FHIR),
            "patch": _call(
                "Conditional patch", "JSON Patch or FHIRPath Patch.", None, "application/json-patch+json"
            ),
            "delete": _call("Conditional delete", "All that match.", None, None, "204"),
        },
        "/fhir/{type}/_search": {
            "parameters": [type],
            "post": _call("Search by form", "As by GET.", None, form),
        },
        "/fhir/{type}/_history": {
            "parameters": [type],
            "get": _call("History of a type", "Newest first.", page),
        },
        "/fhir/{type}/{id}": {
            "parameters": [type, id],
            "get": _call("Read", "304 when the caller has it.", [_header("If-None-Match")]),
            "put": _call(
                "Update or create", "If-Match guards against lost updates.", [_header("If-Match")], _FHIR
            ),
            "patch": _call(
                "Patch", "JSON Patch or FHIRPath Patch.", [_header("If-Match")], "application/json-patch+json"
            ),
            "delete": _call("Delete", "Its history stays.", [_header("If-Match")], None, "204"),
        },
        "/fhir/{type}/{id}/_history": {
            "parameters": [type, id],
            "get": _call("History", "Newest first.", page),
        },
        "/fhir/{type}/{id}/_history/{version}": {
            "parameters": [type, id, _path("version", _NUMBER)],
            "get": _call("Read a version", "As it was."),
        },
    }
