"""Searches across types: https://hl7.org/fhir/R4/http.html#search, ``[base]?_type=A,B`` and ``[base]?``.

Each parameter is read on every type, then the readings are put together: index rows say by their keys what type they
belong to, so most criteria simply become more keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fhirhub.errors import BadRequest, Issue
from fhirhub.search.filters import not_understood, suggestion
from fhirhub.search.parameters.base import NotUnderstood, any_of, refuse, shortened
from fhirhub.search.predicate import (
    And,
    Cited,
    Has,
    Ids,
    Not,
    OfType,
    Or,
    Predicate,
    Says,
    Spoken,
    Updated,
    Words,
)
from fhirhub.search.request import Include, SearchRequest, Sort

Parameters = Sequence[tuple[str, str]]
Parse = Callable[[str, Parameters], SearchRequest]
"""A search on one type; not lenient."""
INCLUDES = ("_include", "_revinclude")
EVERYWHERE = (
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "_security",
    "_source",
    "_text",
    "_content",
    "_list",
    "_has",
)


def types_of(parameters: Parameters, known: Sequence[str]) -> tuple[str, ...]:
    """The types that ``_type`` names (all of ``known`` where there is none); 400 for what is no type."""
    given = [value for name, value in parameters if name == "_type"]
    if not given:
        return tuple(known)
    types = dict.fromkeys(piece.strip() for value in given for piece in value.split(","))
    for each in types:
        if each not in known:
            hint = suggestion(each, known)
            raise refuse("_type", f"{shortened(each)!r} is not a resource type{hint}")
    return tuple(types)


def across(
    parse: Parse, types: tuple[str, ...], parameters: Parameters, *, named: bool, lenient: bool
) -> SearchRequest:
    """The search for resources of all ``types``; ``named`` says that they were chosen, not simply all there are.

    Raises BadRequest for what any of them does not know, unless ``lenient``, which leaves it out.
    """
    first = SearchRequest("", types=types)
    criteria: list[Predicate] = []
    applied: list[tuple[str, str]] = [(name, value) for name, value in parameters if name == "_type"]
    notes: list[Issue] = []
    results: list[tuple[str, str]] = []
    for name, value in parameters:
        if name == "_type":
            continue
        head = name.partition(":")[0]
        try:
            if head in INCLUDES:
                first = replace(first, includes=_includes(parse, types, name, value, first.includes))
            else:
                readings = _read(parse, types, name, value, named)
                if readings[0].where != And(()) or name[0] != "_":
                    criteria.append(combined(types, [each.where for each in readings]))
                elif head == "_sort":
                    if first.sort:
                        raise refuse("_sort", "_sort may be given only once")
                    first = replace(first, sort=_sorts([each.sort for each in readings], value))
                else:
                    results.append((name, value))
        except NotUnderstood as error:
            if not lenient:
                raise
            notes += [
                replace(issue, severity="warning", text=f"ignored: {issue.text}") for issue in error.issues
            ]
            continue
        if name not in ("_cursor", "_format", "_pretty"):
            applied.append((name, value))
    shaped = parse(types[0], results)
    where: Predicate = criteria[0] if len(criteria) == 1 else And(tuple(criteria))
    return replace(
        shaped, type="", types=types, where=where, sort=first.sort, includes=first.includes,
        applied=tuple(applied), notes=tuple(notes),
    )  # fmt: skip


def _read(parse: Parse, types: tuple[str, ...], name: str, value: str, named: bool) -> list[SearchRequest]:
    """One parameter on each of the types."""
    code = name.partition(":")[0].partition(".")[0]
    if not named and name[0] != "_":
        common = ", ".join(each for each in EVERYWHERE)
        text = f"a search of all types takes only parameters that all have ({common}); name types with _type"
        raise not_understood(f"?{shortened(code)}", text)
    readings: list[SearchRequest] = []
    problem: NotUnderstood | None = None
    for type in types:
        try:
            readings.append(parse(type, [(name, value)]))
        except NotUnderstood as error:
            if named:
                raise
            # _text is for all that has a narrative; the few types without are not what is meant.
            problem = error
            readings.append(SearchRequest(type, where=Or(())))
    if problem is not None and all(each.where == Or(()) for each in readings):
        raise problem
    return readings


def _includes(
    parse: Parse, types: tuple[str, ...], name: str, value: str, known: tuple[Include, ...]
) -> tuple[Include, ...]:
    """What one ``_include`` means on those of the types it makes sense for."""
    found = dict.fromkeys(known)
    problem: BadRequest | None = None
    understood = False
    for type in types:
        try:
            found.update(dict.fromkeys(parse(type, [(name, value)]).includes))
            understood = True
        except BadRequest as error:
            problem = problem or error
    if problem is not None and not understood:
        raise problem
    return tuple(found)


def _sorts(readings: Sequence[tuple[Sort, ...]], value: str) -> tuple[Sort, ...]:
    """The orders of the types as one: the rows or the paths of all of them."""
    merged: list[Sort] = []
    for same in zip(*readings, strict=True):
        if len({each.kind for each in same}) > 1:
            raise refuse("_sort", f"{same[0].code} is not of the same kind on all of these types")
        pids = dict.fromkeys(pid for each in same if not each.paths for pid in (each.pids or (each.pid,)))
        paths = dict.fromkeys(path for each in same for path in each.paths)
        merged.append(replace(same[0], pids=tuple(pids), paths=tuple(paths), routes=()))
    return tuple(merged)


def combined(types: Sequence[str], readings: Sequence[Predicate]) -> Predicate:
    """Any resource that fulfils the reading of its own type."""
    if all(each == readings[0] for each in readings):
        return readings[0]
    parts = [
        each if speaks_of_one_type(each) else And((OfType((type,)), each))
        for type, each in zip(types, readings, strict=True)
    ]
    return any_of(parts)


def speaks_of_one_type(where: Predicate) -> bool:
    """Whether only resources of the type that ``where`` was read on can fulfil it: rows belong to one type."""
    match where:
        case Or(parts):
            return all(speaks_of_one_type(part) for part in parts)
        case And(parts):
            return any(speaks_of_one_type(part) for part in parts)
        case Not() | Ids() | Updated() | Says() | Has() | Cited() | OfType() | Spoken() | Words():
            return False
    return True
