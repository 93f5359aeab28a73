"""Properties with primitive values and their ``_name`` siblings
(https://hl7.org/fhir/R4/json.html#primitive).

``"birthDate": "1970"`` may have ``"_birthDate": {"extension": […]}`` beside it. Where the element repeats
both are arrays of the same length, and null in one stands for what only the other has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jiter import LosslessFloat

from fhirhub.definitions.tables import Property
from fhirhub.validation.binding import Binding
from fhirhub.validation.primitive import JSON_KIND, Primitive, has_type
from fhirhub.validation.problems import (
    Check,
    Issues,
    ObjectCheck,
    Place,
    add,
    not_an_array,
    not_repeated,
    shown,
    wrong_kind,
)


def property_check(held: Property, primitive: Primitive, binding: Binding | None) -> Check:
    """The check of the values of a property with type ``primitive``, in its value set when it is bound."""
    value_check = _value_check(held, primitive, binding)
    if held.element.max != 1:
        return _repeated(held, primitive, binding.quick if binding else primitive.quick, value_check)
    if primitive.json_type is float:
        return _single_decimal(held, primitive, value_check)
    return _single(held, primitive, binding.quick if binding else primitive.quick, value_check)


def _value_check(
    held: Property, primitive: Primitive, binding: Binding | None
) -> Callable[[Any, Place, Issues], None]:
    """The whole rule for one value, asked when the quick test is not satisfied."""
    label, kind = held.name, JSON_KIND[primitive.json_type]

    def check(value: Any, place: Place, issues: Issues) -> None:
        if not has_type(primitive.json_type, value):
            wrong_kind(value, place, issues, label, f"{kind} ({primitive.name})")
            return
        problem = primitive.problem(value)
        if problem:
            add(issues, "value", place, f"{label} {shown(value)} {problem}.")
        elif binding and not binding.quick(value):
            binding.refuse_code(value, place, issues, label)

    return check


def _single(
    held: Property,
    primitive: Primitive,
    quick: Callable[[Any], Any],
    value_check: Callable[[Any, Place, Issues], None],
) -> Check:
    name, json_type, label = held.element.name, primitive.json_type, held.name

    def test(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        if type(item) is json_type and quick(item):
            return
        if type(item) is list:
            not_repeated((place, name, -1), issues, label, "the value")
        else:
            value_check(item, (place, name, -1), issues)

    return test


def _single_decimal(
    held: Property, primitive: Primitive, value_check: Callable[[Any, Place, Issues], None]
) -> Check:
    name, quick, label = held.element.name, primitive.quick, held.name

    def test(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        if (type(item) is LosslessFloat or type(item) is int) and quick(item):
            return
        if type(item) is list:
            not_repeated((place, name, -1), issues, label, "the value")
        else:
            value_check(item, (place, name, -1), issues)

    return test


def _repeated(
    held: Property,
    primitive: Primitive,
    quick: Callable[[Any], Any],
    value_check: Callable[[Any, Place, Issues], None],
) -> Check:
    name, json_type, label = held.element.name, primitive.json_type, held.name
    sibling_name = f"_{label}"

    def test(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        if type(item) is not list or not item:
            not_an_array(item, (place, name, -1), issues, label)
            return
        index = 0
        for one in item:
            if not (type(one) is json_type and quick(one)):
                here = (place, name, index)
                if one is None:
                    _null(holder.get(sibling_name), index, here, issues, label)
                elif type(one) is list:
                    not_repeated(here, issues, label, "the values")
                else:
                    value_check(one, here, issues)
            index += 1

    return test


def _null(siblings: Any, index: int, place: Place, issues: Issues, label: str) -> None:
    """Null among values is good when the sibling has something to say at the same position."""
    if type(siblings) is list and index < len(siblings) and type(siblings[index]) is dict:
        return
    text = f"{label} must not contain null, except where _{label} has an extension at the same position."
    add(issues, "structure", place, text)


def sibling_check(held: Property, type_check: Callable[[str], ObjectCheck]) -> Check:
    """The check of ``_name``: ids and extensions of the values of ``name``."""
    name, label, type_name, repeats = held.element.name, held.name, held.type_name, held.element.max != 1
    sibling = f"_{label}"

    def single(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        here = (place, name, -1)
        if type(item) is dict:
            type_check(type_name)(item, here, issues)
        elif type(item) is list:
            not_repeated(here, issues, sibling, "the object")
        else:
            wrong_kind(item, here, issues, sibling, "an object with id or extension")

    def repeated(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        if type(item) is not list or not item:
            not_an_array(item, (place, name, -1), issues, sibling)
            return
        values = holder.get(label)
        if type(values) is list and values and len(values) != len(item):
            text = f"{label} has {len(values)} entries and {sibling} {len(item)}; fill up with null."
            add(issues, "structure", (place, name, -1), text)
        for index, one in enumerate(item):
            here = (place, name, index)
            if type(one) is dict:
                type_check(type_name)(one, here, issues)
            elif one is not None:
                wrong_kind(one, here, issues, sibling, "an array of objects or null")
            elif label not in holder:
                text = f"{sibling} has null at a position where {label} has no value either; remove it."
                add(issues, "structure", here, text)

    return repeated if repeats else single
