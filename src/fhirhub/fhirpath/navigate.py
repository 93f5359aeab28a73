"""FHIRPath that points (http://hl7.org/fhirpath): an expression leads to places in a document, to be
changed there.

Only what picks elements is understood, which is what FHIRPath Patch allows
(https://hl7.org/fhir/R4/fhirpatch.html): member paths, ``[n]``, ``first()``, ``last()``, ``where(…)``,
``extension('url')``, ``ofType(T)`` and ``as(T)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhirhub.definitions.tables import Definitions, Element, Property, TypeDef
from fhirhub.errors import BadRequest, Issue

MAX_EXPRESSION = 2000
"""Characters of an expression; nested brackets are therefore bounded, too."""
MAX_VISITS = 200_000
"""Elements that one Navigator looks into; a patch could otherwise compare everything with everything."""
_MAX_NESTING = 20

_TOKENS = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<date>@[0-9T:.+\-Z]+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]+`|\$this)
    | (?P<sign>!=|[.()\[\]=,~])
    )""",
    re.VERBOSE,
)
_CHECKS = ([("name", "exists")], [("name", "empty")])
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


@dataclass(slots=True)
class Node:
    """A place in a document: ``holder[name]``, or ``holder[name][index]`` where the element repeats.

    ``definition`` is the type of the value (None for what the definitions do not know), ``property`` how
    the element is declared (None for the root).
    """

    value: Any
    holder: dict[str, Any]
    name: str
    index: int | None
    definition: TypeDef | None
    property: Property | None
    parent: Node | None


Step = Callable[["Navigator", list[Node]], list[Node]]
Test = Callable[["Navigator", Node], bool]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression; ``last_member`` is the name its last step asks for, when that is a plain
    member."""

    text: str
    steps: tuple[Step, ...]
    last_member: str | None


class Navigator:
    """Evaluates expressions against documents, all of them together within MAX_VISITS."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types
        self._visits = 0

    def find(self, document: dict[str, Any], expression: Expression) -> list[Node]:
        """The places in ``document`` that ``expression`` leads to, in order."""
        return self._follow(document, expression.steps)

    def find_parent(self, document: dict[str, Any], expression: Expression) -> list[Node]:
        """The places that all steps but the last one lead to."""
        return self._follow(document, expression.steps[:-1])

    def child(self, parent: Node, name: str) -> Element | None:
        """How the element ``name`` (a choice with or without its type) of ``parent`` is declared."""
        if parent.definition is None:
            return None
        if name in parent.definition.properties:
            return parent.definition.properties[name].element
        return next((element for element in parent.definition.elements if element.name == name), None)

    def members(self, parent: Node, name: str) -> list[Node]:
        """The values of element ``name`` of ``parent``; a choice is asked for with or without its type."""
        self._visits += 1
        if self._visits > MAX_VISITS:
            text = f"The FHIRPath expressions look at more than {MAX_VISITS} elements."
            raise BadRequest(Issue("too-costly", text))
        value, definition = parent.value, parent.definition
        if type(value) is not dict:
            value = _companion(parent)
            if value is None:
                return []
        if definition is None:
            return []
        known = definition.properties.get(name)
        every = definition.properties.values()
        names = [name] if known else [each.name for each in every if each.element.name == name]
        found: list[Node] = []
        for json_name in names:
            item = value.get(json_name)
            extra = value.get("_" + json_name)
            if item is None and extra is None:
                continue
            declared = definition.properties[json_name]
            if type(item) is list or type(extra) is list:
                length = max(len(each) for each in (item, extra) if type(each) is list)
                items = item if type(item) is list else []
                found += [
                    self._node(items[at] if at < len(items) else None, value, declared, at, parent)
                    for at in range(length)
                ]
            else:
                found.append(self._node(item, value, declared, None, parent))
        return found

    def _node(
        self, value: Any, holder: dict[str, Any], declared: Property, index: int | None, parent: Node
    ) -> Node:
        definition = self._types.get(declared.type_name)
        if declared.type_name == "Resource" and type(value) is dict:
            definition = self._types.get(str(value.get("resourceType")))
        return Node(value, holder, declared.name, index, definition, declared, parent)

    def _follow(self, document: dict[str, Any], steps: tuple[Step, ...]) -> list[Node]:
        root_type = document.get("resourceType")
        definition = self._types.get(root_type) if type(root_type) is str else None
        nodes = [Node(document, {}, "", None, definition, None, None)]
        for step in steps:
            nodes = step(self, nodes)
        return nodes


def _companion(node: Node) -> dict[str, Any] | None:
    """The object beside a primitive (``_birthDate``) that carries its id and extensions."""
    extra = node.holder.get("_" + node.name)
    if type(extra) is list and node.index is not None:
        extra = extra[node.index] if node.index < len(extra) else None
    return extra if type(extra) is dict else None


def parse(text: str, root_type: str | None = None) -> Expression:
    """The expression ``text``; a leading ``root_type`` (or Resource, DomainResource) stands for the
    document itself.

    Raises BadRequest, saying where, for what cannot be read or does not point.
    """
    if len(text) > MAX_EXPRESSION:
        reason = f"A FHIRPath longer than {MAX_EXPRESSION} characters is not taken."
        raise BadRequest(Issue("too-long", reason))
    return _Parser(text, root_type).expression()


