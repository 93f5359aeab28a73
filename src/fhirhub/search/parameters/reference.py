"""Reference parameters: https://hl7.org/fhir/R4/search.html#reference

Literal references to this server become (type, id) rows, which the store files under the target's internal
key; everything else (other servers, urns, canonicals, logical references) is found by hash. Versions do not
count.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.fhirpath.compile import Route
from fhirhub.resource.reference import External, Literal, restful
from fhirhub.resource.reference import parse as parse_reference
from fhirhub.search.parameters.base import (
    NUL,
    Alias,
    Context,
    Emit,
    Facet,
    Query,
    any_of,
    refuse,
    shortened,
    split,
    unescape,
)
from fhirhub.search.parameters.uri import add_uri, related, uri_spellings
from fhirhub.search.predicate import Keys, Kin, Or, Predicate, Refers
from fhirhub.search.rows import Rows, hashed_key

MODIFIERS = ("identifier", "above", "below")
HIERARCHIES = ("partof", "part-of")
"""Parameters by which resources of a type are parts of others of the same type."""
CANONICAL = frozenset(("canonical", "uri", "url"))
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


def _logical_spellings(identifier: Any) -> tuple[str, ...]:
    """What a logical reference is hashed as."""
    if type(identifier) is not dict or type(identifier.get("value")) is not str:
        return ()
    system = identifier.get("system")
    value = identifier["value"]
    return (f"id{NUL}{NUL}{value}", f"id{NUL}{system if type(system) is str else ''}|{value}")


def _type_of_url(url: str) -> str | None:
    """The resource type that a RESTful url names: the last segment but one."""
    pieces = url.partition("/_history/")[0].rsplit("/", 2)
    return pieces[1] if len(pieces) == 3 else None


def _reference_indexer(
    pid: int, route: Route, types: Container[str], secret: bytes, watchers: Mapping[str, tuple[int, ...]]
) -> Emit:
    only = route.resolves
    # A logical reference that does not say to what type may be to any.
    everybody = tuple(dict.fromkeys(each for pids in watchers.values() for each in pids))

    def present(kind: str | None, rows: Rows) -> None:
        rows.params.add(pid)
        if kind is not None and kind in watchers:
            rows.params.update(watchers[kind])

    def emit_other(value: dict[str, Any], text: Any, rows: Rows, context: Context) -> None:
        kind = value.get("type") if type(value.get("type")) is str else None
        found = parse_reference(text, context.bases) if type(text) is str else None
        if isinstance(found, Literal) and found.type in types:
            kind = found.type
        elif isinstance(found, External):
            kind = kind or _type_of_url(found.url)
        if only is not None and only != kind:
            return
        present(kind, rows)
        for spelling in _logical_spellings(value.get("identifier")):
            rows.tokens.add(hashed_key(pid, spelling, secret))
            for watcher in watchers.get(kind, ()) if kind is not None else everybody:
                rows.params.add(watcher)
                rows.tokens.add(hashed_key(watcher, spelling, secret))
        if isinstance(found, Literal) and found.type in types:
            rows.references.add((pid, found.type, found.id))
        elif isinstance(found, External):
            rows.tokens.add(hashed_key(pid, found.url, secret))

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        text = value.get("reference")
        if type(text) is str and "identifier" not in value:
            kind, slash, rest = text.partition("/")
            if slash and kind in types and "/" not in rest:  # the common form, without a regular expression
                if only is None or only == kind:
                    present(kind, rows)
                    rows.references.add((pid, kind, rest))
                return
        emit_other(value, text, rows, context)

    return emit


def _canonical_indexer(pid: int, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is str:
            add_uri(pid, value, "canonical", rows, secret)

    return emit


def _inline_indexer(pid: int, targets: tuple[str, ...], secret: bytes) -> Emit:
    """For a parameter whose value is a resource: it is not one of the server's own, so it is found by
    hash.
    """

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is dict and value.get("resourceType") in targets:
            rows.params.add(pid)
            if type(value.get("id")) is str:
                rows.tokens.add(hashed_key(pid, f"{value['resourceType']}/{value['id']}", secret))

    return emit


def indexer(
    facet: Facet, route: Route, secret: bytes, types: Container[str], watchers: Mapping[str, tuple[int, ...]]
) -> Emit | None:
    """The emitter for values at the end of ``route``; None when references are not made of that type.

    ``types`` are the resource types; ``watchers`` says which further parameters are present when a reference
    leads to a type: those that are this one restricted to it.
    """
    if route.type_name == "Reference":
        return _reference_indexer(facet.pid, route, types, secret, watchers)
    if route.type_name == "Resource":
        return _inline_indexer(facet.pid, facet.targets, secret)
    return _canonical_indexer(facet.pid, secret) if route.type_name in CANONICAL else None


def reference_spellings(value: Any, route: Route, context: Context) -> list[str]:
    """How a reference is spelt as the second half of a composite."""
    if route.type_name in CANONICAL:
        return list(uri_spellings(value, "canonical")) if type(value) is str else []
    text = value.get("reference") if type(value) is dict else None
    found = parse_reference(text, context.bases) if type(text) is str else None
    if isinstance(found, Literal):
        return [f"{found.type}/{found.id}"]
    return [found.url] if isinstance(found, External) else []


def allowed(facet: Facet, query: Query) -> tuple[str, ...]:
    """The resource types that the parameter may lead to."""
    everything = query.definitions.resource_types
    return facet.targets or (with_urls(query.definitions) if facet.canonical else everything)


@lru_cache(maxsize=8)
def with_urls(definitions: Definitions) -> tuple[str, ...]:
    """The types whose resources have a canonical url."""
    return tuple(
        type
        for type in definitions.resource_types
        if "version" in definitions.search_parameters(type) and "url" in definitions.search_parameters(type)
    )


def resolve(
    facet: Facet, kind: str | None, text: str, query: Query
) -> tuple[list[tuple[str, str]], list[str]]:
    """What the query value ``text`` may mean: resources of this server, and spellings of anything else."""
    if kind is not None and "/" not in text:
        text = f"{kind}/{text}"
    found = parse_reference(text, query.bases)
    if isinstance(found, Literal):
        if found.type not in query.definitions.type_number:
            raise refuse(facet.expression, f"{found.type!r} is not a resource type")
        matches = [(found.type, found.id)] if kind in (None, found.type) else []
        if not facet.canonical and not facet.inline:
            return matches, []
        plain = f"{found.type}/{found.id}"
        return [], [text, plain, *(f"{base}/{plain}" for base in query.bases if facet.canonical)]
    if isinstance(found, External):
        # A resource elsewhere whose type shows in its url has to be of the type asked for, as one here has.
        elsewhere = restful(found.url)
        if elsewhere is not None and not facet.canonical and not facet.inline:
            type = elsewhere[1].type
            if kind not in (None, type) or (
                type in query.definitions.type_number and type not in allowed(facet, query)
            ):
                return [], []
        return [], [text]
    if not _ID.fullmatch(text):
        raise refuse(
            facet.expression, f"{shortened(text)!r} is no reference; write Type/id, id or an absolute url"
        )
    matches = [(target, text) for target in allowed(facet, query)]
    if facet.canonical:
        return [], [text, *(f"{base}/{target}/{id}" for base in query.bases for target, id in matches)]
    return ([], [f"{target}/{id}" for target, id in matches]) if facet.inline else (matches, [])


def logical_spelling(facet: Facet, text: str) -> str:
    """What the value of an ``:identifier`` search is hashed as."""
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) > 2 or not pieces[-1]:
        raise refuse(facet.expression, f"{facet.code}:identifier is written value or system|value")
    return f"id{NUL}{NUL}{pieces[0]}" if len(pieces) == 1 else f"id{NUL}{pieces[0]}|{pieces[1]}"


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``; ``modifier`` is None, ``identifier``, ``above``, ``below`` or a resource type."""
    if modifier in ("above", "below"):
        return _related(facet, modifier, values, query)
    matches: list[tuple[str, str]] = []
    spellings: list[str] = []
    for value in values:
        text = unescape(value).strip()
        if not text:
            raise refuse(facet.expression, f"{facet.code} needs a reference")
        if modifier == "identifier":
            spellings.append(logical_spelling(facet, value))
        else:
            local, other = resolve(facet, modifier, text, query)
            matches += local
            spellings += other
    aliases = facet.aliases or (Alias(facet.pid),)
    if modifier == "identifier":
        pids = {facet.pid if alias.only else alias.pid for alias in aliases}
        return Keys(tuple(hashed_key(pid, each, query.secret) for pid in sorted(pids) for each in spellings))
    return any_of([_one(alias, matches, spellings, query) for alias in aliases])


