"""Paths into the documents, for what the index rows do not hold: the order of ``_sort`` and the texts of ``:text``.

https://hl7.org/fhir/R4/search.html#sort

Strings, dates and numbers have index rows with an order. Tokens, references and uris are kept by hash, which has
none, so their values are taken from the documents of the matches, by paths compiled here from the routes of the
parameter. A token sorts by its code, an identifier by its value, a reference by its text.
"""

from __future__ import annotations

import json

from fhirhub.fhirpath.compile import Move, Route
from fhirhub.search.parameters.base import Facet

ORDERED = frozenset(("string", "date", "number", "quantity"))
"""Kinds with ordered rows."""
BY_DOCUMENT = frozenset(("token", "reference", "uri"))
"""Kinds that are sorted by what stands in the document."""

Path = tuple[str, str]
"""(column of the resource: ``meta`` or ``content``, SQL/JSON path into it)."""

_INNER: dict[str, str] = {
    "Coding": '."code"',
    "CodeableConcept": '."coding"."code"',
    "Identifier": '."value"',
    "ContactPoint": '."value"',
    "Reference": '."reference"',
    "Resource": '."id"',
}


def _step(move: Move) -> str:
    if move.kind == "child":
        return f".{json.dumps(move.name)}"
    if move.kind == "index":
        return f"[{int(move.value)}]"
    if move.kind == "equals":
        return f" ? (@.{json.dumps(move.name)} == {json.dumps(move.value)})"
    return f' ? (@."extension"."url" == {json.dumps(move.value)})'


def _truth(before: str, move: Move) -> str:
    tests = (
        f'exists({before}.{json.dumps(name)} ? (@ == true || @.type() != "boolean"))' for name in move.names
    )
    return " || ".join(tests)


_TEXTS: dict[str, tuple[str, ...]] = {
    "Coding": ('."display"',),
    "CodeableConcept": ('."text"', '."coding"."display"'),
    "Identifier": ('."type"."text"', '."type"."coding"."display"'),
}


def _document_path(route: Route, inner: str) -> Path:
    """The values at the end of ``route`` and of the path ``inner`` from there."""
    moves = route.moves
    column = "content"
    if moves and moves[0].kind == "child" and moves[0].name == "meta":
        column, moves = "meta", moves[1:]
    if moves and moves[-1].kind == "truth":
        return column, _truth("$" + "".join(map(_step, moves[:-1])), moves[-1])
    path = "$" + "".join(map(_step, moves)) + inner
    if route.resolves is not None:
        path += f' ? (@ starts with "{route.resolves}/")'
    return column, path


def document_paths(facet: Facet) -> tuple[Path, ...]:
    """The paths to what ``facet`` is sorted by; () when it is sorted by its rows, or not at all."""
    if facet.kind not in BY_DOCUMENT:
        return ()
    return tuple(
        dict.fromkeys(_document_path(route, _INNER.get(route.type_name, "")) for route in facet.routes)
    )


def text_paths(facet: Facet) -> tuple[Path, ...]:
    """The paths to the texts that describe the codes of ``facet``; () when they have none."""
    return tuple(
        dict.fromkeys(
            _document_path(route, inner)
            for route in facet.routes
            for inner in _TEXTS.get(route.type_name, ())
        )
    )
