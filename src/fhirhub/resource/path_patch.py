"""FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html)."""

from __future__ import annotations

from typing import Any

from fhirhub.definitions.tables import Definitions, Property, TypeDef
from fhirhub.errors import BadRequest, FhirError, Issue, Unprocessable
from fhirhub.fhirpath.navigate import Navigator, Node, parse
from fhirhub.resource import json
from fhirhub.resource.patch import MAX_ADDED, MAX_OPERATIONS, keep_identity, weight

_NEEDS = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}


def fhirpath_patch(
    document: dict[str, Any], parameters: dict[str, Any], definitions: Definitions
) -> dict[str, Any]:
    """``document`` with the operations of a Parameters resource applied; the document itself is not changed.

    Raises BadRequest when the patch is malformed, Unprocessable when it does not fit the document or would
    change ``id`` or ``resourceType``. Issues have the FHIRPath of the operation in the Parameters as
    expression.
    """
    listed = parameters.get("parameter", [])
    if parameters.get("resourceType") != "Parameters" or type(listed) is not list:
        raise BadRequest(Issue("structure", "A FHIRPath Patch is a Parameters resource.", "Parameters"))
    if len(listed) > MAX_OPERATIONS:
        raise BadRequest(Issue("too-costly", f"A patch may have at most {MAX_OPERATIONS} operations."))
    if not listed:
        raise BadRequest(Issue("required", "The patch has no operation.", "Parameters.parameter"))
    patched = json.copy(document)
    navigator = Navigator(definitions)
    added = 0
    for index, parameter in enumerate(listed):
        operation = _Operation(f"Parameters.parameter[{index}]", parameter, definitions, navigator)
        added += operation.apply(patched)
        if added > MAX_ADDED:
            raise operation.unfit("the patch adds too much", "too-costly")
    return keep_identity(document, patched)


