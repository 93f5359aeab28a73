"""Index rows of a resource.

All parameters of a type are laid into one tree of JSON property names, so that a document is walked once and
costs what it holds, however many parameters the type has. Trees are built when a type is first seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from fhirhub.definitions.tables import OWN, Definitions
from fhirhub.fhirpath.compile import Move, Route, expression_routes, holds, truth
from fhirhub.resource.reference import REFERENCE_PROPERTIES, Literal, parse
from fhirhub.search.contained import Local, contained_in, file, linker
from fhirhub.search.parameters import (
    composite,
    date,
    near,
    number,
    phonetic,
    quantity,
    reference,
    string,
    token,
    uri,
)
from fhirhub.search.parameters.base import Context, Emit, Facet
from fhirhub.search.registry import Registry
from fhirhub.search.rows import MAX_DATE, MIN_DATE, Rows, range_key
from fhirhub.search.words import Words

_SIMPLE: dict[str, Callable[[int, Route, bytes], Emit | None]] = {
    "string": string.indexer,
    "token": token.indexer,
    "date": date.indexer,
    "number": number.indexer,
    "quantity": quantity.indexer,
    "uri": uri.indexer,
}


@dataclass(slots=True)
class _Node:
    """A place in the tree: what to emit for a value there, and where to go on."""

    emits: list[Emit] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)
    filters: dict[Move, _Node] = field(default_factory=dict)
    """Nodes for the same value, where it passes the filter."""
    items: dict[tuple[str, int], _Node] = field(default_factory=dict)
    """Nodes for one item of the list under a property."""

    def at(self, route: Route) -> _Node:
        """The node at the end of ``route``, made where it is not there yet."""
        node, moves = self, list(route.moves)
        while moves:
            move = moves.pop(0)
            if move.kind == "child" and moves and moves[0].kind == "index":
                node = node.items.setdefault((move.name, int(moves.pop(0).value)), _Node())
            elif move.kind == "child":
                node = node.children.setdefault(move.name, _Node())
            else:
                node = node.filters.setdefault(move, _Node())
        return node

    def compiled(self) -> Emit:
        """The node as one function of a single value."""
        emits = [*self.emits]
        emits += [_filtered(move, node.compiled()) for move, node in self.filters.items()]
        emits += [_item(name, position, node.compiled()) for (name, position), node in self.items.items()]
        if not self.children:
            return emits[0] if len(emits) == 1 else _each(tuple(emits))
        return _walk({name: node.compiled() for name, node in self.children.items()}, tuple(emits))


def _each(emits: tuple[Emit, ...]) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        for one in emits:
            one(value, rows, context)

    return emit


def _filtered(move: Move, inner: Emit) -> Emit:
    if move.kind == "truth":

        def emit_truth(value: Any, rows: Rows, context: Context) -> None:
            if type(value) is dict:
                inner(truth(move, value), rows, context)

        return emit_truth

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if holds(move, value):
            inner(value, rows, context)

    return emit


def _item(name: str, position: int, inner: Emit) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        items = value.get(name) if type(value) is dict else None
        if type(items) is list and position < len(items):
            inner(items[position], rows, context)

    return emit


def _walk(children: dict[str, Emit], emits: tuple[Emit, ...]) -> Emit:
    onward = children.get

    def walk(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        for emit in emits:
            emit(value, rows, context)
        for name, inner in value.items():
            child = onward(name)
            if child is None:
                continue
            if type(inner) is list:
                for item in inner:
                    child(item, rows, context)
            else:
                child(inner, rows, context)

    return walk


@dataclass(frozen=True, slots=True)
class _Plan:
    walk: Emit
    dates: frozenset[int]
    """Range keys of the main clinical date."""
    content: int
    """The pid of ``_content``."""


class Extractor:
    """Makes the index rows of resources.

    ``secret`` is the store's hash key. Documents are as parsed and validated; what does not have the shape
    its type asks for makes no rows rather than an error.
    """

    def __init__(self, definitions: Definitions, secret: bytes, registry: Registry | None = None) -> None:
        self._definitions = definitions
        self._secret = secret
        self._registry = registry or Registry(definitions)
        self._plans: dict[str, _Plan] = {}
        self._inner_plans: dict[str, _Plan] = {}
        self._words = Words(definitions, self._registry)
        self._linkers: dict[str, Emit] = {}

    def rows(self, document: dict[str, Any], bases: tuple[str, ...] = ()) -> Rows:
        """The rows of ``document``; ``bases`` are the urls (no final slash) under which this server is known.

        KeyError when its ``resourceType`` is none.
        """
        plan = self._plans.get(document["resourceType"]) or self._plan(document["resourceType"])
        rows = Rows()
        plan.walk(document, rows, Context(document, bases))
        self._add_others(document, rows, bases)
        self._add_words(document, rows, plan.content)
        if "contained" in document:
            self._add_contained(document, rows, bases)
        main = MAX_DATE
        for key, lo, _ in rows.dates:
            if lo < main and key in plan.dates:
                main = lo
        rows.date = MIN_DATE if main == MAX_DATE else main
        return rows

    def _add_contained(self, document: dict[str, Any], rows: Rows, bases: tuple[str, ...]) -> None:
        """The rows of what is contained, and the links to it."""

        def rows_of(inner: dict[str, Any]) -> Rows:
            found = Rows()
            self._inner_plan(inner["resourceType"]).walk(inner, found, Context(inner, bases))
            return found

        rows.inside, places = contained_in(document, self._definitions.type_number, rows_of)
        if rows.inside:
            for each, own in ((document, rows), *((inner.document, inner.rows) for inner in rows.inside)):
                self._linker(each["resourceType"])(each, own, Local(each, rows.inside, places))
            file(rows, self._secret)

    def _inner_plan(self, type: str) -> _Plan:
        """That of contained resources, which parameters of one's own do not look into: their rows stand with containers
        of any type, and those would have to be indexed anew, too."""
        found = self._inner_plans.get(type)
        if found is None:
            facets = self._registry.facets(type)
            published = {code: facet for code, facet in facets.items() if facet.pid < OWN}
            same = len(published) == len(facets)
            found = (self._plans.get(type) or self._plan(type)) if same else self._laid(type, published)
            self._inner_plans[type] = found
        return found

    def _linker(self, type: str) -> Emit:
        """The walk of a resource of ``type`` that finds its references to what is contained."""
        found = self._linkers.get(type)
        if found is None:
            root = _Node()
            for facet in self._registry.facets(type).values():
                if facet.kind == "reference" and not facet.aliases and facet.pid < OWN:
                    for route in facet.routes:
                        if route.type_name == "Reference":
                            root.at(route).emits.append(linker(facet.pid, route.resolves))
            found = self._linkers[type] = root.compiled()
        return found

    def only(self, type: str, pids: Collection[int]) -> Callable[[dict[str, Any], tuple[str, ...]], Rows]:
        """A function from a document and bases to the rows of ``pids`` alone, parameters of ``type`` with rows of
        their own. It makes no words and no main date.
        """
        root = _Node()
        for facet in self._registry.facets(type).values():
            if facet.pid in pids:
                self._lay(root, facet, {})
        walk = root.compiled()

        def rows(document: dict[str, Any], bases: tuple[str, ...] = ()) -> Rows:
            found = Rows()
            walk(document, found, Context(document, bases))
            return found

        return rows

    def _add_words(self, document: dict[str, Any], rows: Rows, pid: int) -> None:
        """What ``_text`` and ``_content`` look into."""
        *words, coded = self._words.of(document)
        rows.words = words[0], words[1]
        if coded:
            rows.params.add(pid)
            for text in coded:
                token.add_text(pid, text, rows, self._secret)

    def _add_others(self, document: dict[str, Any], rows: Rows, bases: tuple[str, ...]) -> None:
        """References that no search parameter covers stand under parameter 0: nothing may leave them dangling."""
        # A parameter of one's own does not count: it may go, and the reference stays.
        known = {f"{type}/{id}" for pid, type, id in rows.references if pid < OWN}
        for text in _references(document):
            if text in known:
                continue
            known.add(text)
            found = parse(text, bases)
            if isinstance(found, Literal) and found.type in self._definitions.type_number:
                name = f"{found.type}/{found.id}"
                if name == text or name not in known:
                    known.add(name)
                    rows.references.add((0, found.type, found.id))

    def _plan(self, type: str) -> _Plan:
        plan = self._plans[type] = self._laid(type, self._registry.facets(type))
        return plan

    def _laid(self, type: str, facets: dict[str, Facet]) -> _Plan:
        root = _Node()
        for facet in facets.values():
            if not facet.aliases:
                self._lay(root, facet, _watchers(facet, facets))
            if phonetic.hears(facet):
                for route in facet.routes:
                    root.at(route).emits.append(phonetic.indexer(facet.pid, self._secret))
        place = self._definitions.search_parameters(type).get(near.CODE)
        if place is not None:
            emit = near.indexer(place.pid, self._secret)
            for route in expression_routes(place.expression, type, self._definitions):
                root.at(route).emits.append(emit)
        code = self._definitions.sort_date.get(type)
        main = facets.get(code) if code else None
        pids = [alias.pid for alias in main.aliases] or [main.pid] if main else []
        return _Plan(
            root.compiled(),
            frozenset(range_key(pid) for pid in pids),
            self._definitions.search_parameters(type)["_content"].pid,
        )

    def facets(self, type: str) -> dict[str, Facet]:
        """Code -> parameter of ``type`` that rows are made for."""
        return self._registry.facets(type)

    def idle(self, facet: Facet) -> list[Route]:
        """The ways of ``facet`` that lead to what cannot be indexed as its kind."""
        return [route for route in facet.routes if self._emit(facet, route, {}) is None]

    def _lay(self, root: _Node, facet: Facet, watchers: dict[str, tuple[int, ...]]) -> None:
        for route in facet.routes:
            emit = self._emit(facet, route, watchers)
            if emit is not None:
                root.at(route).emits.append(emit)

    def _emit(self, facet: Facet, route: Route, watchers: dict[str, tuple[int, ...]]) -> Emit | None:
        if facet.kind == "composite":
            return composite.indexer(facet, self._secret)
        if facet.kind == "reference":
            return reference.indexer(facet, route, self._secret, self._definitions.type_number, watchers)
        return _SIMPLE[facet.kind](facet.pid, route, self._secret)


def _references(document: dict[str, Any]) -> list[str]:
    """Every Reference.reference that could be a literal one; like :func:`literals`, without the paths."""
    found: list[str] = []
    stack = [document]
    # What is bundled speaks of its own surroundings.
    apart = "resource" if document.get("resourceType") == "Bundle" else ""
    while stack:
        node = stack.pop()
        for name, value in node.items():
            kind = type(value)
            if kind is dict:
                if name != apart:
                    stack.append(value)
            elif kind is list:
                if name != "education":
                    stack.extend([item for item in value if type(item) is dict])
            elif (
                name == "reference"
                and kind is str
                and "?" not in value
                and REFERENCE_PROPERTIES.issuperset(node)
            ):
                found.append(value)
    return found


def _watchers(facet: Facet, facets: dict[str, Facet]) -> dict[str, tuple[int, ...]]:
    """Target type -> pids of the parameters that are ``facet`` restricted to that type."""
    found: dict[str, tuple[int, ...]] = {}
    for other in facets.values():
        for alias in other.aliases:
            if alias.pid == facet.pid and alias.only is not None:
                found[alias.only] = (*found.get(alias.only, ()), other.pid)
    return found
