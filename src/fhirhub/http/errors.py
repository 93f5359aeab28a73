"""The one place where what went wrong becomes an OperationOutcome: https://hl7.org/fhir/R4/operationoutcome.html."""

from __future__ import annotations

import logging

from fhirhub.errors import FhirError, Issue, outcome
from fhirhub.exchange import FhirResult
from fhirhub.resource import json

log = logging.getLogger("fhirhub.http")


def result_of(error: Exception, request_id: str) -> FhirResult:
    """The answer to ``error``. What is no FhirError is a fault of ours: the log gets it all, the caller an id."""
    if not isinstance(error, FhirError):
        log.error("request %s failed", request_id, exc_info=error)
        text = (
            f"The server failed to handle this request. Quote the request id {request_id} when you report it."
        )
        error = FhirError(Issue("exception", text, severity="fatal"))
    return FhirResult(error.status, json.dumps(outcome(error.issues)), error.headers)