class _Operation:
    """One ``operation`` parameter."""

    def __init__(
        self, expression: str, parameter: Any, definitions: Definitions, navigator: Navigator
    ) -> None:
        self._expression = expression
        self._types = definitions.types
        self._navigator = navigator
        self._parts: dict[str, dict[str, Any]] = {}
        if type(parameter) is not dict or parameter.get("name") != "operation":
            raise self.malformed("a parameter named operation is expected")
        parts = parameter.get("part")
        for part in parts if type(parts) is list else ():
            if type(part) is not dict or type(part.get("name")) is not str:
                raise self.malformed("each part must be an object with a name")
            if part["name"] in self._parts:
                raise self.malformed(f"part {part['name']} stands twice")
            self._parts[part["name"]] = part
        self._type = self._text("type")
        if self._type not in _NEEDS:
            raise self.malformed(f"type must be one of {', '.join(_NEEDS)}")
        for name in _NEEDS[self._type]:
            if name not in self._parts:
                raise self.malformed(f"{self._type} needs a part {name}")

    def malformed(self, reason: str) -> BadRequest:
        return BadRequest(Issue("invalid", f"The operation cannot be read: {reason}.", self._expression))

    def unfit(self, reason: str, code: str = "processing") -> FhirError:
        path = self._parts["path"].get("valueString")
        return Unprocessable(Issue(code, f"{self._type} {path}: {reason}.", self._expression))

    def apply(self, document: dict[str, Any]) -> int:
        """Change ``document``; how much was added to it, as :func:`fhirhub.resource.patch.weight` counts."""
        self._document = document
        self._path = parse(self._text("path"), document.get("resourceType"))
        return {
            "add": self._add,
            "insert": self._insert,
            "delete": self._delete,
            "replace": self._replace,
            "move": self._move,
        }[self._type]()

    def _text(self, name: str) -> str:
        part = self._parts.get(name, {})
        value = part.get("valueCode") or part.get("valueString")
        if type(value) is not str:
            raise self.malformed(f"part {name} must have a valueString")
        return value

    def _number(self, name: str) -> int:
        value = self._parts[name].get("valueInteger")
        if type(value) is not int or value < 0:
            raise self.malformed(f"part {name} must have a valueInteger of at least 0")
        return value

    def _one(self, nodes: list[Node]) -> Node:
        if len(nodes) != 1:
            found = "nothing" if not nodes else f"{len(nodes)} elements"
            raise self.unfit(f"the path must lead to one element, not to {found}", "not-found")
        return nodes[0]

    def _add(self) -> int:
        parent = self._one(self._navigator.find(self._document, self._path))
        if type(parent.value) is not dict or parent.definition is None:
            raise self.unfit("nothing can be added to a primitive value")
        name = self._text("name").removesuffix("[x]")
        declared, value, extra = self._value_for(parent.definition, name)
        if declared.element.max == 1 and self._navigator.members(parent, declared.element.name):
            raise self.unfit(f"{name} exists already and may not repeat; use replace", "duplicate")
        return self._insert_at(parent.value, declared, None, value, extra, _depth(parent) + 1)

    def _insert(self) -> int:
        index = self._number("index")
        nodes = self._navigator.find(self._document, self._path)
        if nodes:
            first = self._same_list(nodes)
            parent, holder, name = first.parent, first.holder, first.name
        else:
            if self._path.last_member is None:
                raise self.unfit("the path leads to nothing", "not-found")
            parent = self._one(self._navigator.find_parent(self._document, self._path))
            holder, name = parent.value, self._path.last_member
        if parent is None or parent.definition is None or type(holder) is not dict:
            raise self.unfit("the path does not lead to a list")
        declared, value, extra = self._value_for(parent.definition, name)
        if declared.element.max == 1:
            raise self.unfit(f"{name} may not repeat")
        if index > len(nodes):
            raise self.unfit(f"index {index} is beyond the end of a list of {len(nodes)}")
        return self._insert_at(holder, declared, index, value, extra, _depth(parent) + 1)

    def _delete(self) -> int:
        nodes = self._navigator.find(self._document, self._path)
        if nodes:
            self._remove(self._one(nodes))
        return 0

    def _replace(self) -> int:
        node = self._one(self._navigator.find(self._document, self._path))
        if node.parent is None or node.property is None or node.parent.definition is None:
            raise self.unfit("the whole resource cannot be replaced")
        wanted = node.property.element.name
        declared, value, extra = self._value_for(node.parent.definition, wanted)
        size = weight(value, _depth(node)) + weight(extra, _depth(node))
        holder, index = node.holder, node.index
        if index is None:
            holder.pop(node.name, None)
            holder.pop("_" + node.name, None)
            _put(holder, declared.name, value)
            _put(holder, "_" + declared.name, extra)
        else:
            _put_at(holder, declared.name, index, value)
            _put_at(holder, "_" + declared.name, index, extra)
        return size

    def _move(self) -> int:
        source, destination = self._number("source"), self._number("destination")
        nodes = self._navigator.find(self._document, self._path)
        if not nodes:
            raise self.unfit("the path leads to nothing", "not-found")
        first = self._same_list(nodes)
        for number in (source, destination):
            if number >= len(nodes):
                raise self.unfit(f"index {number} is beyond the end of a list of {len(nodes)}")
        for name in (first.name, "_" + first.name):
            items = first.holder.get(name)
            if type(items) is list:
                items += [None] * (len(nodes) - len(items))
                items.insert(destination, items.pop(source))
                _trim(first.holder, name)
        return 0

    def _same_list(self, nodes: list[Node]) -> Node:
        first = nodes[0]
        count = len(self._navigator.members(first.parent, first.name)) if first.parent else 0
        if first.index is None or count != len(nodes) or any(n.holder is not first.holder for n in nodes):
            raise self.unfit("the path must lead to all of one list")
        return first

    def _insert_at(
        self,
        holder: dict[str, Any],
        declared: Property,
        index: int | None,
        value: Any,
        extra: Any,
        depth: int,
    ) -> int:
        """Put a value into the list ``declared`` of ``holder`` (at its end for None), or set it."""
        size = weight(value, depth) + weight(extra, depth)
        name = declared.name
        if declared.element.max == 1:
            _put(holder, name, value)
            _put(holder, "_" + name, extra)
            return size
        present = {each: holder[each] for each in (name, "_" + name) if type(holder.get(each)) is list}
        length = max((len(items) for items in present.values()), default=0)
        at = length if index is None else index
        for each, item in ((name, value), ("_" + name, extra)):
            if each in present or item is not None:
                items = holder.setdefault(each, [])
                items += [None] * (length - len(items))
                items.insert(at, item)
                _trim(holder, each)
        return size

    def _remove(self, node: Node) -> None:
        if node.parent is None:
            raise self.unfit("the whole resource cannot be deleted")
        for name in (node.name, "_" + node.name):
            items = node.holder.get(name)
            if node.index is None:
                node.holder.pop(name, None)
            elif type(items) is list and node.index < len(items):
                del items[node.index]
                _trim(node.holder, name)
        # FHIR has no empty objects: what held only this goes with it. The companion of a primitive is no
        # node of its own and is dropped by name.
        if not node.holder and node.parent.parent is not None:
            if node.holder is node.parent.value:
                self._remove(node.parent)
            else:
                _put_at(node.parent.holder, "_" + node.parent.name, node.parent.index, None)

    def _value_for(self, definition: TypeDef, name: str) -> tuple[Property, Any, Any]:
        """How the element ``name`` is declared, and the patch's value for it: the JSON value and its
        companion."""
        part = self._parts["value"]
        return self._converted(part, definition, name, 0)

    def _converted(
        self, part: dict[str, Any], definition: TypeDef, name: str, depth: int
    ) -> tuple[Property, Any, Any]:
        known = [p for p in definition.properties.values() if name in (p.name, p.element.name)]
        if not known:
            raise self.unfit(f"{definition.name} has no element {name}", "structure")
        if "resource" in part:
            return known[0], json.copy(part["resource"]), None
        given = [each for each in part if each.startswith(("value", "_value"))]
        if not given:
            return known[0], self._object(part, known[0], depth), None
        json_name = given[0].removeprefix("_")
        suffix = json_name.removeprefix("value")
        declared = known[0]
        if declared.element.is_choice:
            fitting = [p for p in known if p.name == declared.element.name + suffix]
            if not fitting:
                raise self.unfit(f"{name} cannot be of type {suffix}", "structure")
            declared = fitting[0]
        return declared, json.copy(part.get(json_name)), json.copy(part.get("_" + json_name))

    def _object(self, part: dict[str, Any], declared: Property, depth: int) -> dict[str, Any]:
        """The object that parts describe, element by element: the way to give a backbone element."""
        parts = part.get("part")
        definition = self._types.get(declared.type_name)
        if type(parts) is not list or not parts or definition is None or depth > 20:
            raise self.malformed("part value needs a value[x], or parts for the elements of an object")
        made: dict[str, Any] = {}
        for inner in parts:
            if type(inner) is not dict or type(inner.get("name")) is not str:
                raise self.malformed("each part must be an object with a name")
            known, value, extra = self._converted(inner, definition, inner["name"], depth + 1)
            self._insert_at(made, known, None, value, extra, depth)
        return made


def _depth(node: Node) -> int:
    """How many levels of the document are above the value of ``node``."""
    depth, above = 0, node.parent
    while above is not None:
        depth, above = depth + 2, above.parent
    return depth


def _put(holder: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        holder[name] = value


def _put_at(holder: dict[str, Any], name: str, index: int | None, value: Any) -> None:
    if index is None:
        if value is None:
            holder.pop(name, None)
        else:
            holder[name] = value
        return
    items = holder.get(name)
    if type(items) is not list:
        if value is None:
            return
        items = holder[name] = []
    items += [None] * (index + 1 - len(items))
    items[index] = value
    _trim(holder, name)


def _trim(holder: dict[str, Any], name: str) -> None:
    """Drop the list ``name`` when nothing is left in it, and a companion's nulls at its end."""
    items = holder[name]
    if all(item is None for item in items):
        del holder[name]