class _Parser:
    def __init__(self, text: str, root_type: str | None) -> None:
        self._text = text
        self._roots = {root_type, "Resource", "DomainResource"}
        self._tokens = self._tokenize(text)
        self._at = 0
        self._nesting = 0

    def _tokenize(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKENS.match(text, at)
            if not match or match.lastgroup is None:
                raise self._error(f"unexpected {text[at : at + 10]!r} at character {at + 1}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return tokens

    def _error(self, reason: str) -> BadRequest:
        understood = "member paths, [n], first(), last(), where(…), extension('url'), ofType(T) and as(T)"
        text = f"FHIRPath {self._text[:200]!r}: {reason}. Understood are {understood}."
        return BadRequest(Issue("invalid", text))

    def _peek(self, sign: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign)

    def _word(self, word: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("name", word):
            self._at += 1
            return True
        return False

    def _accept(self, sign: str) -> bool:
        if self._peek(sign):
            self._at += 1
            return True
        return False

    def _take(self, *kinds: str) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._error("it ends too early")
        kind, text = self._tokens[self._at]
        if kind not in kinds:
            raise self._error(f"unexpected {text!r}")
        self._at += 1
        return kind, text

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise self._error(f"{sign!r} is missing")

    def expression(self) -> Expression:
        steps, last = self._path(at_root=True)
        if self._at < len(self._tokens):
            raise self._error(f"unexpected {self._tokens[self._at][1]!r}")
        return Expression(self._text, tuple(steps), last)

    def _path(self, at_root: bool) -> tuple[list[Step], str | None]:
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise self._error("it is nested too deep")
        steps: list[Step] = []
        last: str | None = None
        if self._accept("("):
            steps, _ = self._path(at_root)
            self._expect(")")
        else:
            last = self._step(steps, at_root)
        while True:
            if self._peek(".") and self._tokens[self._at + 1 : self._at + 2] in _CHECKS:
                break
            if self._accept("."):
                last = self._step(steps, False)
            elif self._accept("["):
                steps.append(_item(int(self._take("number")[1].partition(".")[0])))
                self._expect("]")
                last = None
            elif self._word("as"):
                steps.append(_of_type(self._take("name")[1]))
                last = None
            else:
                break
        self._nesting -= 1
        return steps, last

    def _step(self, steps: list[Step], at_root: bool) -> str | None:
        name = self._take("name")[1].strip("`")
        if self._accept("("):
            steps.append(self._function(name))
            self._expect(")")
            return None
        if at_root and name in self._roots or name == "$this":
            return None
        steps.append(_member(name))
        return name

    def _function(self, name: str) -> Step:
        if name in ("first", "last", "single"):
            return _ends[name]
        if name == "extension":
            return _extension(self._string())
        if name in ("ofType", "as"):
            return _of_type(self._take("name")[1])
        if name == "where":
            return _where(self._criteria())
        raise self._error(f"{name}() is not among what points to elements")

    def _string(self) -> str:
        return _unquoted(self._take("string")[1])

    def _criteria(self) -> Test:
        """``a = 'x' and b.exists() or …``, ``and`` binding closer."""
        alternatives = [self._all_of()]
        while self._word("or"):
            alternatives.append(self._all_of())
        return lambda navigator, node: any(test(navigator, node) for test in alternatives)

    def _all_of(self) -> Test:
        tests = [self._comparison()]
        while self._word("and"):
            tests.append(self._comparison())
        return lambda navigator, node: all(test(navigator, node) for test in tests)

    def _comparison(self) -> Test:
        steps, _ = self._path(at_root=False)
        if self._accept("."):
            wanted = self._take("name")[1] == "exists"
            self._expect("(")
            self._expect(")")
            return _exists(tuple(steps), wanted)
        for sign, negated in (("!=", True), ("=", False), ("~", False)):
            if self._accept(sign):
                kind, text = self._take("string", "number", "date", "name")
                value = _unquoted(text) if kind == "string" else text.removeprefix("@")
                return _compares(tuple(steps), value, negated)
        return _exists(tuple(steps), True)


def _unquoted(text: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        return _ESCAPED.get(code, code)

    return _ESCAPE.sub(replaced, text[1:-1])


def _member(name: str) -> Step:
    return lambda navigator, nodes: [found for node in nodes for found in navigator.members(node, name)]


def _item(number: int) -> Step:
    return lambda _, nodes: nodes[number : number + 1]


_ends: dict[str, Step] = {
    "first": lambda _, nodes: nodes[:1],
    "last": lambda _, nodes: nodes[-1:],
    "single": lambda _, nodes: nodes if len(nodes) == 1 else [],
}


def _extension(url: str) -> Step:
    def step(navigator: Navigator, nodes: list[Node]) -> list[Node]:
        found = [extension for node in nodes for extension in navigator.members(node, "extension")]
        return [node for node in found if type(node.value) is dict and node.value.get("url") == url]

    return step


def _of_type(name: str) -> Step:
    return lambda _, nodes: [node for node in nodes if node.definition and node.definition.name == name]


def _where(test: Test) -> Step:
    return lambda navigator, nodes: [node for node in nodes if test(navigator, node)]


def _inside(navigator: Navigator, node: Node, steps: tuple[Step, ...]) -> list[Node]:
    nodes = [node]
    for step in steps:
        nodes = step(navigator, nodes)
    return nodes


def _compares(steps: tuple[Step, ...], wanted: str, negated: bool) -> Test:
    def test(navigator: Navigator, node: Node) -> bool:
        nodes = _inside(navigator, node, steps)
        # As in FHIRPath, comparing nothing, or several, is neither true nor false: it does not select.
        return len(nodes) == 1 and (_plain(nodes[0].value) == wanted) is not negated

    return test


def _exists(steps: tuple[Step, ...], wanted: bool) -> Test:
    def test(navigator: Navigator, node: Node) -> bool:
        nodes = _inside(navigator, node, steps)
        if len(nodes) == 1 and nodes[0].value is False and wanted:
            return False
        return bool(nodes) is wanted

    return test


def _plain(value: Any) -> str:
    """A primitive value as it is written in FHIRPath."""
    if type(value) is bool:
        return "true" if value else "false"
    return str(value)
