"""Validation of resources (https://hl7.org/fhir/R4/validation.html), as far as the base definitions go.

Structure, cardinality, value formats and required bindings; invariants and profiles are further checks over
the same documents and the same places.
"""

from __future__ import annotations

from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import Issue
from fhirhub.validation.problems import LIMIT, Issues, TooMany
from fhirhub.validation.resources import any_resource
from fhirhub.validation.structure import Compiler


class Validator:
    """Checks documents against the base definitions; what a type asks for is compiled when it is first
    met."""

    def __init__(self, definitions: Definitions) -> None:
        self._compiler = Compiler(definitions)
        self._roots = {name: (None, name, -1) for name in definitions.resource_types}
        self._resource = any_resource(definitions, self._compiler.type_check)

    def validate(self, document: dict[str, Any]) -> list[Issue]:
        """Every problem of the resource ``document`` (as parsed by :mod:`fhirhub.resource.json`); none when
        it is good.

        Expressions start at the type of the document. After 200 issues the rest is not looked at, and the
        last one says so.
        """
        issues: Issues = []
        name = document.get("resourceType")
        root = self._roots.get(name) if type(name) is str else None
        try:
            self._resource(document, root or (None, "Resource", -1), issues)
        except TooMany:
            text = f"More than {LIMIT} problems; the rest of the resource was not looked at."
            issues.append(Issue("too-costly", text, severity="information"))
        return issues
