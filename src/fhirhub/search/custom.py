"""Search parameters that a store defines for itself: https://hl7.org/fhir/R4/searchparameter.html.

An active SearchParameter resource is taken apart, checked, and compiled for each of its base types
(:func:`compiled`). What a process then indexes and searches by is one immutable :class:`Indexing`; another takes its
place when the store's own parameters change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhirhub.definitions.parameters import for_type, split
from fhirhub.definitions.tables import OWN, Definitions, SearchParameter
from fhirhub.errors import Issue, Unprocessable
from fhirhub.fhirpath.compile import ExpressionError, Route
from fhirhub.search.extract import Extractor
from fhirhub.search.parameters.base import shortened
from fhirhub.search.parse import SearchParser
from fhirhub.search.registry import Registry

TYPE = "SearchParameter"
KINDS = ("number", "date", "string", "token", "reference", "composite", "quantity", "uri")
ABSTRACT = ("Resource", "DomainResource")
"""Bases that stand for every type (that has narrative)."""
MAX_EXPRESSION = 2_000
"""Characters of an expression."""
MAX_ROUTES = 200
"""Ways to values that an expression may come to on one type, choices spelt out."""
BUILDING, READY, RETIRED = "building", "ready", "retired"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,63}")


@dataclass(frozen=True, slots=True)
class Own:
    """A parameter of one's own on one type; ``percent`` of its resources have been indexed, ``resource`` is the id of
    the SearchParameter that defines it."""

    parameter: SearchParameter
    state: str
    percent: int = 0
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Indexing:
    """What a process indexes and searches by. ``generation`` counts the changes of the store's own parameters."""

    generation: int
    own: tuple[Own, ...]
    definitions: Definitions
    """With the parameters that can be searched by."""
    extractor: Extractor
    """Makes rows for those that are being indexed, too."""
    parser: SearchParser
    building: dict[tuple[str, str], int]
    """(type, code) -> percent; the one part that is kept up to date in place."""

    @property
    def served(self) -> list[SearchParameter]:
        """The store's own parameters that can be searched by."""
        return [each.parameter for each in self.own if each.state == READY]


def make(definitions: Definitions, secret: bytes, own: Sequence[Own] = (), generation: int = 0) -> Indexing:
    """HL7's ``definitions`` together with a store's ``own`` parameters; ``secret`` is the store's hash key."""
    ready = [each.parameter for each in own if each.state == READY]
    unfinished = [each.parameter for each in own if each.state == BUILDING]
    others = [each.parameter for each in own if each.state != READY]
    building = {(e.parameter.type, e.parameter.code): e.percent for e in own if e.state == BUILDING}
    searched = definitions.extended(ready, others)
    registry = Registry(searched, building)
    indexed = definitions.extended([*ready, *unfinished], others) if unfinished else searched
    indexing = Registry(indexed) if unfinished else registry
    return Indexing(
        generation,
        tuple(own),
        searched,
        Extractor(indexed, secret, indexing),
        SearchParser(searched, secret, registry),
        building,
    )


def is_active(document: Mapping[str, Any]) -> bool:
    """Whether ``document`` is a SearchParameter that asks to be served."""
    return document.get("resourceType") == TYPE and document.get("status") == "active"


def compiled(
    document: Mapping[str, Any], definitions: Definitions, own: Iterable[Own] = ()
) -> list[SearchParameter]:
    """The parameter that the active SearchParameter ``document`` defines, once for each base type; pids are 0.

    ``own`` are those that the store has already. Nothing comes of what HL7 has published, which is served anyway.
    Raises Unprocessable with everything that keeps it from being served.
    """
    url = document.get("url", "")
    bases = _bases(document.get("base", ()), definitions)
    if any(
        each.url == url
        for base in bases
        for each in definitions.search_parameters(base).values()
        if each.pid < OWN
    ):
        return []
    problems = _general(document)
    found: list[SearchParameter] = []
    for base in () if problems else bases:
        parameter, issues = _on_type(document, base, definitions, own)
        problems += issues
        if parameter is not None:
            found.append(parameter)
    if problems:
        # What is wrong on one base is mostly wrong on all: each is said once.
        raise Unprocessable(list({issue.text: issue for issue in problems}.values())[:20])
    return found


def taken(found: Sequence[SearchParameter], own: Iterable[Own], resource: str | None) -> None:
    """Raise Unprocessable when another SearchParameter than ``resource`` stands for the code of ``found`` already."""
    codes = {(each.type, each.code) for each in found}
    for each in own:
        name = (each.parameter.type, each.parameter.code)
        if each.state != RETIRED and name in codes and each.resource != resource:
            text = f"{name[0]} has the search parameter '{name[1]}' already, by {TYPE}/{each.resource}; take another code."
            raise Unprocessable(_issue(text, "code", "duplicate"))


def _issue(text: str, element: str, code: str = "business-rule") -> Issue:
    return Issue(code, text, f"{TYPE}.{element}")


