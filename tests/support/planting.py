"""Resources made to be found by one search parameter, from the published expressions alone.

The expressions are read here once more, plainly, so that a mistake of :mod:`fhirhub.fhirpath` shows itself as a
resource that is not found. https://hl7.org/fhir/R4/searchparameter-registry.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fhirhub.definitions.tables import Definitions, Element, Property

Document = dict[str, Any]

FILLERS: dict[str, Any] = {
    "base64Binary": "AAAA", "boolean": True, "canonical": "http://filler.test/x", "code": "en", "date": "2001-02-03",
    "dateTime": "2001-02-03", "decimal": 7, "id": "filler", "instant": "2001-02-03T04:05:06Z", "integer": 7,
    "markdown": "filler", "oid": "urn:oid:1.2.3", "positiveInt": 7, "string": "filler", "time": "04:05:06",
    "unsignedInt": 7, "uri": "http://filler.test/x", "url": "http://filler.test/x",
    "uuid": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "xhtml": '<div xmlns="http://www.w3.org/1999/xhtml">f</div>',
}  # fmt: skip
"""A value of each primitive type that nobody looks for."""
SYNTAX_CODES = {
    "http://hl7.org/fhir/ValueSet/mimetypes": "text/plain",
    "http://hl7.org/fhir/ValueSet/currencies": "USD",
}
"""A code of the value sets that cannot be enumerated."""
INERT: dict[str, Document] = {"SearchParameter": {"status": "draft"}}
"""What keeps a resource from having an effect of its own."""

_STEP = re.compile(
    r"extension\('(?P<extension>[^']+)'\)|where\(resolve\(\) is (?P<only>\w+)\)|where\(hasExtension\('(?P<has>[^']+)'\)\)"
    r"|where\((?P<name>\w+)='(?P<value>[^']+)'\)|(?:as|ofType)\((?P<type>\w+)\)|(?P<member>%?\w+)(?:\[(?P<index>\d+)\])?"
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an expression: ``kind`` is member, as, where, only, has or extension."""

    kind: str
    name: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An element that an expression leads to.

    ``steps`` are (JSON property, what else its object must hold) from the resource down; ``only`` is the type
    that a reference must lead to.
    """

    steps: tuple[tuple[Property, tuple[Step, ...]], ...]
    type_name: str
    element: Element | None
    only: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The JSON properties."""
        return tuple(step.name for step, _ in self.steps)


def alternatives(expression: str) -> list[str]:
    """The pieces between ``|``."""
    return [piece.strip() for piece in expression.split("|") if piece.strip()]


def read(text: str) -> list[Step]:
    """The steps of one alternative: ``(A.b as C).d`` is a, b, as C, d."""
    text = re.sub(r"\(([\w.]+) as (\w+)\)", r"\1.as(\2)", text)
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(text)
        steps.append(_step(found))
        at = found.end() + 1
    return steps


def _step(found: re.Match[str]) -> Step:
    groups = found.groupdict()
    if groups["extension"]:
        return Step("extension", "extension", groups["extension"])
    if groups["only"]:
        return Step("only", groups["only"])
    if groups["has"]:
        return Step("has", "extension", groups["has"])
    if groups["name"]:
        return Step("where", groups["name"], groups["value"])
    return Step("as", groups["type"]) if groups["type"] else Step("member", groups["member"])


