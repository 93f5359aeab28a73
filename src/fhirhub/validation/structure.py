"""The shape of a document, compiled from the tables: one closure for each property of each type.

A closure carries everything it needs to know, so that a good document costs a dictionary look-up and a call
for each of its properties and no path is ever written. Types are compiled when they are first met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhirhub.definitions.tables import Definitions, Element, Property, TypeDef
from fhirhub.validation import cardinality, primitive_property, resources
from fhirhub.validation.binding import Binding, concept_check
from fhirhub.validation.primitive import PRIMITIVES
from fhirhub.validation.problems import (
    Check,
    Issues,
    ObjectCheck,
    Place,
    add,
    empty_object,
    listed,
    nearest,
    not_an_array,
    not_repeated,
    shortened,
    wrong_kind,
)
from fhirhub.validation.reference import target_check

_CONCEPTS = frozenset({"CodeableConcept", "Coding", "Quantity"})


class Compiler:
    """Makes and keeps the checks of types."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self._checks: dict[str, ObjectCheck] = {}
        self._bindings: dict[str, Binding] = {}

    def type_check(self, name: str) -> ObjectCheck:
        """The check of an object of type ``name`` (a key of ``Definitions.types``)."""
        check = self._checks.get(name)
        if check is None:
            if name == "Resource":
                check = resources.any_resource(self.definitions, self.type_check)
            else:
                check = self._compile(self.definitions.types[name])
            self._checks[name] = check
        return check

    def binding(self, url: str) -> Binding:
        """The checks of a value set, shared by all elements bound to it."""
        if url not in self._bindings:
            self._bindings[url] = Binding(self.definitions, url)
        return self._bindings[url]

    def _compile(self, definition: TypeDef) -> ObjectCheck:
        tests: dict[str, Check] = {}
        if definition.kind == "resource":
            tests["resourceType"] = _nothing
        for name, held in definition.properties.items():
            tests[name], sibling = self._property(held)
            if sibling:
                tests[f"_{name}"] = sibling
        return _object_check(definition, tests)

    def _property(self, held: Property) -> tuple[Check, Check | None]:
        element, repeats = held.element, held.element.max != 1
        primitive = PRIMITIVES.get(held.type_name)
        if primitive:
            binding = self.binding(element.binding) if element.binding else None
            check = primitive_property.property_check(
                held, primitive, binding if binding and binding.checked else None
            )
            return check, primitive_property.sibling_check(held, self.type_check)
        if element.name == "contained" and held.type_name == "Resource":
            extra: ObjectCheck | None = resources.contained
        else:
            extra = self._extra(held, element)
        if repeats:
            return _repeated(held, self.type_check, extra), None
        return _single(held, self.type_check, extra), None

    def _extra(self, held: Property, element: Element) -> ObjectCheck | None:
        """The check of a value beyond its own type: where a reference leads, whether a concept is in its
        value set."""
        if held.type_name == "Reference":
            return target_check(held, self.definitions.resource_types)
        if element.binding and held.type_name in _CONCEPTS:
            return concept_check(self.binding(element.binding), held.type_name, held.name)
        return None


def _nothing(value: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
    """resourceType has been read before its object is looked at."""


def _object_check(definition: TypeDef, tests: dict[str, Check]) -> ObjectCheck:
    required = cardinality.plain_required(definition)
    choices = cardinality.choices(definition)
    needed = cardinality.required_choices(definition)
    rules = cardinality.object_rules(definition)
    extension = definition.name == "Extension"
    label = definition.name
    get = tests.get

    def check(value: dict[str, Any], place: Place, issues: Issues) -> None:
        if not value:
            empty_object(place, issues, label)
            return
        for name, item in value.items():
            test = get(name)
            if test is None:
                _unknown(name, tests, definition, place, issues)
            else:
                test(item, value, place, issues)
        # The rules are asked only when a quick look finds something odd.
        # A url and one thing besides it is what nearly every extension is.
        odd = extension and (len(value) != 2 or "id" in value)
        for name in required:
            if name not in value:
                odd = True
        for names in needed:
            if names.isdisjoint(value):
                odd = True
        if choices and len(value) > 1:
            keys = value.keys()
            for names in choices:
                if len(keys & names) > 1:
                    odd = True
        if odd:
            for rule in rules:
                rule(value, place, issues)

    def simple(value: dict[str, Any], place: Place, issues: Issues) -> None:
        for name, item in value.items():
            test = get(name)
            if test is None:
                _unknown(name, tests, definition, place, issues)
            else:
                test(item, value, place, issues)
        if not value:
            empty_object(place, issues, label)

    return check if rules else simple


def _unknown(name: str, tests: dict[str, Check], definition: TypeDef, place: Place, issues: Issues) -> None:
    owner = definition.name
    if name.startswith("_") and name[1:] in tests:
        text = (
            f"{shortened(name)} has no meaning: {name[1:]} is not a primitive; put id and extension into it."
        )
        add(issues, "structure", (place, name, -1), text)
        return
    known = [one for one in tests if one[0] != "_" and one != "resourceType"]
    if name == "resourceType":
        remedy = "remove it; only resources have one"
    elif choice := next((one for one in definition.elements if one.is_choice and one.name == name), None):
        names = [one for one, held in definition.properties.items() if held.element is choice]
        remedy = f"write its type into the name: {listed(names, 6)}"
    elif near := nearest(name, known):
        remedy = f"did you mean {near}?"
    else:
        remedy = f"remove it, or use one of {listed(known, 8)}"
    text = f"{shortened(name)} is no element of {owner}; {remedy}" + ("" if remedy.endswith("?") else ".")
    add(issues, "structure", (place, name, -1), text)


def _single(held: Property, type_check: Callable[[str], ObjectCheck], extra: ObjectCheck | None) -> Check:
    name, label, type_name = held.element.name, held.name, held.type_name
    check: ObjectCheck | None = None

    def test(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        nonlocal check
        here = (place, name, -1)
        if type(item) is dict:
            if check is None:
                check = type_check(type_name)
            check(item, here, issues)
            if extra is not None and item:
                extra(item, here, issues)
        elif type(item) is list:
            not_repeated(here, issues, label, "the object")
        else:
            wrong_kind(item, here, issues, label, f"an object ({type_name})")

    return test


def _repeated(held: Property, type_check: Callable[[str], ObjectCheck], extra: ObjectCheck | None) -> Check:
    name, label, type_name, most = held.element.name, held.name, held.type_name, held.element.max
    check: ObjectCheck | None = None

    def test(item: Any, holder: dict[str, Any], place: Place, issues: Issues) -> None:
        nonlocal check
        if type(item) is not list or not item:
            not_an_array(item, (place, name, -1), issues, label)
            return
        if check is None:
            check = type_check(type_name)
        if 0 <= most < len(item):
            add(
                issues,
                "structure",
                (place, name, -1),
                f"{label} takes at most {most} values, not {len(item)}.",
            )
        index = 0
        for one in item:
            here = (place, name, index)
            if type(one) is dict:
                check(one, here, issues)
                if extra is not None and one:
                    extra(one, here, issues)
            else:
                wrong_kind(one, here, issues, label, f"an array of objects ({type_name})")
            index += 1

    return test
