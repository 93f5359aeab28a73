"""What an object must have, and what it must not have together
(https://hl7.org/fhir/R4/conformance-rules.html#cardinality)."""

from __future__ import annotations

from typing import Any

from fhirhub.definitions.tables import Element, TypeDef
from fhirhub.validation.problems import Issues, ObjectCheck, Place, add, listed


def object_rules(definition: TypeDef) -> tuple[ObjectCheck, ...]:
    """The rules about an object of this type as a whole, besides those of its single properties."""
    rules: list[ObjectCheck] = []
    for element in definition.elements:
        names = _names(definition, element)
        if element.min:
            rules.append(_required(element, names))
        if len(names) > 1:
            rules.append(_one_of(element, names))
    if definition.name == "Extension":
        rules.append(_extension)
    return tuple(rules)


def plain_required(definition: TypeDef) -> tuple[str, ...]:
    """The names of required elements that are no choice: for a quick look before the rules are asked."""
    return tuple(element.name for element in definition.elements if element.min and not element.is_choice)


def choices(definition: TypeDef) -> tuple[frozenset[str], ...]:
    """For each choice element all property names that give it a value, those with ``_`` included."""
    return tuple(
        frozenset(own for name in names for own in (name, f"_{name}"))
        for element in definition.elements
        if len(names := _names(definition, element)) > 1
    )


def required_choices(definition: TypeDef) -> tuple[frozenset[str], ...]:
    """Like :func:`choices`, of those that must be there."""
    return tuple(
        frozenset(own for name in _names(definition, element) for own in (name, f"_{name}"))
        for element in definition.elements
        if element.is_choice and element.min
    )


def _names(definition: TypeDef, element: Element) -> tuple[str, ...]:
    return tuple(name for name, held in definition.properties.items() if held.element is element)


def _required(element: Element, names: tuple[str, ...]) -> ObjectCheck:
    every = frozenset(own for name in names for own in (name, f"_{name}"))
    written = f"add {names[0]}" if len(names) == 1 else f"add one of {listed(names, 6)}"

    def check(value: dict[str, Any], place: Place, issues: Issues) -> None:
        if every.isdisjoint(value):
            add(issues, "required", (place, element.name, -1), f"{element.path} is required; {written}.")

    return check


def _one_of(element: Element, names: tuple[str, ...]) -> ObjectCheck:
    named = {own: name for name in names for own in (name, f"_{name}")}

    def check(value: dict[str, Any], place: Place, issues: Issues) -> None:
        found = sorted({named[name] for name in value if name in named})
        if len(found) > 1:
            text = (
                f"{element.path} takes one value, but {' and '.join(found[:4])} are given; keep one of them."
            )
            add(issues, "structure", (place, element.name, -1), text)

    return check


def _extension(value: dict[str, Any], place: Place, issues: Issues) -> None:
    """ext-1: an extension has a value or extensions of its own, not both and not neither."""
    valued = any(name.startswith(("value", "_value")) for name in value)
    if valued and "extension" in value:
        text = "An extension has a value or further extensions, not both; put one of them elsewhere."
        add(issues, "structure", place, text)
    elif not valued and "extension" not in value:
        text = "An extension needs a value (valueString …) or extensions of its own; this one has neither."
        add(issues, "required", place, text)
