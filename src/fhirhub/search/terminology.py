"""Which codes a ValueSet holds and what is below a code in a CodeSystem, from the resources as they are stored.

https://hl7.org/fhir/R4/valueset.html, https://hl7.org/fhir/R4/codesystem.html. Value sets are evaluated as far as
stored code systems tell; what they would need beyond that is said, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhirhub.errors import BadRequest, Issue

Code = tuple[str, str]
"""(system, code)."""
MOST = 5000
"""Codes that one search can ask for."""
DEEPEST = 8
"""Value sets that import each other."""


class NotKnown(BadRequest):
    """A value set, a code system or a rule in one that is not known here."""


def not_known(text: str) -> NotKnown:
    """A 400 that says what is missing and what to do."""
    return NotKnown(Issue("not-found", text))


@dataclass(slots=True)
class Hierarchy:
    """The codes of a code system: each with its properties and the codes right above it."""

    parents: dict[str, set[str]] = field(default_factory=dict)
    properties: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def ancestors(self, code: str) -> set[str]:
        """``code`` and all that is above it."""
        return _closure(code, self.parents)

    def descendants(self, code: str) -> set[str]:
        """``code`` and all that is below it."""
        children: dict[str, set[str]] = {}
        for child, parents in self.parents.items():
            for parent in parents:
                children.setdefault(parent, set()).add(child)
        return _closure(code, children)


def _closure(start: str, onward: Mapping[str, Iterable[str]]) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        for each in onward.get(frontier.pop(), ()):
            if each not in found:
                found.add(each)
                frontier.append(each)
    return found


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if type(value) is list:
        yield from (each for each in value if type(each) is dict)


def hierarchy(document: Mapping[str, Any]) -> Hierarchy:
    """The codes of a CodeSystem document: nested ones, and those that name their parents in a property."""
    found = Hierarchy()
    waiting: list[tuple[dict[str, Any], str | None]] = [
        (each, None) for each in _dicts(document.get("concept"))
    ]
    while waiting:
        concept, parent = waiting.pop()
        code = str(concept.get("code"))
        parents = found.parents.setdefault(code, set())
        if parent is not None:
            parents.add(parent)
        own = found.properties.setdefault(code, {})
        for each in _dicts(concept.get("property")):
            value = next((each[name] for name in each if name.startswith("value")), None)
            own.setdefault(str(each.get("code")), []).append(value)
        parents.update(str(value) for value in own.get("parent", ()))
        for value in own.get("child", ()):
            found.parents.setdefault(str(value), set()).add(code)
        waiting += [(each, code) for each in _dicts(concept.get("concept"))]
    return found


@dataclass(frozen=True, slots=True)
class Shelf:
    """What an evaluation may look at: stored documents by url (``|version`` possible), and known enumerations."""

    value_sets: Mapping[str, Mapping[str, Any]]
    code_systems: Mapping[str, Mapping[str, Any]]
    enumerated: Callable[[str], frozenset[Code] | None]


@dataclass(slots=True)
class Missing:
    """The urls that an evaluation had to do without, to be fetched before it is tried again."""

    value_sets: set[str] = field(default_factory=set)
    code_systems: set[str] = field(default_factory=set)


def expanded(url: str, shelf: Shelf, missing: Missing, depth: int = 0) -> set[Code]:
    """The codes of the value set ``url``; what is not on the ``shelf`` is noted in ``missing``."""
    if depth > DEEPEST:
        raise not_known(f"The value set {url} imports others more than {DEEPEST} deep.")
    document = shelf.value_sets.get(url)
    if document is None:
        known = shelf.enumerated(url.partition("|")[0])
        if known is None:
            missing.value_sets.add(url)
        return set(known or ())
    compose, expansion = document.get("compose"), document.get("expansion")
    if type(compose) is not dict:
        return _listed(expansion) if type(expansion) is dict else set()
    try:
        found: set[Code] = set()
        for each in _dicts(compose.get("include")):
            found |= _included(each, shelf, missing, depth)
        for each in _dicts(compose.get("exclude")):
            found -= _included(each, shelf, missing, depth)
    except NotKnown:
        if type(expansion) is not dict:
            raise
        return _listed(expansion)
    return found


def _listed(expansion: dict[str, Any]) -> set[Code]:
    found: set[Code] = set()
    waiting = list(_dicts(expansion.get("contains")))
    while waiting:
        each = waiting.pop()
        if type(each.get("code")) is str and not each.get("abstract"):
            found.add((str(each.get("system") or ""), each["code"]))
        waiting += _dicts(each.get("contains"))
    return found


def _included(each: dict[str, Any], shelf: Shelf, missing: Missing, depth: int) -> set[Code]:
    """The codes of one include or exclude: those of its system that all of its imported value sets hold, too."""
    found: set[Code] | None = None
    system = each.get("system")
    if type(system) is str:
        found = {(system, code) for code in _of_system(system, each, shelf, missing)}
    imports = each.get("valueSet")
    for url in imports if type(imports) is list else ():
        inner = expanded(str(url), shelf, missing, depth + 1)
        found = inner if found is None else found & inner
    return found or set()


def _of_system(system: str, each: dict[str, Any], shelf: Shelf, missing: Missing) -> set[str]:
    listed = list(_dicts(each.get("concept")))
    if listed:
        return {str(concept.get("code")) for concept in listed}
    version = f"|{each['version']}" if type(each.get("version")) is str else ""
    document = shelf.code_systems.get(system + version)
    if document is None:
        missing.code_systems.add(system + version)
        return set()
    codes = hierarchy(document)
    found = set(codes.parents)
    for rule in _dicts(each.get("filter")):
        found &= _filtered(rule, codes, system)
    return found


def _filtered(rule: dict[str, Any], codes: Hierarchy, system: str) -> set[str]:
    name, sign, value = (str(rule.get(key)) for key in ("property", "op", "value"))
    everything = set(codes.parents)
    if sign == "is-a":
        return codes.descendants(value)
    if sign == "descendent-of":
        return codes.descendants(value) - {value}
    if sign == "is-not-a":
        return everything - codes.descendants(value)
    if sign == "generalizes":
        return codes.ancestors(value)

    def values(code: str) -> list[str]:
        own = [code] if name in ("code", "concept") else codes.properties.get(code, {}).get(name, [])
        return [str(each).lower() if type(each) is bool else str(each) for each in own]

    if sign == "=":
        return {code for code in everything if value in values(code)}
    if sign in ("in", "not-in"):
        wanted = {piece.strip() for piece in value.split(",")}
        return {code for code in everything if wanted.isdisjoint(values(code)) == (sign == "not-in")}
    if sign == "exists":
        return {code for code in everything if bool(values(code)) == (value == "true")}
    if sign == "regex" and len(value) <= 200 and re.fullmatch(r"[\w\s|.^$\-\[\]*+]*", value):
        pattern = re.compile(value)
        return {code for code in everything if any(pattern.fullmatch(each[:100]) for each in values(code))}
    raise not_known(f"The filter {name} {sign} of {system} is not understood here; store an expansion.")
