"""What can go wrong, in FHIR's own terms.

An :class:`Issue` is one entry of an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html);
a :class:`FhirError` carries one or more of them together with the HTTP status it is answered with.
Whatever is raised while a FHIR request is handled is a FhirError, and ``http`` renders it in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of an OperationOutcome.

    ``code`` is from http://hl7.org/fhir/issue-type; ``text`` is the sentence for people and becomes both
    ``details.text`` and, with ``diagnostics`` appended when given, ``diagnostics``; ``expression`` is the FHIRPath
    of the element meant (``Patient.name[0].family``) or the name of the search parameter (``Patient?name``).
    """

    code: str
    text: str
    expression: str | None = None
    severity: str = "error"
    diagnostics: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The issue as the JSON of ``OperationOutcome.issue``."""
        body: dict[str, Any] = {
            "severity": self.severity,
            "code": self.code,
            "details": {"text": self.text},
            "diagnostics": self.diagnostics or self.text,
        }
        if self.expression:
            body["expression"] = [self.expression]
        return body


def outcome(issues: Sequence[Issue]) -> dict[str, Any]:
    """An OperationOutcome resource of ``issues`` (at least one)."""
    return {"resourceType": "OperationOutcome", "issue": [issue.as_json() for issue in issues]}


class FhirError(Exception):
    """A failed interaction: an HTTP status, the issues that say why, and headers the answer needs."""

    status = 500

    def __init__(
        self,
        issues: Issue | Sequence[Issue],
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.issues: tuple[Issue, ...] = (issues,) if isinstance(issues, Issue) else tuple(issues)
        if status is not None:
            self.status = status
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(self.issues[0].text if self.issues else "")


class BadRequest(FhirError):
    """400: the request cannot be understood (syntax, structure, unknown parameter)."""

    status = 400


class Unauthorized(FhirError):
    """401: no token, or one that is not good (any more); ``headers`` carries ``WWW-Authenticate``."""

    status = 401


class Forbidden(FhirError):
    """403: known who asks, but not allowed to do this; the text names the scope or the rule that is missing."""

    status = 403


class NotFound(FhirError):
    """404: no such resource, or not one the caller may see; the two are indistinguishable."""

    status = 404


class MethodNotAllowed(FhirError):
    """405: the interaction is not offered here; ``headers`` carries ``Allow``."""

    status = 405


class NotAcceptable(FhirError):
    """406: none of the formats asked for can be produced."""

    status = 406


class Conflict(FhirError):
    """409: the change collides with the present state (a reference in use, a concurrent change)."""

    status = 409


class Gone(FhirError):
    """410: the resource was deleted."""

    status = 410


class PreconditionFailed(FhirError):
    """412: If-Match, or a conditional interaction whose criteria match more than one resource."""

    status = 412


class TooLarge(FhirError):
    """413: the body is larger than the server takes."""

    status = 413


class UnsupportedMediaType(FhirError):
    """415: the body's Content-Type is not one the server reads."""

    status = 415


class Unprocessable(FhirError):
    """422: the resource breaks a business rule (a profile, an invariant, a reference to nothing)."""

    status = 422


class TooManyRequests(FhirError):
    """429: this caller has used up its budget for now; ``headers`` carries ``Retry-After``."""

    status = 429


class Overloaded(FhirError):
    """503: too much work in hand; try again after ``Retry-After`` seconds."""

    status = 503
