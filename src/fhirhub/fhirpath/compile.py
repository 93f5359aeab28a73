"""The part of FHIRPath that search parameters use, compiled against the element tables.

An expression such as ``(Observation.value as Quantity) | Observation.component.code`` becomes *routes*:
straight ways through the JSON of a resource, with choice elements spelt out (``valueQuantity``) and the FHIR
type of what stands at the end. https://hl7.org/fhir/R4/search.html, https://hl7.org/fhir/R4/fhirpath.html

Served: paths, ``|``, ``as`` (operator and function), ``ofType``, ``where(x='y')``, ``where(resolve() is T)``,
``where(hasExtension('url'))``, ``[n]``, ``extension('url')``, ``%resource`` and the one boolean form
``X.exists() and X != false``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fhirhub.definitions.tables import Definitions, Property, TypeDef

Value = tuple[str, Any]
"""(FHIR type name, JSON value)."""


class ExpressionError(ValueError):
    """The expression uses something that is not compiled here, or names an unknown element."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a parsed path.

    ``kind``: ``member`` (name), ``as`` (type name), ``equals`` (name = value), ``resolves`` (type name),
    ``index`` (value is the position as text), ``extension`` (url), ``has-extension`` (url) or ``truth``.
    """

    kind: str
    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """One alternative of a union: ``root`` is a type name, ``%resource`` or "" (relative to the focus)."""

    root: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One movement through JSON.

    ``child`` goes to property ``name``; ``index`` keeps only item ``value`` of the list just reached;
    ``equals`` keeps objects whose property ``name`` is ``value``; ``has-extension`` keeps objects with an
    extension ``value``; ``truth`` turns an object into whether one of its ``names`` is there and is not
    false.
    """

    kind: str
    name: str = ""
    value: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A way to values of one FHIR type.

    ``binding`` is the required value set of the last element; ``targets`` the resource types it may refer to
    (empty = any); ``resolves`` keeps only references to that type; ``from_root`` starts at the resource
    (``%resource``).
    """

    moves: tuple[Move, ...]
    type_name: str
    binding: str | None = None
    targets: tuple[str, ...] = ()
    resolves: str | None = None
    from_root: bool = False


_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*')|(?P<word>[A-Za-z_%][\w%]*)|(?P<digits>\d+)|(?P<sign>!=|.))"
)
_TRUTH = re.compile(r"^\s*([\w.]+)\.exists\(\)\s+and\s+\1\s*!=\s*false\s*$")


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[tuple[str, str]] = [
            (found.lastgroup or "", found.group(found.lastgroup or 0))
            for found in _TOKEN.finditer(expression.strip())
        ]
        self.at = 0

    def fail(self) -> ExpressionError:
        return ExpressionError(f"not a search expression served here: {self.expression!r}")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None, group: str | None = None) -> str:
        if self.at >= len(self.tokens):
            raise self.fail()
        kind, text = self.tokens[self.at]
        if (expected is not None and text != expected) or (group is not None and kind != group):
            raise self.fail()
        self.at += 1
        return text

    def quoted(self) -> str:
        return self.take(group="string")[1:-1].replace("\\'", "'")

    def whole(self) -> tuple[Path, ...]:
        paths = self.union()
        if self.at != len(self.tokens):
            raise self.fail()
        return paths

    def union(self) -> tuple[Path, ...]:
        paths = self.cast()
        while self.peek() == "|":
            self.take()
            paths += self.cast()
        return paths

    def cast(self) -> tuple[Path, ...]:
        paths = self.term()
        if self.peek() == "as":
            self.take()
            step = Step("as", self.take(group="word"))
            paths = tuple(Path(path.root, (*path.steps, step)) for path in paths)
        return paths

    def term(self) -> tuple[Path, ...]:
        if self.peek() == "(":
            self.take()
            paths = self.union()
            self.take(")")
        else:
            word = self.take(group="word")
            is_root = word[0].isupper() or word == "%resource"
            paths = (Path(word, ()) if is_root else Path("", (Step("member", word),)),)
        steps: list[Step] = []
        while self.peek() in (".", "["):
            steps.append(self.step())
        return tuple(Path(path.root, (*path.steps, *steps)) for path in paths)

    def step(self) -> Step:
        if self.take() == "[":
            position = self.take(group="digits")
            self.take("]")
            return Step("index", value=position)
        name = self.take(group="word")
        if self.peek() != "(":
            return Step("member", name)
        self.take("(")
        if name in ("as", "ofType"):
            step = Step("as", self.take(group="word"))
        elif name == "extension":
            step = Step("extension", value=self.quoted())
        elif name == "where":
            step = self.condition()
        else:
            raise self.fail()
        self.take(")")
        return step

    def condition(self) -> Step:
        word = self.take(group="word")
        if word == "resolve":
            for expected in ("(", ")", "is"):
                self.take(expected)
            return Step("resolves", self.take(group="word"))
        if word == "hasExtension":
            self.take("(")
            step = Step("has-extension", value=self.quoted())
            self.take(")")
            return step
        self.take("=")
        return Step("equals", word, self.quoted())


def parse(expression: str) -> tuple[Path, ...]:
    """The alternatives of ``expression``; raises ExpressionError for what is not served."""
    truth = _TRUTH.match(expression)
    if truth:
        root, *names = truth.group(1).split(".")
        return (Path(root, (*(Step("member", name) for name in names), Step("truth"))),)
    return _Parser(expression).whole()


def _choices(owner: TypeDef, name: str) -> list[Property]:
    """The JSON properties that hold element ``name`` of ``owner`` (several for a choice element)."""
    plain = owner.properties.get(name)
    if plain is not None and not plain.element.is_choice:
        return [plain]
    return [
        entry for entry in owner.properties.values() if entry.element.is_choice and entry.element.name == name
    ]


@dataclass(frozen=True, slots=True)
class _Front:
    """Where a walk stands: the moves made and the type arrived at."""

    moves: tuple[Move, ...]
    type_name: str
    entry: Property | None = None

    def onward(self, name: str, entry: Property) -> _Front:
        return _Front((*self.moves, Move("child", name)), entry.type_name, entry)

    def filtered(self, move: Move) -> _Front:
        return _Front((*self.moves, move), self.type_name, self.entry)


def _advance(fronts: list[_Front], step: Step, definitions: Definitions, path: Path) -> list[_Front]:
    if step.kind == "as":
        wanted = step.name.lower()
        return [front for front in fronts if front.type_name.lower() == wanted]
    if step.kind in ("index", "equals", "has-extension"):
        move = Move(step.kind, step.name, step.value)
        return [front.filtered(move) for front in fronts]
    name = "extension" if step.kind == "extension" else step.name
    following: list[_Front] = []
    for front in fronts:
        owner = definitions.types.get(front.type_name)
        for entry in _choices(owner, name) if owner is not None else ():
            following.append(front.onward(entry.name, entry))
    if not following:
        raise ExpressionError(f"no element {name!r} in {path}")
    if step.kind == "extension":
        return [front.filtered(Move("equals", "url", step.value)) for front in following]
    return following


def _truth(fronts: list[_Front]) -> list[_Front]:
    """``X.exists() and X != false``: the choice properties of the last element seen from its owner."""
    names = tuple(front.moves[-1].name for front in fronts)
    return [_Front((*fronts[0].moves[:-1], Move("truth", names=names)), "boolean")]


def routes(path: Path, focus: str, definitions: Definitions) -> tuple[Route, ...]:
    """The routes of one alternative, starting at type ``focus`` (a resource type, or
    ``Observation.component``).

    Values that are extensions are followed to their ``value[x]``. Raises ExpressionError for an unknown
    element.
    """
    fronts = [_Front((), focus)]
    resolves: str | None = None
    for step in path.steps:
        if step.kind == "resolves":
            resolves = step.name
        elif step.kind == "truth":
            fronts = _truth(fronts)
        else:
            fronts = _advance(fronts, step, definitions, path)
    if path.steps and path.steps[-1].kind == "extension":
        fronts = _advance(fronts, Step("member", "value"), definitions, path)
    return tuple(_route(front, resolves, path.root == "%resource") for front in fronts)


def _route(front: _Front, resolves: str | None, from_root: bool) -> Route:
    entry = front.entry
    binding = entry.element.binding if entry is not None else None
    targets = entry.type.targets if entry is not None else ()
    return Route(front.moves, front.type_name, binding, targets, resolves, from_root)


def expression_routes(
    expression: str, focus: str, definitions: Definitions, resource: str = ""
) -> tuple[Route, ...]:
    """All routes of ``expression`` from ``focus``; ``%resource`` paths start at type ``resource``."""
    found: list[Route] = []
    for path in parse(expression):
        start = resource if path.root == "%resource" else focus
        found.extend(route for route in routes(path, start, definitions) if route not in found)
    return tuple(found)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (item for item in value if item is not None)
    elif value is not None:
        yield value


def holds(move: Move, value: Any) -> bool:
    """Does ``value`` pass a filtering move (``equals``, ``has-extension``)?"""
    if not isinstance(value, dict):
        return False
    if move.kind == "equals":
        return value.get(move.name) == move.value
    return any(
        isinstance(item, dict) and item.get("url") == move.value for item in _items(value.get("extension"))
    )


def truth(move: Move, value: dict[str, Any]) -> bool:
    """What a ``truth`` move makes of an object."""
    return any(value.get(name) not in (None, False) for name in move.names)


def follow(route: Route, focus: Any) -> list[Any]:
    """The values at the end of ``route``, starting at ``focus``; reference targets are not looked at."""
    values: list[Any] = [focus]
    for move in route.moves:
        if move.kind == "child":
            values = [
                item for value in values if isinstance(value, dict) for item in _items(value.get(move.name))
            ]
        elif move.kind == "index":
            values = values[int(move.value) : int(move.value) + 1]
        elif move.kind == "truth":
            values = [truth(move, value) for value in values if isinstance(value, dict)]
        else:
            values = [value for value in values if holds(move, value)]
    return values


def compile_expression(
    expression: str, focus: str, definitions: Definitions
) -> Callable[[dict[str, Any]], list[Value]]:
    """A function from a document of type ``focus`` to the typed values of ``expression``, in order."""
    ways = expression_routes(expression, focus, definitions, focus)

    def evaluate(document: dict[str, Any]) -> list[Value]:
        return [(way.type_name, value) for way in ways for value in follow(way, document)]

    return evaluate