def _bases(given: Iterable[str], definitions: Definitions) -> list[str]:
    """The resource types of ``given``, the abstract ones spelt out; what is no resource type is passed over."""
    found: dict[str, None] = {}
    for base in given:
        if base in ABSTRACT:
            types = definitions.types
            every = definitions.resource_types
            found |= dict.fromkeys(t for t in every if base == "Resource" or types[t].base == base)
        elif base in definitions.type_number:
            found[base] = None
    return list(found)


def _general(document: Mapping[str, Any]) -> list[Issue]:
    """What is wrong whatever the type."""
    problems: list[Issue] = []
    code, kind, expression = document.get("code", ""), document.get("type"), document.get("expression")
    if not _CODE.fullmatch(code):
        text = (
            f"The code '{shortened(code)}' cannot be the name of a parameter: a letter, then letters, digits, '-' or '_',"
            " 64 at most."
        )
        problems.append(_issue(text, "code"))
    if kind not in KINDS:
        problems.append(
            _issue(f"Parameters of type {kind} are not served; served are {', '.join(KINDS)}.", "type")
        )
    if not expression:
        problems.append(_issue("It has no expression, so nothing can be indexed for it.", "expression"))
    elif len(expression) > MAX_EXPRESSION:
        problems.append(
            _issue(f"The expression is longer than {MAX_EXPRESSION} characters.", "expression", "too-long")
        )
    if kind == "composite" and not 2 <= len(document.get("component", ())) <= 3:
        problems.append(_issue("A composite has two or three components.", "component"))
    return problems


def _on_type(
    document: Mapping[str, Any], base: str, definitions: Definitions, own: Iterable[Own]
) -> tuple[SearchParameter | None, list[Issue]]:
    """The parameter on ``base``, or what is wrong with it there."""
    code = document["code"]
    there = definitions.search_parameters(base).get(code)
    if there is not None and there.pid < OWN:
        text = f"{base} has the search parameter '{code}' already, by {there.url}; take another code."
        return None, [_issue(text, "code", "duplicate")]
    parts = [mine for part in split(document["expression"]) if (mine := for_type(part, base))]
    if not parts:
        text = f"The expression has no alternative that begins with {base}, as in {base}.extension."
        return None, [_issue(text, "expression")]
    parameter = SearchParameter(
        0, base, code, document["type"], " | ".join(parts), (), (), document.get("url", "")
    )
    siblings = {each.url: each for each in definitions.search_parameters(base).values()}
    siblings |= {each.parameter.url: each.parameter for each in own if each.parameter.type == base}
    try:
        if parameter.kind == "composite":
            parameter = replace(parameter, components=_components(document, siblings, base))
        return _tried(parameter, document, definitions, siblings.values())
    except ExpressionError as error:
        text = f"The expression cannot be compiled for {base}: {shortened(str(error), 200)}."
        return None, [_issue(text, "expression")]
    except Unprocessable as error:
        return None, list(error.issues)


def _components(
    document: Mapping[str, Any], siblings: Mapping[str, SearchParameter], base: str
) -> tuple[tuple[str, str], ...]:
    found = []
    for number, component in enumerate(document["component"]):
        url = component["definition"].partition("|")[0]
        sibling = siblings.get(url)
        if sibling is None:
            text = f"{shortened(url, 200)} is no search parameter of {base} that is served."
            raise Unprocessable(_issue(text, f"component[{number}].definition", "not-found"))
        found.append((sibling.code, component["expression"]))
    return tuple(found)


def _tried(
    parameter: SearchParameter,
    document: Mapping[str, Any],
    definitions: Definitions,
    siblings: Iterable[SearchParameter],
) -> tuple[SearchParameter | None, list[Issue]]:
    """``parameter`` with its targets, if every way of its expression leads to what can be indexed as its type."""
    base = parameter.type
    others = [each for each in siblings if each.pid >= OWN]
    trial = replace(parameter, pid=OWN)
    registry = Registry(definitions.extended([*others, trial]))
    facet = registry.facets(base)[parameter.code]
    if len(facet.routes) > MAX_ROUTES:
        text = (
            f"The expression comes to more than {MAX_ROUTES} ways on {base}; name the types of its choices."
        )
        return None, [_issue(text, "expression", "too-costly")]
    if any(_names_version(route) for route in facet.routes):
        text = "meta.versionId and meta.lastUpdated are the server's; search by _lastUpdated."
        return None, [_issue(text, "expression")]
    idle = Extractor(definitions, b"", registry).idle(facet)
    if len(idle) == len(facet.routes) or facet.inline:
        types = ", ".join(sorted({route.type_name for route in facet.routes}))
        text = f"The expression leads to {types} on {base}, which cannot be indexed as {parameter.kind}."
        return None, [_issue(text, "expression")]
    published = document.get("target", ())
    allowed = {target for route in facet.routes for target in route.targets}
    targets = [
        each for each in published if each in definitions.type_number and (not allowed or each in allowed)
    ]
    return replace(parameter, targets=tuple(sorted(targets or allowed))), []


def _names_version(route: Route) -> bool:
    """Whether ``route`` leads to what the server assigns with each version."""
    names = [move.name for move in route.moves[:2]]
    return names[:1] == ["meta"] and names[1:] in (["versionId"], ["lastUpdated"])
