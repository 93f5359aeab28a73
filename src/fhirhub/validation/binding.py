"""Codes from the value sets of required bindings (https://hl7.org/fhir/R4/terminologies.html#required)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.validation.problems import Issues, ObjectCheck, Place, add, listed, nearest, shown

SYNTAX: dict[str, tuple[Callable[[str], Any], str]] = {
    # Not enumerable: BCP 13 media types and ISO 4217 currencies are checked by their form. FHIR's own short
    # names of its formats stand for media types too (https://hl7.org/fhir/R4/http.html#mime-type).
    "http://hl7.org/fhir/ValueSet/mimetypes": (
        re.compile(r"[A-Za-z0-9!#$&^_.+*-]+/[A-Za-z0-9!#$&^_.+*-]+( ?;.*)?|xml|json|ttl").fullmatch,
        "a media type such as text/plain or application/pdf",
    ),
    "http://hl7.org/fhir/ValueSet/currencies": (
        re.compile(r"[A-Z]{3}").fullmatch,
        "the three capital letters of an ISO 4217 currency such as EUR or USD",
    ),
}


class Binding:
    """A required binding as far as it can be checked.

    ``quick(code)`` is true for a good value of a ``code`` element; ``checked`` is false when there is nothing
    to check.
    """

    def __init__(self, definitions: Definitions, url: str) -> None:
        self.url = url
        self.pairs = definitions.value_set(url)
        syntax, remedy = SYNTAX.get(url, (None, ""))
        self._remedy = remedy
        self.codes: frozenset[str] = frozenset(code for _, code in self.pairs or ())
        self.quick: Callable[[str], Any] = syntax or self.codes.__contains__
        self.checked = self.pairs is not None or syntax is not None

    def remedy(self, code: object) -> str:
        """What to write instead of ``code``."""
        if self._remedy:
            return f"use {self._remedy}"
        near = nearest(code, self.codes) if type(code) is str else None
        if near and len(self.codes) > 12:
            return f"did you mean {near}? See {self.url}"
        return f"use one of {listed(sorted(self.codes))}" + (
            f"; see {self.url}" if len(self.codes) > 12 else ""
        )

    def refuse_code(self, code: str, place: Place, issues: Issues, label: str) -> None:
        """Report that ``code`` is not in the value set."""
        name = self.url.rpartition("/")[2]
        add(
            issues,
            "code-invalid",
            place,
            f"{shown(code)} is no code of {name} for {label}; {self.remedy(code)}.",
        )


def concept_check(binding: Binding, type_code: str, label: str) -> ObjectCheck | None:
    """The check of a bound CodeableConcept, Coding or Quantity; None when there is nothing to check.

    A CodeableConcept needs at least one coding from the value set. One that has only extensions, which say
    why there is no code, is let through; text alone is not.
    """
    if binding.pairs is None:
        return None
    pairs = binding.pairs

    def concept(value: dict[str, Any], place: Place, issues: Issues) -> None:
        codings = value.get("coding")
        if type(codings) is list:
            for coding in codings:
                if type(coding) is dict and _pair(coding) in pairs:
                    return
            place = (place, "coding", 0) if len(codings) == 1 else place
        elif "coding" in value or "extension" in value:
            return  # a coding that is no array has been reported as that
        _refuse(binding, codings, place, issues, label)

    def coded(value: dict[str, Any], place: Place, issues: Issues) -> None:
        if _pair(value) not in pairs and not ("code" not in value and "extension" in value):
            _refuse(binding, [value], place, issues, label)

    return concept if type_code == "CodeableConcept" else coded


def _pair(coding: dict[str, Any]) -> tuple[Any, Any] | None:
    system, code = coding.get("system"), coding.get("code")
    return (system, code) if type(system) is str and type(code) is str else None


def _refuse(binding: Binding, codings: Any, place: Place, issues: Issues, label: str) -> None:
    name = binding.url.rpartition("/")[2]
    found = codings[0] if type(codings) is list and codings and type(codings[0]) is dict else {}
    code, system = found.get("code"), found.get("system")
    if code is not None and type(code) is not str:
        return  # it has been reported as no string
    systems = listed(sorted({one for one, _ in binding.pairs or ()}), 3)
    if code is None:
        text = f"{label} needs a code of {name}: system {systems}; {binding.remedy(code)}."
    elif code in binding.codes and system is None:
        text = f"{label}: the code {shown(code)} needs its system, {systems}."
    elif code in binding.codes:
        text = f"{label}: the system of {shown(code)} must be {systems}, not {shown(system)}."
    else:
        text = f"{label}: {shown(code)} is no code of {name} (system {systems}); {binding.remedy(code)}."
    add(issues, "code-invalid", place, text)
