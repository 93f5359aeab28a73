"""Search text in scopes and policies, as predicates that the rows of one resource decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from fhirhub.auth.policy import PolicyError
from fhirhub.auth.scope import Scope, ScopeError
from fhirhub.errors import BadRequest, FhirError, Issue
from fhirhub.search.parameters.base import Facet
from fhirhub.search.parameters.special import ROWLESS
from fhirhub.search.parse import SearchParser
from fhirhub.search.predicate import And, Ids, Keys, Not, Or, Predicate, Present, Refers, Span, Text
from fhirhub.search.sight import NONE, both

KINDS = frozenset({"token", "reference", "date", "string"})
"""Kinds of search parameters that a scope may use: SMART 2.2, "Scopes for requesting FHIR Resources"."""
_LEAVES = (Keys, Refers, Ids, Span, Text, Present)
MAX_KEPT = 20_000
"""Criteria that are kept parsed."""


class Criteria:
    """Parses criteria, each once."""

    def __init__(self, parser: SearchParser) -> None:
        self._parser = parser
        self._types = parser.definitions.type_number
        self._kept: dict[tuple[str, str, str], Predicate] = {}

    def criterion(self, type: str, name: str, value: str) -> Predicate:
        """One criterion. Raises BadRequest."""
        key = (type, name, value)
        found = self._kept.get(key)
        if found is None:
            found = self._parser.criterion(type, name, value)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = found
        return found

    def facets(self, type: str) -> Mapping[str, Facet]:
        """Code -> search parameter of ``type``."""
        return self._parser.registry.facets(type)

    def of_policy(self, type: str, where: str, rule: str) -> Predicate:
        """The query of a policy's rule, its placeholders filled in. Raises PolicyError naming the ``rule``."""
        try:
            found: Predicate = And(())
            for name, value in parse_qsl(
                where, keep_blank_values=True, strict_parsing=True, max_num_fields=20
            ):
                found = both(found, self.criterion(type, name, value))
        except (ValueError, FhirError) as error:
            raise PolicyError(f"{rule}: {where!r} is no search of {type}: {error}") from error
        if not decidable(found):
            raise PolicyError(f"{rule}: {where!r} needs more than the resource itself to be decided")
        return found

    def of_scope(self, type: str, query: Sequence[tuple[str, str]]) -> Predicate:
        """The query of a scope on resources of ``type``. Raises BadRequest for what a scope may not ask."""
        found: Predicate = And(())
        for name, value in query:
            self._check(type, name, value)
            part = self.criterion(type, name, value)
            if not decidable(part):
                raise BadRequest(_problem(type, name, "cannot be decided from the resource alone"))
            found = both(found, part)
        return found

    def reach(self, scope: Scope, type: str) -> Predicate:
        """The query of ``scope`` on ``type``; no resource where it means nothing."""
        if not scope.query:
            return And(())
        try:
            return self.of_scope(type, scope.query)
        except FhirError:
            return NONE

    def check(self, scope: Scope) -> None:
        """Raise ScopeError for a scope about an unknown type, or with a query that means nothing on its type.

        The query of a wildcard has to mean something on one type; on the others it then allows nothing.
        """
        if not scope.level:
            return
        if scope.type != "*" and scope.type not in self._types:
            raise ScopeError(f"{scope.text!r}: {scope.type} is no resource type of R4.")
        problem: FhirError | None = None
        for type in self._types if scope.type == "*" else (scope.type,):
            try:
                self.of_scope(type, scope.query)
                return
            except FhirError as error:
                problem = problem or error
        raise ScopeError(f"{scope.text!r}: {problem}.")

    def _check(self, type: str, name: str, value: str) -> None:
        facet = self._parser.registry.facets(type).get(name)
        if facet is None:
            raise BadRequest(_problem(type, name, "is no search parameter there"))
        if facet.kind not in KINDS or (name in ROWLESS and name != "_id"):
            raise BadRequest(_problem(type, name, f"is not of the kinds {', '.join(sorted(KINDS))}"))
        if facet.kind == "date" and any(part.startswith("ap") for part in value.split(",")):
            # What is approximately a date depends on the day one asks.
            raise BadRequest(_problem(type, name, "cannot be approximate in a scope"))


def decidable(where: Any) -> bool:
    """Whether :func:`fhirhub.search.match.matches` decides ``where`` from the rows of one resource."""
    match where:
        case And(parts) | Or(parts):
            return all(decidable(part) for part in parts)
        case Not(part):
            return decidable(part)
    return isinstance(where, _LEAVES)


def _problem(type: str, name: str, what: str) -> Issue:
    return Issue("value", f"{name} of {type} {what}", f"{type}?{name}")
