"""The reading half of :mod:`fhirhub.resource.xml`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from fhirhub.definitions.tables import Definitions, Property, TypeDef
from fhirhub.errors import BadRequest, Issue
from fhirhub.resource.json import number

XHTML = "http://www.w3.org/1999/xhtml"
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_BOM = b"\xef\xbb\xbf"
_ENCODING = re.compile(rb"""^<\?xml[^>]*\bencoding\s*=\s*["']([^"']*)["']""")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})


@dataclass(slots=True)
class _Frame:
    """An element that is open."""

    name: str
    definition: TypeDef | None
    known: Property | None
    content: dict[str, Any] = field(default_factory=dict)
    """The properties of an object, or of a primitive's companion."""
    value: str | None = None
    """The ``value`` attribute."""
    resource: dict[str, Any] | None = None
    """The resource inside ``contained`` and the like."""


class DoctypeError(ValueError):
    """There is a document type definition."""


def new_parser() -> expat.XMLParserType:
    """An expat parser that knows namespaces and takes no document type definition."""
    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_: Any) -> None:
    raise DoctypeError


class Reader:
    """Builds the document of one resource while expat goes through ``body``."""

    def __init__(self, body: bytes, definitions: Definitions, namespace: str, max_depth: int) -> None:
        self._body = body.removeprefix(_BOM)
        self._types = definitions.types
        self._resource_types = definitions.type_number
        self._namespace = namespace
        self._max_depth = max_depth
        self._frames: list[_Frame] = []
        self._root: dict[str, Any] = {}
        self._parser = new_parser()
        # While a narrative is open: how deep inside it, where it begins, whether it says its own namespace.
        self._in_div = 0
        self._div_start = 0
        self._div_complete = False
        self._declared_xhtml = False
        self._div: list[str] = []

    def resource(self) -> dict[str, Any]:
        declared = _ENCODING.match(self._body)
        if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            raise self._refused(f"The encoding must be UTF-8, not {declared[1].decode('latin-1')}.")
        # expat would take UTF-16 by its first bytes, and places in the source would no longer be bytes of
        # text.
        try:
            has_nul = "\0" in self._body.decode()
        except UnicodeDecodeError as error:
            raise self._refused(f"The body is not UTF-8: invalid byte at {error.start}.") from None
        if has_nul:
            raise self._refused("The body is not well-formed XML in UTF-8: it has a NUL character.")
        if not self._body.strip():
            raise self._refused("The body is empty; a resource as XML is expected.")
        parser = self._parser
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartNamespaceDeclHandler = self._namespace_declared
        try:
            parser.Parse(self._body, True)
        except DoctypeError:
            raise self._refused("A document type definition (DOCTYPE) is not taken.") from None
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            where = f"line {error.lineno} column {error.offset + 1}"
            raise self._refused(f"The body is not well-formed XML: {reason} at {where}.") from None
        return self._root

    def _refused(self, text: str, code: str = "structure") -> BadRequest:
        return BadRequest(Issue(code, text))

    def _at(self) -> str:
        path = ".".join(frame.name for frame in self._frames)
        return f"line {self._parser.CurrentLineNumber} (in {path or 'the document'})"

    def _namespace_declared(self, prefix: str | None, uri: str | None) -> None:
        if prefix is None and uri == XHTML:
            self._declared_xhtml = True

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        declared, self._declared_xhtml = self._declared_xhtml, False
        namespace, _, local = name.rpartition(" ")
        if self._in_div:
            self._in_div += 1
            self._div.append(_start_tag(local, attributes))
            return
        if len(self._frames) >= self._max_depth:
            raise self._refused(f"The body is nested deeper than {self._max_depth} elements.", "too-costly")
        parent = self._frames[-1] if self._frames else None
        known = parent.definition.properties.get(local) if parent and parent.definition else None
        if known is not None and known.type_name == "xhtml" and namespace == XHTML and local == "div":
            self._start_div(declared, attributes)
            return
        if namespace != self._namespace:
            text = f"{local} at {self._at()} is in the namespace {namespace!r}, not in {self._namespace!r}."
            raise self._refused(text)
        if parent is None or (parent.known is not None and parent.known.type_name == "Resource"):
            self._start_resource(local, attributes)
            return
        frame = _Frame(local, self._types.get(known.type_name) if known else None, known)
        self._frames.append(frame)
        self._read_attributes(frame, attributes)

    def _start_resource(self, local: str, attributes: dict[str, str]) -> None:
        if local not in self._resource_types:
            raise self._refused(f"{local} at {self._at()} is not a resource type of FHIR R4.")
        frame = _Frame(local, self._types[local], None, {"resourceType": local})
        self._frames.append(frame)
        for name in attributes:
            if not name.startswith(_SCHEMA_INSTANCE):
                raise self._refused(f"The resource at {self._at()} must not have the attribute {name}.")

    def _read_attributes(self, frame: _Frame, attributes: dict[str, str]) -> None:
        for name, text in attributes.items():
            if name == "value":
                frame.value = text
            elif name == "id" or (
                name == "url" and frame.definition and frame.definition.name == "Extension"
            ):
                frame.content[name] = text
            elif not name.startswith(_SCHEMA_INSTANCE):
                raise self._refused(f"There is no attribute {name} at {self._at()}.")

    def _start_div(self, declared: bool, attributes: dict[str, str]) -> None:
        self._in_div = 1
        self._div_start = self._parser.CurrentByteIndex
        self._div_complete = declared and self._body.startswith(b"<div", self._div_start)
        self._div = [_start_tag("div", {"xmlns": XHTML, **attributes})]

    def _characters(self, text: str) -> None:
        if self._in_div:
            self._div.append(_escaped(text))
        elif text.strip():
            raise self._refused(f"There is text at {self._at()}: {text.strip()[:40]!r}.")

    def _end(self, name: str) -> None:
        if self._in_div:
            self._in_div -= 1
            self._div.append(f"</{name.rpartition(' ')[2]}>")
            if not self._in_div:
                self._end_div()
            return
        frame = self._frames.pop()
        if frame.known is None and "resourceType" in frame.content:
            if self._frames:
                holder = self._frames[-1]
                if holder.resource is not None:
                    raise self._refused(f"There is more than one resource at {self._at()}.")
                holder.resource = frame.content
            else:
                self._root = frame.content
            return
        self._attach(self._frames[-1].content, frame)

    def _end_div(self) -> None:
        if self._div_complete:
            end = _end_of_tag(self._body, self._div_start)
            if self._body[end - 2 : end] != b"/>":
                # expat stands at the end tag now.
                end = self._body.index(b">", self._parser.CurrentByteIndex) + 1
            text = self._body[self._div_start : end].decode()
        else:
            text = "".join(self._div)
        self._frames[-1].content["div"] = text

    def _attach(self, holder: dict[str, Any], frame: _Frame) -> None:
        name, definition = frame.name, frame.definition
        if frame.resource is not None:
            _add(holder, name, frame.resource, frame.known)
        elif definition is not None and definition.kind == "primitive":
            value = None if frame.value is None else _converted(frame.value, definition.name)
            _add_primitive(holder, name, value, frame.content or None, frame.known)
        elif definition is None and frame.value is not None and not frame.content:
            _add(holder, name, frame.value, None)
        else:
            if frame.value is not None:
                frame.content["value"] = frame.value
            _add(holder, name, frame.content, frame.known)


