"""Resources as XML (https://hl7.org/fhir/R4/xml.html), read into and written from JSON documents.

Both directions go by the type tables, so that every value keeps its digits and every narrative its
characters. Reading is expat with handlers: it knows where in the source a narrative begins and ends, and a
document type definition is refused at its first character, before any entity could be declared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html.entities import html5
from typing import Any
from xml.parsers import expat

from fhirhub.definitions.tables import Definitions, TypeDef
from fhirhub.resource.json import MAX_DEPTH
from fhirhub.resource.xml_read import XHTML, Reader, new_parser

FHIR = "http://hl7.org/fhir"

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
# What XML 1.0 cannot carry at all, not even escaped.
_IMPOSSIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_SPECIAL = re.compile('[&<>"\n\r\t]')
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\n": "&#10;",
    "\r": "&#13;",
    "\t": "&#9;",
}
_NAMED_ENTITY = re.compile("&([A-Za-z][A-Za-z0-9]*;)")
_KEPT_ENTITIES = frozenset({"amp;", "lt;", "gt;", "quot;", "apos;"})
_DIV = re.compile(r"<div(?=[\s/>])([^<>]*)")


def from_xml(body: bytes, definitions: Definitions) -> dict[str, Any]:
    """The document of the resource that ``body`` holds as XML (UTF-8).

    What the definitions do not know is taken over as well as it can be, for the validation to refuse with
    its place; so are values that are not of their type. Raises BadRequest for what is not XML or not a
    resource: bad syntax, a DTD, another encoding or namespace, text between elements, nesting so deep that
    the document would exceed :data:`fhirhub.resource.json.MAX_DEPTH`.
    """
    return Reader(body, definitions, FHIR, MAX_DEPTH // 2).resource()


def to_xml(document: dict[str, Any], definitions: Definitions, *, pretty: bool = False) -> bytes:
    """``document`` as XML, its elements in the order of their definition.

    A narrative is written as it stands when it is well-formed XHTML, as plain text when it is not.
    Characters that XML cannot carry become U+FFFD.
    """
    writer = _Writer(definitions, pretty)
    writer.resource(document, f' xmlns="{FHIR}"')
    return (_DECLARATION + "".join(writer.out) + ("\n" if pretty else "")).encode()


def escape(text: str) -> str:
    """``text`` for an attribute value in double quotes, or for content."""
    if _IMPOSSIBLE.search(text):
        text = _IMPOSSIBLE.sub("\ufffd", text)
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text) if _SPECIAL.search(text) else text


class _Writer:
    def __init__(self, definitions: Definitions, pretty: bool) -> None:
        self._types = definitions.types
        self._order: dict[str, dict[str, int]] = {}
        self._pretty = pretty
        self._depth = 0
        self.out: list[str] = []

    def resource(self, document: dict[str, Any], namespace: str = "") -> None:
        type_ = document.get("resourceType")
        name = type_ if type(type_) is str else "Resource"
        at = self._open(escape(name), namespace)
        self._contents(document, self._types.get(name))
        self._close(escape(name), at)

    def _open(self, tag: str, attributes: str) -> int:
        """Write a start tag; its place, to be handed to :meth:`_close`."""
        self.out.append(f"{self._indent()}<{tag}{attributes}>")
        self._depth += 1
        return len(self.out) - 1

    def _close(self, tag: str, at: int) -> None:
        self._depth -= 1
        if len(self.out) == at + 1:
            self.out[at] = self.out[at][:-1] + "/>"
        else:
            self.out.append(f"{self._indent()}</{tag}>")

    def _indent(self) -> str:
        return "\n" + "  " * self._depth if self._pretty else ""

    def _contents(self, value: dict[str, Any], definition: TypeDef | None) -> None:
        """Write the child elements of ``value``."""
        names = {name.removeprefix("_") for name in value} - _attributes_of(definition)
        if definition is not None and definition.kind == "resource":
            names.discard("resourceType")
        for name in sorted(names, key=self._position(definition)):
            self._property(name, value.get(name), value.get("_" + name), definition)

    def _position(self, definition: TypeDef | None) -> Callable[[str], int]:
        """Where a property stands among those of its type; what is not known comes last."""
        if definition is None:
            return lambda name: 0
        order = self._order.get(definition.name)
        if order is None:
            order = {name: index for index, name in enumerate(definition.properties)}
            self._order[definition.name] = order
        known = order
        return lambda name: known.get(name, len(known))

    def _property(self, name: str, value: Any, extra: Any, definition: TypeDef | None) -> None:
        known = definition.properties.get(name) if definition else None
        inner = self._types.get(known.type_name) if known else None
        if type(value) is list or type(extra) is list:
            values = value if type(value) is list else []
            extras = extra if type(extra) is list else []
            for index in range(max(len(values), len(extras))):
                self._value(
                    name,
                    values[index] if index < len(values) else None,
                    extras[index] if index < len(extras) else None,
                    inner,
                )
        else:
            self._value(name, value, extra, inner)

    def _value(self, name: str, value: Any, extra: Any, definition: TypeDef | None) -> None:
        if type(value) is str and definition is not None and definition.name == "xhtml":
            self.out.append(self._indent() + _narrative(value))
            return
        tag = escape(name)
        at = self._open(tag, _attributes(value, extra, definition))
        if type(value) is dict:
            if definition is not None and definition.name == "Resource":
                self.resource(value)
            else:
                self._contents(value, definition)
        elif type(extra) is dict:
            self._contents(extra, definition or self._types["Element"])
        self._close(tag, at)


_NO_ATTRIBUTES: frozenset[str] = frozenset()
_ID = frozenset({"id"})
_ID_AND_URL = frozenset({"id", "url"})


def _attributes_of(definition: TypeDef | None) -> frozenset[str]:
    """The properties that XML writes as attributes: the id of any element but a resource, the url of an
    extension."""
    if definition is None or definition.kind == "resource":
        return _NO_ATTRIBUTES
    return _ID_AND_URL if definition.name == "Extension" else _ID


def _attributes(value: Any, extra: Any, definition: TypeDef | None) -> str:
    given: list[tuple[str, Any]] = []
    if type(value) is dict:
        names = _attributes_of(definition)
        given += [(name, value[name]) for name in ("id", "url") if name in names and name in value]
    else:
        if type(extra) is dict and "id" in extra:
            given.append(("id", extra["id"]))
        if value is not None:
            given.append(("value", value))
    return "".join(f' {name}="{_text(text)}"' for name, text in given)


def _text(value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    return escape(value if type(value) is str else str(value))


def _narrative(div: str) -> str:
    """The XHTML ``div`` so that it can stand in a FHIR document."""
    text = _NAMED_ENTITY.sub(
        lambda match: match[0] if match[1] in _KEPT_ENTITIES else html5.get(match[1], match[0]), div.strip()
    )
    match = _DIV.match(text)
    if match and "xmlns" not in match[1]:
        text = f'<div xmlns="{XHTML}"{text[4:]}'
    if match and _well_formed(text):
        return text
    return f'<div xmlns="{XHTML}">{escape(div)}</div>'


def _well_formed(text: str) -> bool:
    try:
        new_parser().Parse(text.encode(), True)
    except (expat.ExpatError, ValueError):
        return False
    return True
