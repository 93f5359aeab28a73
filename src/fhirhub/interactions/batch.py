"""batch: each entry as if it had come alone (https://hl7.org/fhir/R4/http.html#batch)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from fhirhub.errors import BadRequest, FhirError, Issue
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.bundles import bundle
from fhirhub.interactions.entries import Answered, answered, failed, named, request_of
from fhirhub.interactions.perform import is_recorded, perform
from fhirhub.interactions.provenance import HEADER
from fhirhub.resource.bundle import Entry, plan
from fhirhub.store.audit.trail import Trail

log = logging.getLogger("fhirhub.interactions")
TOGETHER = 32
"""Entries in hand at a time: enough for them to share commits, too few to crowd out other requests."""


async def batch(
    hub: Hub, request: FhirRequest, document: dict[str, Any], wrong: dict[int, list[Issue]]
) -> FhirResult:
    """The answers in the order of the entries; ``wrong`` (entry number -> issues) are refused without a try."""
    if HEADER in request.headers:
        text = (
            "X-Provenance goes with one write or one transaction; in a batch, add a Provenance as an entry."
        )
        raise BadRequest(Issue("not-supported", text))
    planned = plan(document, hub.definitions.type_number, (request.base,), hub.limits.entries)
    for number, issues in wrong.items():
        planned.problems[number] = _united(planned.problems.get(number, []), issues)
    answers: dict[int, Answered] = {
        number: failed(400, issues) for number, issues in planned.problems.items()
    }
    problems = planned.problems
    await _tell(hub, [(entry, problems[entry.index]) for entry in planned.entries if entry.index in problems])
    gate = asyncio.Semaphore(TOGETHER)

    async def one(entry: Entry) -> None:
        async with gate:
            answers[entry.index] = await _one(hub, request, entry)

    # Deletes before creates before updates before reads, as in a transaction: what an entry may rely on is the same.
    for _, entries in groupby(planned.in_order(), lambda entry: entry.method):
        await asyncio.gather(*(one(entry) for entry in entries))
    if hub.store.trail is not None:
        # Each entry has told of itself.
        hub.store.trail.recorded = True
    listed = [answers[entry.index].as_json() for entry in planned.entries]
    return FhirResult(200, bundle("batch-response", None, (), listed, hub.clock()))


async def _one(hub: Hub, whole: FhirRequest, entry: Entry) -> Answered:
    try:
        request = request_of(entry, whole)
        return answered(request, await perform(hub, request, entry.index))
    except FhirError as error:
        if not is_recorded(error):
            await _tell(hub, [(entry, error.issues)], error.status)
        return failed(error.status, named(error, entry.expression).issues)
    except Exception:  # noqa: BLE001  the other entries are done; theirs are answers the caller needs
        log.exception("entry %d of a batch failed", entry.index)
        text = "The server failed to handle this entry; the others are not concerned."
        return failed(500, [Issue("exception", text, entry.expression, severity="fatal")])


async def _tell(hub: Hub, refused: Sequence[tuple[Entry, Sequence[Issue]]], status: int = 400) -> None:
    """Put entries on record that did not come as far as their interaction."""
    trail, audit = hub.store.trail, hub.store.audit
    if trail is None or audit is None:
        return
    told = []
    for entry, issues in refused:
        name = f"${entry.operation}" if entry.operation else entry.interaction or "refused"
        own = Trail(
            trail.caller, name, entry.type, entry.id, query=entry.parameters, base=trail.base,
            request=trail.request, entry=entry.index,
        )  # fmt: skip
        told.append(own.finished(status, issues[0].text))
    await audit.record(told)


def _united(first: Sequence[Issue], second: Sequence[Issue]) -> list[Issue]:
    """Both lists; an expression that the first speaks of is not spoken of twice."""
    known = {issue.expression for issue in first}
    return [*first, *(issue for issue in second if issue.expression not in known)]