def _converted(text: str, type_name: str) -> Any:
    """``text`` as the JSON value of a primitive type; left a string, for the validation, when it is not
    one."""
    if type_name == "boolean" and text in ("true", "false"):
        return text == "true"
    if type_name in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    if type_name == "decimal" and _DECIMAL.fullmatch(text) and len(text) < 1000:
        return number(text)
    return text


def _repeats(known: Property | None) -> bool:
    return known is not None and known.element.max != 1


def _add(holder: dict[str, Any], name: str, value: Any, known: Property | None) -> None:
    """Put ``value`` under ``name``; into an array when the element repeats, be it by mistake."""
    if name not in holder:
        holder[name] = [value] if _repeats(known) else value
    elif type(holder[name]) is list:
        holder[name].append(value)
    else:
        holder[name] = [holder[name], value]


def _add_primitive(holder: dict[str, Any], name: str, value: Any, extra: Any, known: Property | None) -> None:
    if not _repeats(known):
        if value is not None or extra is None:
            _add(holder, name, value, known)
        if extra is not None:
            _add(holder, "_" + name, extra, known)
        return
    # The array of values and that of companions run side by side, with nulls where one has nothing; one that
    # would have nothing at all is not there.
    values, extras = holder.get(name), holder.get("_" + name)
    length = len(values or extras or ())
    if value is not None or values is not None:
        holder.setdefault(name, [None] * length).append(value)
    elif extra is None:
        holder[name] = [None] * (length + 1)
    if extra is not None or extras is not None:
        holder.setdefault("_" + name, [None] * length).append(extra)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _start_tag(local: str, attributes: dict[str, str]) -> str:
    pairs = (
        f' {name.rpartition(" ")[2]}="{_escaped(text).replace(chr(34), "&quot;")}"'
        for name, text in attributes.items()
    )
    return f"<{local}{''.join(pairs)}>"


def _end_of_tag(body: bytes, start: int) -> int:
    """Behind the ``>`` of the tag at ``start``; one inside an attribute value does not count."""
    quote = 0
    for at in range(start, len(body)):
        byte = body[at]
        if quote:
            quote = 0 if byte == quote else quote
        elif byte in b"\"'":
            quote = byte
        elif byte == 0x3E:
            return at + 1
    return len(body)
