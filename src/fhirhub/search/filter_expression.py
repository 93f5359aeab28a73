"""``_filter``: https://hl7.org/fhir/R4/search_filter.html

``given eq "peter" and (birthdate ge 1970 or not (subject.name co "x"))``: parameters of the type, chains, a filter in
brackets on what a chain leads to, and all the operators of R4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from fhirhub.errors import BadRequest
from fhirhub.search.parameters.base import Facet, Query, any_of, negated, refuse, shortened
from fhirhub.search.parameters.date import parse_interval
from fhirhub.search.parameters.string import normalised
from fhirhub.search.predicate import And, Predicate, Span, Text
from fhirhub.search.rows import STRING_LENGTH, range_key

OPERATORS = frozenset("eq ne co sw ew gt lt ge le ap sa eb pr po ss sb in ni re".split())
DEEPEST = 20
_ORDERED = ("date", "number", "quantity")
_PREFIXED = frozenset(("gt", "lt", "ge", "le", "ap", "sa", "eb"))
_MODIFIED = {"ss": "below", "sb": "above", "in": "in", "ni": "not-in"}
_TOKENS = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[()\[\]]|[^\s()\[\]"]+)')


@dataclass(frozen=True, slots=True)
class Both:
    """``and`` (every part) or ``or`` (any)."""

    every: bool
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """``not (…)``."""

    part: Node


@dataclass(frozen=True, slots=True)
class Test:
    """``path`` (names, each with the filter in its brackets) ``operator`` ``value``."""

    path: tuple[tuple[str, Node | None], ...]
    operator: str
    value: str


Node = Both | Negation | Test


class _Reader:
    def __init__(self, expression: str, text: str) -> None:
        self.expression = expression
        self.text = text
        self.tokens: list[str] = []
        at = 0
        while text[at:].strip():
            found = _TOKENS.match(text, at)
            if found is None:
                raise self.fail("an open quotation mark")
            self.tokens.append(found[1])
            at = found.end()
        self.at = 0

    def fail(self, what: str) -> BadRequest:
        text = f'{shortened(self.text)!r} is no filter: {what}; write: name co "pet" and birthdate ge 1970'
        return refuse(self.expression, text)

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise self.fail(
                f"{expected or 'more'} is expected after {' '.join(self.tokens[: self.at][-3:])!r}"
            )
        self.at += 1
        return token

    def whole(self) -> Node:
        found = self.any(0)
        if self.at != len(self.tokens):
            raise self.fail(f"{shortened(self.peek(), 40)!r} is not expected")
        return found

    def any(self, depth: int) -> Node:
        parts = [self.all(depth)]
        while self.peek().lower() == "or":
            self.at += 1
            parts.append(self.all(depth))
        return parts[0] if len(parts) == 1 else Both(False, tuple(parts))

    def all(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while self.peek().lower() == "and":
            self.at += 1
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else Both(True, tuple(parts))

    def one(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise self.fail("too many brackets")
        if self.peek().lower() == "not":
            self.at += 1
            self.take("(")
            inner = self.any(depth + 1)
            self.take(")")
            return Negation(inner)
        if self.peek() == "(":
            self.at += 1
            inner = self.any(depth + 1)
            self.take(")")
            return inner
        return self.test(depth)

    def test(self, depth: int) -> Test:
        path: list[tuple[str, Node | None]] = []
        rest = self.take()
        while True:
            *names, last = rest.split(".")
            path += [(name, None) for name in names]
            if self.peek() != "[":
                path.append((last, None))
                break
            self.at += 1
            inner = self.any(depth + 1)
            self.take("]")
            path.append((last, inner))
            rest = self.take()
            if rest[0] != ".":
                raise self.fail("after ] comes .name")
            rest = rest[1:]
        operator = self.take().lower()
        if operator not in OPERATORS:
            raise self.fail(f"{shortened(operator, 20)!r} is none of {', '.join(sorted(OPERATORS))}")
        value = self.take()
        if value in "()[]" or not all(name for name, _ in path):
            raise self.fail("a name or a value is missing")
        if value[0] == '"':
            try:
                value = str(json.loads(value))
            except ValueError:
                raise self.fail(f"{shortened(value, 40)} has a wrong escape") from None
        return Test(tuple(path), operator, value)


@dataclass(frozen=True, slots=True)
class Tools:
    """What the evaluation borrows of the parser of criteria."""

    facet: Callable[[str, str], Facet]
    bases: Callable[[Facet], list[Facet]]
    """The facets whose rows answer for one."""
    predicate: Callable[[str, str, str, Query, int], Predicate]
    """(type, name with modifier, value, query, depth) -> predicate."""
    through: Callable[[Facet, str | None, str, Callable[[str], Predicate], Query], Predicate]
    """(reference, type, next code, predicate of a target type, query) -> predicate."""


def filtered(type: str, text: str, tools: Tools, query: Query, depth: int) -> Predicate:
    """The predicate of the filter ``text`` on resources of ``type``."""
    return _evaluated(_Reader(f"{type}?_filter", text).whole(), type, tools, query, depth)


def _evaluated(node: Node, type: str, tools: Tools, query: Query, depth: int) -> Predicate:
    if isinstance(node, Negation):
        return negated(_evaluated(node.part, type, tools, query, depth))
    if isinstance(node, Both):
        parts = [_evaluated(part, type, tools, query, depth) for part in node.parts]
        return And(tuple(parts)) if node.every else any_of(parts)
    (name, inner), *rest = node.path
    if not rest:
        return _compared(type, name, node.operator, node.value, tools, query, depth)
    code, _, wanted = name.partition(":")
    following = Test(tuple(rest), node.operator, node.value)

    def at(target: str) -> Predicate:
        found = _evaluated(following, target, tools, query, depth + 1)
        if inner is None:
            return found
        return And((_evaluated(inner, target, tools, query, depth + 1), found))

    return tools.through(tools.facet(type, code), wanted or None, rest[0][0], at, query)


def _compared(
    type: str, name: str, operator: str, value: str, tools: Tools, query: Query, depth: int
) -> Predicate:
    facet = tools.facet(type, name)
    kind = facet.kind

    def plain(modifier: str = "", prefix: str = "") -> Predicate:
        shown = _escaped(value, kind)
        return tools.predicate(type, f"{name}:{modifier}" if modifier else name, prefix + shown, query, depth)

    if operator == "pr":
        return tools.predicate(type, f"{name}:missing", "false" if value == "true" else "true", query, depth)
    if kind == "string":
        return _string(facet, operator, value, plain, tools, query)
    if operator == "eq":
        return plain(prefix="eq" if kind in _ORDERED else "")
    if operator == "ne":
        if kind in _ORDERED:
            return plain(prefix="ne")
        present = tools.predicate(type, f"{name}:missing", "false", query, depth)
        return And((present, negated(plain())))
    if operator in _PREFIXED and kind in _ORDERED:
        return plain(prefix=operator)
    if operator == "po" and kind == "date":
        lo, hi = parse_interval(facet.expression, value)[1]
        bounds = (("lo", "<=", hi), ("hi", ">=", lo))
        return any_of([Span(range_key(base.pid), bounds) for base in tools.bases(facet)])
    if operator in _MODIFIED and kind == "token":
        return plain(_MODIFIED[operator])
    if operator == "re" and kind == "reference":
        return plain()
    raise refuse(facet.expression, f"{name} is of type {kind}, which has no {operator}")


def _string(
    facet: Facet, operator: str, value: str, plain: Callable[..., Predicate], tools: Tools, query: Query
) -> Predicate:
    if operator == "co":
        return plain("contains")
    if operator == "sw":
        return plain()
    match = {"eq": "equals", "ne": "equals", "ew": "suffix"}.get(operator)
    text = normalised(value)[:STRING_LENGTH]
    if match is None or not text:
        raise refuse(facet.expression, f"{facet.code} is of type string, which has eq, ne, co, sw, ew and pr")
    found = any_of([Text(range_key(base.pid), match, text) for base in tools.bases(facet)])
    if operator != "ne":
        return found
    return And((tools.predicate(facet.type, f"{facet.code}:missing", "false", query, 0), negated(found)))


def _escaped(value: str, kind: str) -> str:
    signs = "\\,$|" if kind == "string" else "\\,$"
    for sign in signs:
        value = value.replace(sign, "\\" + sign)
    return value
