"""What a Reference may lead to (https://hl7.org/fhir/R4/references.html)."""

from __future__ import annotations

import re
from typing import Any

from fhirhub.definitions.tables import Property
from fhirhub.validation.problems import Issues, ObjectCheck, Place, add, listed, nearest, shown

_RELATIVE = re.compile(r"([A-Za-z]+)/([^/?#|]*)(?:/_history/([^/?#|]*))?")
_CONDITIONAL = re.compile(r"([A-Za-z]+)\?.")
_ABSOLUTE = re.compile(
    r"https?://.*/([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

WIDENED: dict[str, tuple[str, ...]] = {
    # Published R4 examples refer to these against the definitions; what HL7 shows is taken.
    "DeviceMetric.parent": ("DeviceDefinition",),
    "DeviceUseStatement.reasonReference": ("Procedure",),
    "MedicationRequest.dispenseRequest.performer": ("Practitioner",),
    "Observation.performer": ("Encounter",),
}
"""Element path -> targets allowed besides those of the definition."""


def target_check(held: Property, resource_types: tuple[str, ...]) -> ObjectCheck:
    """The check of a Reference property: where its literal reference and its ``type`` lead."""
    known = frozenset(resource_types)
    targets, label = held.type.targets, held.name
    allowed = frozenset((*targets, *WIDENED.get(held.element.path, ()))) if targets else known

    def check(value: dict[str, Any], place: Place, issues: Issues) -> None:
        text = value.get("reference")
        if type(text) is str:
            # 'Patient/1' with an allowed type is nearly all there is; everything else is looked at closely.
            type_, slash, id_ = text.partition("/")
            if not (slash and type_ in allowed and _ID.fullmatch(id_)):
                type_ = _look(text, known, (place, "reference", -1), issues, label)
                if type_ in known and type_ not in allowed:
                    _refuse_target(text, type_, targets, (place, "reference", -1), issues, label)
        else:
            type_ = ""
        if "type" in value:
            _check_type(value["type"], type_, known, allowed, targets, (place, "type", -1), issues, label)

    return check


def _look(text: str, known: frozenset[str], place: Place, issues: Issues, label: str) -> str:
    """The resource type that the reference ``text`` names, "" when it names none; reports what is
    malformed."""
    if found := _RELATIVE.fullmatch(text):
        type_, *ids = found.groups()
        if type_ not in known:
            near = nearest(type_, known)
            hint = f"did you mean {near}?" if near else "write it as Type/id, for example Patient/123."
            add(issues, "value", place, f"{label}: {shown(text)} names no resource type of R4; {hint}")
        elif any(one is not None and not _ID.fullmatch(one) for one in ids):
            remedy = "use 1 to 64 letters, digits, '-' and '.'"
            add(issues, "value", place, f"{label}: {shown(text)} has no valid id after the type; {remedy}.")
        return type_
    found = _CONDITIONAL.match(text) or _ABSOLUTE.fullmatch(text)
    return found.group(1) if found else ""


def _refuse_target(
    text: str, type_: str, targets: tuple[str, ...], place: Place, issues: Issues, label: str
) -> None:
    wanted = listed(targets)
    add(
        issues,
        "value",
        place,
        f"{label} must not refer to {type_} ({shown(text)}); it may refer to {wanted}.",
    )


def _check_type(
    named: Any,
    type_: str,
    known: frozenset[str],
    allowed: frozenset[str],
    targets: tuple[str, ...],
    place: Place,
    issues: Issues,
    label: str,
) -> None:
    """Check Reference.type: a resource type of R4, allowed here, and the one that the literal reference leads
    to."""
    if type(named) is not str or ":" in named:
        return  # an absolute URI names a logical model; a value that is no string has been reported already
    if named not in known:
        near = nearest(named, known)
        hint = f"did you mean {near}?" if near else "use the name of a resource type such as Patient."
        add(issues, "value", place, f"{label}: {shown(named)} is no resource type of R4; {hint}")
    elif named not in allowed:
        _refuse_target(named, named, targets, place, issues, label)
    elif type_ in allowed and type_ != named:
        add(
            issues,
            "value",
            place,
            f"{label}: type {named} contradicts the reference, which leads to {type_}.",
        )
