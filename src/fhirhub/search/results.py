"""The parameters that shape the answer rather than choose resources:
https://hl7.org/fhir/R4/search.html#return
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.search.filters import Filters, not_understood, suggestion
from fhirhub.search.limits import MAX_COUNT, MAX_CURSOR, MAX_INCLUDES, MAX_SORTS
from fhirhub.search.parameters.base import Alias, Facet, refuse, shortened, too_costly
from fhirhub.search.parameters.reference import with_urls
from fhirhub.search.parameters.special import ROWLESS
from fhirhub.search.parameters.token import has_codes
from fhirhub.search.registry import Registry
from fhirhub.search.request import SCORE, Include, Sort
from fhirhub.search.sorting import BY_DOCUMENT, ORDERED, document_paths

IGNORED = frozenset(("_format", "_pretty"))
"""Parameters of the HTTP layer, which may stand among the others."""

_COUNT = re.compile(r"\d{1,9}", re.ASCII)
Fields = dict[str, Any]
"""Fields of a SearchRequest."""
Apply = Callable[[str, str, str], Fields]


class Results:
    """Reads the result parameters; each method takes (type, name, value) and tells what the request is to have."""

    def __init__(self, registry: Registry, filters: Filters) -> None:
        self._registry = registry
        self._filters = filters
        self._definitions: Definitions = registry.definitions
        self.single: dict[str, Apply] = {
            "_count": self._count,
            "_maxresults": self._most,
            "_sort": self._sort,
            "_total": self._total,
            "_summary": self._summary,
            "_elements": self._elements,
            "_cursor": self._cursor,
            "_contained": self._contained,
            "_containedType": self._contained_type,
        }
        """Parameters that may stand once."""
        self._sorts: dict[tuple[str, str, bool], Sort] = {}
        """The sort keys that have been asked for: (type, code, descending) of parameters there are."""

    def _count(self, type: str, name: str, value: str) -> Fields:
        if not _COUNT.fullmatch(value):
            text = f"_count is a whole number from 0 to {MAX_COUNT}, not {shortened(value)!r}"
            raise refuse(f"{type}?_count", text)
        count = min(int(value), MAX_COUNT)
        if count == 0:
            return {"count": 0, "summary": "count"}
        return {"count": count}

    def _most(self, type: str, name: str, value: str) -> Fields:
        """R5's, served because callers ask for it: https://hl7.org/fhir/R5/search.html#_maxresults."""
        if not _COUNT.fullmatch(value) or int(value) == 0:
            raise refuse(
                f"{type}?_maxresults", f"_maxresults is a whole number from 1 on, not {shortened(value)!r}"
            )
        return {"most": int(value)}

    def _total(self, type: str, name: str, value: str) -> Fields:
        return {"total": _one_of(type, name, value, ("none", "estimate", "accurate"))}

    def _summary(self, type: str, name: str, value: str) -> Fields:
        summary = _one_of(type, name, value, ("true", "text", "data", "count", "false"))
        return {"summary": summary}

    def _contained(self, type: str, name: str, value: str) -> Fields:
        return {"contained": _one_of(type, name, value, ("false", "true", "both"))}

    def _contained_type(self, type: str, name: str, value: str) -> Fields:
        return {"contained_type": _one_of(type, name, value, ("container", "contained"))}

    def _cursor(self, type: str, name: str, value: str) -> Fields:
        if not value or len(value) > MAX_CURSOR:
            raise refuse(f"{type}?_cursor", "this is not a page link of this server")
        return {"cursor": value}

    def _elements(self, type: str, name: str, value: str) -> Fields:
        definition = self._definitions.types[type]
        known = {*definition.properties, *(element.name for element in definition.elements)}
        names: list[str] = []
        for piece in value.split(","):
            path = piece.strip().removeprefix(f"{type}.")
            top = path.partition(".")[0]
            if top not in known:
                text = f"{type} has no element {shortened(top)!r}{suggestion(top, known)}"
                raise refuse(f"{type}?_elements", text)
            names.append(path)
        return {"elements": tuple(dict.fromkeys(names))}

    def _sort(self, type: str, name: str, value: str) -> Fields:
        keys: list[Sort] = []
        for piece in value.split(","):
            text = piece.strip()
            code = text.removeprefix("-")
            if not code:
                raise refuse(f"{type}?_sort", "_sort is a list of parameters: date,-_lastUpdated")
            if any(key.code == code for key in keys) or len(keys) == MAX_SORTS:
                raise refuse(f"{type}?_sort", f"_sort takes {MAX_SORTS} different parameters at most")
            keys.append(self._sort_key(type, code, text.startswith("-")))
        return {"sort": tuple(keys)}

    def _sort_key(self, type: str, code: str, descending: bool) -> Sort:
        name = (type, code, descending)
        found = self._sorts.get(name)
        if found is None:
            found = self._sorts[name] = self._sort_by(type, code, descending)
        return found

    def _sort_by(self, type: str, code: str, descending: bool) -> Sort:
        if code == SCORE:
            return Sort(code, 0, "score", descending)
        facet = self._filters.facet(type, code)
        if code not in ROWLESS and not sortable(facet):
            text = f"{code} is of type {facet.kind}, which has no order; sort by something else"
            raise not_understood(f"{type}?_sort", text)
        paths = document_paths(facet)
        pids = () if paths else tuple(dict.fromkeys(alias.pid for alias in facet.aliases))
        if len(pids) == 1:
            return Sort(code, pids[0], facet.kind, descending)
        found = Sort(code, facet.pid, facet.kind, descending, pids, paths)
        bases = facet.aliases or (Alias(facet.pid),)
        if facet.kind == "token" and len(bases) == 1 and bases[0].only is None and has_codes(facet.routes):
            return replace(found, pid=bases[0].pid, routes=facet.routes)
        return found

    def include(self, type: str, known: tuple[Include, ...], name: str, value: str) -> tuple[Include, ...]:
        """``known`` and what one more ``_include`` or ``_revinclude`` asks for, with or without ``:iterate``."""
        head, _, modifier = name.partition(":")
        if modifier not in ("", "iterate", "recurse"):
            raise not_understood(
                f"{type}?{head}", f"{head} has no modifier {shortened(modifier)!r}; it has :iterate"
            )
        reverse, iterate = head == "_revinclude", modifier != ""
        found = self._included(type, head, value, reverse, iterate)
        includes = (*known, *(each for each in found if each not in known))
        if value != "*" and len(includes) > MAX_INCLUDES + len(self._definitions.resource_types):
            raise too_costly(
                f"{type}?{head}",
                f"a search takes {MAX_INCLUDES} includes at most; ask for the others in a search of their own",
            )
        return includes

    def _included(self, type: str, head: str, value: str, reverse: bool, iterate: bool) -> list[Include]:
        expression = f"{type}?{head}"
        if value == "*":
            # What is included in turn may be of any type.
            sources = self._definitions.resource_types if reverse or iterate else (type,)
            return [each for source in sources for each in self._all_of(source, type, reverse, iterate)]
        pieces = value.split(":")
        if len(pieces) not in (2, 3) or not all(pieces):
            raise refuse(
                expression,
                f"{head} is written Type:parameter or Type:parameter:Target, not {shortened(value)!r}",
            )
        source, code = pieces[0], pieces[1]
        target = pieces[2] if len(pieces) == 3 else None
        for each in (source, target):
            if each is not None and each not in self._definitions.type_number:
                hint = suggestion(each, self._definitions.resource_types)
                raise refuse(expression, f"{shortened(each)!r} is not a resource type{hint}")
        if code == "*":
            return self._all_of(source, type, reverse, iterate, target)
        facet = self._filters.facet(source, code)
        links = self._registry.references(source, code)
        if not links and not facet.canonical:
            text = f"{code} of {source} does not hold references that can be included"
            raise refuse(expression, f"{text}; it is of type {facet.kind}")
        wanted = target or (type if reverse and not iterate else None)
        if wanted is not None and facet.targets and wanted not in facet.targets:
            raise refuse(expression, f"{code} of {source} does not refer to {wanted}")
        if facet.canonical:
            return [self._citing(facet, target, reverse, iterate)]
        return _includes(source, links, target, reverse, iterate)

    def _all_of(
        self, source: str, type: str, reverse: bool, iterate: bool, target: str | None = None
    ) -> list[Include]:
        """The wildcard: every reference parameter of ``source`` (in reverse: every one that may lead to
        ``type``).
        """
        pids: dict[int, None] = {}
        wanted = target or (type if reverse and not iterate else None)
        citing: list[Include] = []
        for code, facet in self._registry.facets(source).items():
            if wanted is None or not facet.targets or wanted in facet.targets:
                pids.update((link.pid, None) for link in self._registry.references(source, code))
                if facet.canonical and wanted in (None, *self._cited(facet)):
                    citing.append(self._citing(facet, target, reverse, iterate))
        return ([Include(source, tuple(pids), target, iterate, reverse)] if pids else []) + citing

    def _cited(self, facet: Facet) -> tuple[str, ...]:
        return facet.targets or with_urls(self._definitions)

    def _citing(self, facet: Facet, target: str | None, reverse: bool, iterate: bool) -> Include:
        """The include of what canonical urls lead to."""
        cited = (target,) if target else self._cited(facet)
        return Include(facet.type, (facet.pid,), target, iterate, reverse, document_paths(facet), cited)


def sortable(facet: Facet) -> bool:
    """Whether resources can be put in the order of ``facet``."""
    return facet.kind in ORDERED or facet.kind in BY_DOCUMENT


def _includes(
    source: str, links: tuple[Alias, ...], target: str | None, reverse: bool, iterate: bool
) -> list[Include]:
    """One include for every target type that the links are restricted to."""
    grouped: dict[str | None, list[int]] = {}
    for link in links:
        if target is None or link.only in (None, target):
            grouped.setdefault(target or link.only, []).append(link.pid)
    return [Include(source, tuple(pids), only, iterate, reverse) for only, pids in grouped.items()]


def _one_of(type: str, name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        text = f"{name} is one of {', '.join(choices)}, not {shortened(value)!r}{suggestion(value, choices)}"
        raise refuse(f"{type}?{name}", text)
    return value
