"""FHIR R4 (4.0.1) as data: types, elements, search parameters, compartments, value sets of required bindings.

:func:`load` reads one compact file of the package. What a process never asks for is never built: the types
and the search parameters become objects when they are first looked up.
"""

from __future__ import annotations

import gzip
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import orjson

DATA = Path(__file__).with_name("r4.json.gz")

CHOICE, SUMMARY, MODIFIER = 1, 2, 4
OWN = 8192
"""pids from here on are those of search parameters that a store defines for itself; those below are HL7's."""
_ABSENT: list[Any] = [0, None, None]


@dataclass(frozen=True, slots=True)
class TypeRef:
    """A type an element may have; ``targets`` are resource types a Reference or canonical may lead to, () for
    any."""

    code: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a type (https://hl7.org/fhir/R4/elementdefinition.html).

    ``name`` is without ``[x]``, ``path`` is with it. ``max`` is -1 for ``*``. ``binding`` is the canonical,
    without version, of the value set of a required binding. ``types`` of an element declared in place, or by
    reference to such a one, is ``BackboneElement`` or ``Element``; its own type is in
    :attr:`Property.type_name`.
    """

    name: str
    path: str
    min: int
    max: int
    types: tuple[TypeRef, ...]
    is_choice: bool
    binding: str | None
    is_summary: bool
    is_modifier: bool
    order: int


@dataclass(frozen=True, slots=True)
class Property:
    """What a JSON property holds: ``valueQuantity`` is the element ``value[x]`` with type ``Quantity``.

    ``type_name`` is the key into :attr:`Definitions.types` (``Quantity``, ``Patient.contact``, ``Resource``
    for any resource).
    """

    name: str
    element: Element
    type: TypeRef
    type_name: str


@dataclass(frozen=True, slots=True)
class TypeDef:
    """A type: ``kind`` is resource, complex, backbone or primitive.

    Inherited elements are included, in definition order. A primitive has the elements of its ``_name``
    sibling (``id``, ``extension``); its value is the JSON value itself.
    """

    name: str
    kind: str
    base: str | None
    elements: tuple[Element, ...]
    properties: dict[str, Property]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """A search parameter as it is used on one resource type.

    ``pid`` is stable for ever. ``kind`` is number, date, string, token, reference, composite, quantity, uri
    or special; ``expression`` has only the alternatives that start at ``type`` and is empty for special ones,
    and for the few that HL7 published without one. ``components`` are (code of the component's parameter,
    expression relative to ``expression``). ``targets`` is () for any type.
    """

    pid: int
    type: str
    code: str
    kind: str
    expression: str
    targets: tuple[str, ...]
    components: tuple[tuple[str, str], ...]
    url: str


class _Types(Mapping[str, TypeDef]):
    """Types by name, each built when it is first asked for."""

    def __init__(self, rows: dict[str, Any]) -> None:
        self._rows = rows
        self._built: dict[str, TypeDef] = {}
        self._references: dict[str, TypeRef] = {}

    def __getitem__(self, name: str) -> TypeDef:
        built = self._built.get(name)
        if built is None:
            built = self._built[name] = self._build(name, self._rows[name])
        return built

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def _build(self, name: str, row: dict[str, Any]) -> TypeDef:
        elements: list[Element] = []
        properties: dict[str, Property] = {}
        for own, least, most, types, *more in row["elements"]:
            flags, binding, inner = more + _ABSENT[len(more) :]
            choice = bool(flags & CHOICE)
            references = tuple(self._reference(one) for one in types)
            element = Element(
                name=own,
                path=f"{name}.{own}[x]" if choice else f"{name}.{own}",
                min=least,
                max=most,
                types=references,
                is_choice=choice,
                binding=binding,
                is_summary=bool(flags & SUMMARY),
                is_modifier=bool(flags & MODIFIER),
                order=len(elements),
            )
            elements.append(element)
            for reference in references:
                json_name = own + reference.code[0].upper() + reference.code[1:] if choice else own
                properties[json_name] = Property(json_name, element, reference, inner or reference.code)
        return TypeDef(name, row["kind"], row["base"], tuple(elements), properties)

    def _reference(self, text: str) -> TypeRef:
        reference = self._references.get(text)
        if reference is None:
            code, _, targets = text.rstrip(")").partition("(")
            reference = TypeRef(code, tuple(targets.split("|")) if targets else ())
            self._references[text] = reference
        return reference


class _ByPid(Mapping[int, SearchParameter]):
    """Search parameters by pid; the parameters of a type are built together."""

    def __init__(self, definitions: Definitions, types: dict[int, str]) -> None:
        self._definitions = definitions
        self._types = types
        self._built: dict[int, SearchParameter] = {}

    def __getitem__(self, pid: int) -> SearchParameter:
        built = self._built.get(pid)
        if built is None:
            for parameter in self._definitions.search_parameters(self._types[pid]).values():
                self._built[parameter.pid] = parameter
            built = self._built[pid]
        return built

    def __contains__(self, pid: object) -> bool:
        return pid in self._types

    def __iter__(self) -> Iterator[int]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


class Definitions:
    """All of R4 that the server works from.

    ``resource_types`` are the 146 concrete types in alphabetical order, ``type_number`` their numbers in the
    store. ``compartments`` is compartment -> resource type -> parameter codes (``{def}``, the resource
    itself, as published). ``sort_date`` is type -> code of the parameter with its main clinical date; types
    without one are absent.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.version: str = content["version"]
        self.resource_types: tuple[str, ...] = tuple(content["resources"])
        self.type_number: dict[str, int] = content["numbers"]
        self.types: Mapping[str, TypeDef] = _Types(content["types"])
        self.sort_date: dict[str, str] = content["sortDates"]
        self.compartments: dict[str, dict[str, tuple[str, ...]]] = {
            compartment: {name: tuple(codes) for name, codes in members.items()}
            for compartment, members in content["compartments"].items()
        }
        self._value_sets: dict[str, Any] = content["valueSets"]
        self._expanded: dict[str, frozenset[tuple[str, str]]] = {}
        self._parameter_rows: dict[str, list[list[Any]]] = content["parameters"]
        self._parameters: dict[str, dict[str, SearchParameter]] = {}
        self.by_pid: Mapping[int, SearchParameter] = _ByPid(
            self, {row[0]: name for name, rows in self._parameter_rows.items() for row in rows}
        )

    def search_parameters(self, type: str) -> dict[str, SearchParameter]:
        """Code -> search parameter of the resource type, those of every resource (``_id`` …) included.

        Raises KeyError for what is no concrete resource type. The dict is shared: not to be changed.
        """
        built = self._parameters.get(type)
        if built is None:
            built = self._parameters[type] = {
                code: SearchParameter(
                    pid, type, code, kind, expression, tuple(targets), tuple(map(tuple, components)), url
                )
                for pid, code, kind, expression, targets, components, url in self._parameter_rows[type]
            }
        return built

    def extended(
        self, served: Iterable[SearchParameter], known: Iterable[SearchParameter] = ()
    ) -> Definitions:
        """These definitions with search parameters of one's own.

        ``known`` are to be found by their pids only: what is not searched by yet, or no longer.
        """
        own = list(served)
        if not own and not known:
            return self
        other = copy(self)
        other._parameters = {**self._parameters}
        for parameter in own:
            mine = {**other.search_parameters(parameter.type), parameter.code: parameter}
            other._parameters[parameter.type] = mine
        others = {parameter.pid: parameter for parameter in (*known, *own)}
        other.by_pid = ChainMap(others, cast(dict[int, SearchParameter], self.by_pid))
        return other

    def value_set(self, url: str) -> frozenset[tuple[str, str]] | None:
        """The (system, code) pairs of a value set that some required binding names.

        None when the value set cannot be enumerated (media types, currencies, UCUM) or is not known.
        """
        expanded = self._expanded.get(url)
        if expanded is None and url in self._value_sets:
            expanded = self._expanded[url] = frozenset(
                (system, code) for system, codes in self._value_sets[url].items() for code in codes
            )
        return expanded


@lru_cache(maxsize=1)
def load() -> Definitions:
    """The definitions of the package, read once per process."""
    return Definitions(orjson.loads(gzip.decompress(DATA.read_bytes())))