def _related(facet: Facet, modifier: str, values: Sequence[str], query: Query) -> Predicate:
    """``:above`` and ``:below``: the hierarchy of canonical urls, or of the resources that are referred to."""
    texts = [unescape(value).strip() for value in values]
    if facet.canonical:
        return related(facet, modifier, texts, query)
    parts: list[Predicate] = []
    for text in texts:
        for type, id in resolve(facet, None, text, query)[0]:
            by = _hierarchy(type, query)
            for alias in facet.aliases or (Alias(facet.pid),):
                if by is not None and alias.only in (None, type):
                    parts.append(Kin(alias.pid, type, id, by, modifier == "above"))
    if not parts:
        what = f"{facet.code}:{modifier} needs a reference to something that is part of others of its type"
        raise refuse(facet.expression, what, "not-supported")
    return any_of(parts)


def _hierarchy(type: str, query: Query) -> int | None:
    """The pid of the parameter that leads from a resource of ``type`` to the one it is a part of."""
    for code in HIERARCHIES:
        found = query.definitions.search_parameters(type).get(code)
        if found is not None and type in found.targets:
            return found.pid
    return None


def _one(alias: Alias, matches: list[tuple[str, str]], spellings: list[str], query: Query) -> Predicate:
    kept = tuple(dict.fromkeys(match for match in matches if alias.only in (None, match[0])))
    keys = tuple(dict.fromkeys(hashed_key(alias.pid, spelling, query.secret) for spelling in spellings))
    parts: list[Predicate] = []
    if kept:
        parts.append(Refers(alias.pid, kept))
    if keys:
        parts.append(Keys(keys))
    return any_of(parts) if parts else Or(())
