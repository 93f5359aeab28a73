"""Observation/$lastn: https://hl7.org/fhir/R4/observation-operation-lastn.html.

The last observations of each code, of one subject, as far as they fulfil the criteria: any search parameter of
Observation may be among them.
"""

from __future__ import annotations

from dataclasses import replace

from fhirhub.errors import BadRequest, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import bundle, notes_entry, url_with, whole_entries
from fhirhub.operations.given import given

_SUBJECT = frozenset(("patient", "subject"))
_WHAT = frozenset(("category", "code", "combo-code", "component-code"))
_SHAPING = frozenset(
    ("_count", "_sort", "_cursor", "_include", "_revinclude", "_total", "_summary", "_elements")
)
_MOST = 1000
"""Observations in the answer."""


async def lastn(hub: Hub, request: FhirRequest) -> FhirResult:
    """One Bundle with the last ``max`` (1) observations of every code, newest first within each."""
    assert request.type is not None
    parameters = given(request)
    each, criteria = 1, []
    for name, value in parameters:
        if name == "max":
            each = _positive(value)
        elif name.partition(":")[0] in _SHAPING:
            text = f"$lastn has its own order and no pages; leave {name} out."
            raise BadRequest(Issue("not-supported", text, name[:64]))
        else:
            criteria.append((name, value))
    heads = {name.partition(":")[0].partition(".")[0] for name, _ in criteria}
    if heads.isdisjoint(_SUBJECT) or heads.isdisjoint(_WHAT):
        text = "$lastn needs whose observations (patient or subject) and which (category or code)."
        raise BadRequest(Issue("required", text))
    search = hub.parser.parse(request.type, criteria, lenient=request.prefer.lenient, bases=(request.base,))
    found = await hub.store.latest(replace(search, count=_MOST), each)
    entries = whole_entries(request.base, found, "match")
    if search.notes:
        entries.append(notes_entry(search.notes))
    links = [("self", url_with(f"{request.base}/{request.type}/$lastn", parameters))]
    return FhirResult(200, bundle("searchset", len(found), links, entries, hub.clock()))


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not 0 < int(value[:9]) <= _MOST or len(value) > 9:
        raise BadRequest(
            Issue("value", f"max is a whole number from 1 to {_MOST}, not '{value[:20]}'.", "max")
        )
    return int(value)
