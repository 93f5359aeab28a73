"""References between resources (https://hl7.org/fhir/R4/references.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_ID = r"[A-Za-z0-9\-.]{1,64}"
_LITERAL = re.compile(rf"([A-Z][A-Za-z]+)/({_ID})(?:/_history/({_ID}))?")
_RESTFUL = re.compile(rf"(https?://[^\s?#]+/)([A-Z][A-Za-z]+)/({_ID})(?:/_history/({_ID}))?")
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(.+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


@dataclass(frozen=True, slots=True)
class Literal:
    """A resource of this server: ``Patient/1``, ``Patient/1/_history/2``, or either after one of our
    bases."""

    type: str
    id: str
    version: str | None = None

    def __str__(self) -> str:
        plain = f"{self.type}/{self.id}"
        return f"{plain}/_history/{self.version}" if self.version else plain


@dataclass(frozen=True, slots=True)
class External:
    """An absolute URL of another server, or a ``urn:``."""

    url: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """``#id``: a resource contained in the same one; ``id`` is empty for the container itself."""

    id: str


@dataclass(frozen=True, slots=True)
class Conditional:
    """``Practitioner?identifier=…``: a search that a transaction resolves."""

    type: str
    query: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """None of the forms that a reference may have."""

    text: str


REFERENCE_PROPERTIES = frozenset(
    {"reference", "type", "identifier", "display", "extension", "id", "_reference", "_type", "_display"}
)

Parsed = Literal | External | Fragment | Conditional | Unclear


def parse(text: str, bases: Sequence[str] = ()) -> Parsed:
    """What the reference ``text`` means to a server that is reached under ``bases`` (no final slash).

    Whether the type exists is not looked at.
    """
    match = _LITERAL.fullmatch(text)
    if match:
        return Literal(*match.groups())
    if text[:1] == "#":
        return Fragment(text[1:])
    if _SCHEME.match(text):
        for base in bases:
            if text.startswith(base) and text[len(base) : len(base) + 1] == "/":
                match = _LITERAL.fullmatch(text, len(base) + 1)
                if match:
                    return Literal(*match.groups())
        return External(text)
    match = _CONDITIONAL.fullmatch(text)
    if match:
        return Conditional(match[1], match[2])
    return Unclear(text)


def restful(url: str) -> tuple[str, Literal] | None:
    """An absolute URL of a resource as the service base (with its final slash) and the rest, or None."""
    match = _RESTFUL.fullmatch(url)
    return (match[1], Literal(match[2], match[3], match[4])) if match else None


def literals(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every ``Reference.reference`` in ``document``, contained resources and extensions included.

    Yields the FHIRPath of the Reference (``Observation.subject``), the Reference object itself and its text.
    The resources in a Bundle's entries are left out: what they refer to is read against their own ``fullUrl``
    (:mod:`fhirhub.resource.bundle`).
    """
    root = document.get("resourceType", "Resource")
    stack: list[tuple[dict[str, Any] | list[Any], Any]] = [(document, None)]
    while stack:
        node, path = stack.pop()
        if type(node) is dict:
            text = node.get("reference")
            if type(text) is str and is_reference(node, path):
                yield render(root, path), node, text
            for name, value in node.items():
                kind = type(value)
                if kind is dict or kind is list:
                    if name == "resource" and root == "Bundle":
                        continue
                    stack.append((value, (path, name)))
        else:
            for index, value in enumerate(node):
                kind = type(value)
                if kind is dict or kind is list:
                    stack.append((value, (path, index)))


def is_reference(node: dict[str, Any], path: Any) -> bool:
    """Whether an object with a string called ``reference``, at the linked ``path``, is of type Reference.

    R4 has three others (a test holds the list against the definitions), all uris:
    ``DetectedIssue.reference`` and ``Expression.reference`` stand beside properties that no Reference has,
    ``Immunization.education.reference`` may stand alone and is told by its name.
    """
    return REFERENCE_PROPERTIES.issuperset(node) and (
        path is None or type(path[1]) is not int or path[0] is None or path[0][1] != "education"
    )


def render(root: str, path: Any) -> str:
    """The FHIRPath of a linked path ``((None, "name"), 0)`` below ``root``: ``Patient.name[0]``."""
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(f"[{step}]" if type(step) is int else f".{step}")
    return root + "".join(reversed(steps))
