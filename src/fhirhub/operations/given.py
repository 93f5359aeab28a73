"""The parameters of an operation: https://hl7.org/fhir/R4/operations.html#request."""

from __future__ import annotations

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest
from fhirhub.resource import json


def given(request: FhirRequest) -> list[tuple[str, str]]:
    """The parameters of the URL and of a Parameters resource in the body, as (name, value)."""
    found = list(request.parameters)
    if request.body:
        document = json.parse(request.body)
        listed = document.get("parameter", [])
        if document.get("resourceType") != "Parameters" or type(listed) is not list:
            raise BadRequest(
                Issue("invalid", "The body of an operation is a Parameters resource.", "resourceType")
            )
        for one in listed:
            values = (
                [str(value) for key, value in one.items() if key.startswith("value")]
                if type(one) is dict
                else []
            )
            if len(values) != 1 or type(one.get("name")) is not str:
                raise BadRequest(
                    Issue("invalid", "Each parameter has a name and one value.", "Parameters.parameter")
                )
            found.append((one["name"], values[0]))
    return found
