"""The REST interactions by method and path: https://hl7.org/fhir/R4/http.html#summary.

A dozen generic shapes, never one per resource type. What does not fit is a 404 or a 405 with ``Allow``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from fhirhub.errors import BadRequest, Issue, MethodNotAllowed, NotFound

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

_BASE = {"GET": "search-system", "POST": "bundle"}
_TYPE = {
    "GET": "search-type",
    "POST": "create",
    "PUT": "conditional-update",
    "PATCH": "conditional-patch",
    "DELETE": "conditional-delete",
}
_INSTANCE = {"GET": "read", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OPERATION = {"GET": "operation", "POST": "operation"}
_CHANGING = frozenset({"$reindex"})
"""Operations that are not for GET."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request leads: the interaction and what its path names."""

    interaction: str
    type: str | None = None
    id: str | None = None
    version: int | None = None
    operation: str | None = None


def resolve(method: str, path: str, types: Collection[str]) -> Route:
    """The route of ``path`` (below the service base, percent-decoded, without a leading slash).

    HEAD is a GET. Raises NotFound (unknown path or type), BadRequest (an id that cannot be one) or
    MethodNotAllowed.
    """
    if method == "HEAD":
        method = "GET"
    segments = path.split("/")
    if len(segments) > 1 and not segments[-1]:
        segments.pop()
    first = segments[0]
    if first == "":
        if len(segments) > 1:
            raise _nothing(path)
        return Route(_pick(_BASE, method))
    if first[0] in "$_" or first == "metadata":
        return _system(method, segments, path)
    if first not in types:
        raise _unknown_type(first, types)
    if len(segments) == 1:
        return Route(_pick(_TYPE, method), first)
    if len(segments) == 2 and segments[1][:1] in ("_", "$"):
        return _on_type(method, first, segments[1], path)
    if len(segments) in (3, 4) and (segments[2] in types or segments[2] == "*") and ID.fullmatch(segments[1]):
        if segments[3:] in ([], ["_search"]):
            offered = {"POST": "search-compartment"} if segments[3:] else {"GET": "search-compartment"}
            # The type that is searched for (* for all) has no field of its own in a route.
            return Route(_pick(offered, method), first, segments[1], operation=segments[2])
    return _on_instance(method, first, segments, path)


def _system(method: str, segments: list[str], path: str) -> Route:
    first = segments[0]
    if len(segments) > 1:
        raise _nothing(path)
    if first == "metadata":
        return Route(_pick({"GET": "capabilities"}, method))
    if first == "_history":
        return Route(_pick({"GET": "history-system"}, method))
    if first == "_search":
        return Route(_pick({"POST": "search-system"}, method))
    if first == "$async-status" and method == "DELETE":
        return Route("operation", operation="async-cancel")
    if first[0] == "$":
        offered = {"POST": "operation"} if first in _CHANGING else _OPERATION
        return Route(_pick(offered, method), operation=first[1:])
    raise _nothing(path)


def _on_type(method: str, type: str, segment: str, path: str) -> Route:
    if segment == "_search":
        return Route(_pick({"POST": "search-type"}, method), type)
    if segment == "_history":
        return Route(_pick({"GET": "history-type"}, method), type)
    if segment[0] == "$":
        return Route(_pick(_OPERATION, method), type, operation=segment[1:])
    raise _nothing(path)


def _on_instance(method: str, type: str, segments: list[str], path: str) -> Route:
    id = segments[1]
    if not ID.fullmatch(id):
        if method in ("PUT", "PATCH"):
            text = f"'{id[:80]}' cannot be an id: use 1 to 64 of the characters A-Z a-z 0-9 - and ."
            raise BadRequest(Issue("value", text, f"{type}.id"))
        raise NotFound(Issue("not-found", f"There is no {type} with the id '{id[:80]}'."))
    if len(segments) == 2:
        return Route(_pick(_INSTANCE, method), type, id)
    third = segments[2]
    if len(segments) == 3 and third == "_history":
        return Route(_pick({"GET": "history-instance"}, method), type, id)
    if len(segments) == 3 and third[:1] == "$":
        return Route(_pick(_OPERATION, method), type, id, operation=third[1:])
    if len(segments) == 4 and third == "_history":
        interaction = _pick({"GET": "vread"}, method)
        if not _VERSION.fullmatch(segments[3]):
            raise NotFound(Issue("not-found", f"{type}/{id} has no version '{segments[3][:80]}'."))
        return Route(interaction, type, id, int(segments[3]))
    raise _nothing(path)


def _pick(offered: dict[str, str], method: str) -> str:
    interaction = offered.get(method)
    if interaction is None:
        allow = allowed(offered)
        text = f"{method[:20]} is not offered here; offered are {allow}."
        raise MethodNotAllowed(Issue("not-supported", text), headers={"Allow": allow})
    return interaction


def allowed(offered: dict[str, str]) -> str:
    """The value of ``Allow`` for a table of methods."""
    names = [*offered, *(["HEAD"] if "GET" in offered else []), "OPTIONS"]
    return ", ".join(sorted(names))


def _nothing(path: str) -> NotFound:
    return NotFound(Issue("not-found", f"Nothing is served at '{path[:200]}'."))


def _unknown_type(name: str, types: Collection[str]) -> NotFound:
    known = {type.lower(): type for type in types}
    close = get_close_matches(name[:64].lower(), known, 1, 0.75)
    hint = f" Did you mean '{known[close[0]]}'? Names are case-sensitive." if close else ""
    return NotFound(Issue("not-supported", f"'{name[:80]}' is not an R4 resource type.{hint}"))