class Planter:
    """Makes resources that hold chosen values."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions

    # -- where an expression leads ---------------------------------------------------------------------------

    def leaves(self, type_name: str, text: str) -> Iterator[Leaf]:
        """The elements that one alternative leads to from ``type_name``; choice elements spelt out."""
        steps = read(text)
        if steps and steps[0].kind == "member" and steps[0].name in (type_name, "Resource", "DomainResource"):
            steps = steps[1:]
        yield from self._follow(Leaf((), type_name, None), steps)

    def _follow(self, leaf: Leaf, steps: list[Step]) -> Iterator[Leaf]:
        if not steps:
            yield leaf
            return
        step, rest = steps[0], steps[1:]
        if step.kind == "only":
            yield from self._follow(Leaf(leaf.steps, leaf.type_name, leaf.element, step.name), rest)
        elif step.kind in ("where", "has"):
            last, more = leaf.steps[-1]
            yield from self._follow(
                Leaf((*leaf.steps[:-1], (last, (*more, step))), leaf.type_name, leaf.element), rest
            )
        elif step.kind == "as":
            if leaf.type_name == step.name:
                yield from self._follow(leaf, rest)
        else:
            for found, more in self._children(leaf.type_name, step):
                yield from self._follow(
                    Leaf((*leaf.steps, (found, more)), found.type_name, found.element), rest
                )

    def _children(self, type_name: str, step: Step) -> Iterator[tuple[Property, tuple[Step, ...]]]:
        more = (Step("where", "url", step.value),) if step.kind == "extension" else ()
        for found in self.definitions.types[type_name].properties.values():
            if found.element.name == step.name:
                yield found, more

    # -- documents ---------------------------------------------------------------------------------------

    def minimal(self, type_name: str) -> Document:
        """The elements that a type must have; a resource without its id."""
        made: Document = {}
        definition = self.definitions.types[type_name]
        if definition.kind == "resource":
            made["resourceType"] = type_name
        for element in definition.elements:
            if element.min:
                found = self._simplest(type_name, element)
                value = self.filler(found)
                made[found.name] = value if element.max == 1 else [value] * element.min
        return made | INERT.get(type_name, {})

    def _simplest(self, type_name: str, element: Element) -> Property:
        found = [
            each for each in self.definitions.types[type_name].properties.values() if each.element == element
        ]
        return min(found, key=lambda each: (each.type_name not in FILLERS, each.name))

    def filler(self, found: Property) -> Any:
        """A value that nobody looks for."""
        codes = self.codes(found.element)
        if found.type_name == "Reference":
            return {"reference": f"{(found.type.targets or ('Patient',))[0]}/base"}
        if codes and found.type_name == "code":
            return codes[0][1]
        if codes and found.type_name == "Coding":
            return {"system": codes[0][0], "code": codes[0][1]}
        if codes and found.type_name == "CodeableConcept":
            return {"coding": [{"system": codes[0][0], "code": codes[0][1]}]}
        if found.type_name in FILLERS:
            return FILLERS[found.type_name]
        return self.minimal(found.type_name) or {
            "extension": [{"url": "http://filler.test/x", "valueCode": "x"}]
        }

    def codes(self, element: Element | None) -> list[tuple[str, str]]:
        """(system, code) of a required binding, sorted; [] when any will do."""
        if element is None or element.binding is None:
            return []
        if element.binding in SYNTAX_CODES:
            return [("", SYNTAX_CODES[element.binding])]
        return sorted(self.definitions.value_set(element.binding) or ())

    def plant(self, document: Document, leaf: Leaf, value: Any) -> Any:
        """Put ``value`` where ``leaf`` leads, and what has to be around it; the object it was put into."""
        place = document
        for found, more in leaf.steps[:-1]:
            place = self._enter(place, found, more)
        found, more = leaf.steps[-1]
        if isinstance(value, dict):
            value = {**value, **{step.name: step.value for step in more if step.kind == "where"}}
        self._without_siblings(place, found)
        place[found.name] = value if found.element.max == 1 else [value]
        return place

    def _enter(self, place: Document, found: Property, more: tuple[Step, ...]) -> Document:
        self._without_siblings(place, found)
        held = place.get(found.name)
        inner = held[0] if isinstance(held, list) else held
        if inner is None:
            inner = self.minimal(found.type_name)
            place[found.name] = inner if found.element.max == 1 else [inner]
        for step in more:
            if step.kind == "has":
                inner["extension"] = [{"url": step.value, "valueBoolean": True}]
            else:
                inner[step.name] = step.value
        return inner

    def _without_siblings(self, place: Document, found: Property) -> None:
        """A choice element has one value."""
        for other in [name for name in place if name != found.name]:
            if other.startswith(found.element.name) and found.element.is_choice:
                name = other[len(found.element.name) :]
                if name[:1].isupper():
                    del place[other]


def reached(document: Any, names: tuple[str, ...]) -> bool:
    """Whether there is anything at the end of ``names``."""
    values = [document]
    for name in names:
        inner = [each[name] for each in values if isinstance(each, dict) and name in each]
        values = [item for each in inner for item in (each if isinstance(each, list) else [each])]
    return bool(values)
