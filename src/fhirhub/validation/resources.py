"""Places that hold a whole resource: the document itself, contained resources, Bundle entries, Parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.validation.problems import Issues, ObjectCheck, Place, add, nearest, shown


def any_resource(definitions: Definitions, type_check: Callable[[str], ObjectCheck]) -> ObjectCheck:
    """The check of an object that says by ``resourceType`` what it is."""
    known = frozenset(definitions.resource_types)
    checks: dict[str, ObjectCheck] = {}

    def check(value: dict[str, Any], place: Place, issues: Issues) -> None:
        name = value.get("resourceType")
        if type(name) is str and name in known:
            found = checks.get(name)
            if found is None:
                found = checks[name] = type_check(name)
            found(value, place, issues)
        else:
            _refuse(name, definitions, place, issues)

    return check


def _refuse(name: Any, definitions: Definitions, place: Place, issues: Issues) -> None:
    if name is None:
        text = 'resourceType is required; say what the resource is, for example "resourceType": "Patient".'
        add(issues, "required", place, text)
        return
    near = nearest(name, definitions.resource_types) if type(name) is str else None
    remedy = f"did you mean {near}?" if near else "use the name of a resource type such as Patient."
    add(issues, "structure", place, f"resourceType {shown(name)} is no resource type of R4; {remedy}")


def contained(value: dict[str, Any], place: Place, issues: Issues) -> None:
    """The rules of a contained resource (https://hl7.org/fhir/R4/references.html#contained)."""
    if "contained" in value:
        text = "A contained resource must not contain further resources; put them beside it."
        add(issues, "structure", (place, "contained", -1), text)
    if "id" not in value:
        text = 'A contained resource needs an id, so that "#id" can refer to it.'
        add(issues, "required", (place, "id", -1), text)
