"""``Prefer: respond-async``: https://hl7.org/fhir/R4/async.html, with answers as in https://hl7.org/fhir/async-bundle.html.

The request is answered at once by 202 and the URL that tells how it stands. When it is done, that URL answers with a
Bundle whose one entry is the answer, an error too. It opens for whoever asked, for an hour, as long as the caller may
see the same as then; DELETE cancels.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from fhirhub.errors import BadRequest, FhirError, Issue, NotFound, outcome
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Handler, Hub
from fhirhub.interactions.bundles import bundle
from fhirhub.interactions.perform import perform
from fhirhub.resource import json
from fhirhub.store.background import Background
from fhirhub.store.jobs import CANCELLED, DONE, FAILED, Job

STATUS, CANCEL = "async-status", "async-cancel"
RETRY = "1"
"""Seconds after which to ask again."""


def deferrable(handler: Handler) -> Handler:
    """``handler``, which does its work in the background when that is preferred."""

    async def answer(hub: Hub, request: FhirRequest) -> FhirResult:
        background = hub.background
        if background is None or not request.prefer.respond_async:
            return await handler(hub, request)
        # A caller of its own: what it finds goes on record when it is found.
        own = hub.seen_by(hub.access, hub.store.origin)
        waited = replace(request, prefer=replace(request.prefer, respond_async=False))

        async def work() -> bytes:
            return await _answered(own, waited)

        return accepted(request, await background.begin(hub.access.sight.bounds, work))

    return answer


def accepted(request: FhirRequest, id: str) -> FhirResult:
    """202, with the URL that tells how the job ``id`` stands."""
    url = f"{request.base}/${STATUS}?job={id}"
    issue = Issue(
        "informational", f"It is being worked at; {url} tells how it stands.", severity="information"
    )
    return FhirResult(202, json.dumps(outcome([issue])), {"content-location": url})


async def _answered(hub: Hub, request: FhirRequest) -> bytes:
    """What ``request`` is answered, as a Bundle."""
    try:
        result = await perform(hub, request)
        status, body = result.status, result.body
    except FhirError as error:
        status, body = error.status, json.dumps(outcome(error.issues))
    return _enclosed(hub, status, body)


def _enclosed(hub: Hub, status: int, body: bytes) -> bytes:
    said = f"{status} {HTTPStatus(status).phrase}".encode()
    place = b'"resource":%b,' % body if status < 400 else b""
    told = b',"outcome":%b' % body if status >= 400 else b""
    return bundle(
        "batch-response", None, (), [b'{%b"response":{"status":"%b"%b}}' % (place, said, told)], hub.clock()
    )


async def status(hub: Hub, request: FhirRequest) -> FhirResult:
    """How a job stands: 202 with X-Progress, or 200 with what came of it."""
    background, id = _of(hub, request)
    # What was found is for who still may find it; how a reindexing stands, for whoever began it.
    sight = hub.access.sight
    job = await background.find(id, sight.bounds, sight.holder)
    if job is None or job.state == CANCELLED:
        raise _unknown()
    if job.state == DONE:
        return FhirResult(200, job.result or _done(hub, job))
    if job.state == FAILED:
        text = job.problem or "It failed."
        raise FhirError(Issue("exception", text), status=500)
    progress = f"{job.percent} %" if job.total else job.state
    return FhirResult(202, b"", {"x-progress": progress, "retry-after": RETRY})


def _done(hub: Hub, job: Job) -> bytes:
    """What is said of a job that had something to do rather than to find."""
    issue = Issue("informational", f"Done: {job.done} resources.", severity="information")
    return _enclosed(hub, 200, json.dumps(outcome([issue])))


async def cancel(hub: Hub, request: FhirRequest) -> FhirResult:
    """End a job, and forget what came of it."""
    background, id = _of(hub, request)
    if not await background.cancel(id, hub.access.sight.bounds):
        raise _unknown()
    return FhirResult(202)


def _of(hub: Hub, request: FhirRequest) -> tuple[Background, str]:
    ids = [value for name, value in request.parameters if name == "job"]
    if len(ids) != 1 or not 0 < len(ids[0]) <= 64 or not ids[0].isascii():
        raise BadRequest(Issue("required", "The parameter job names one job.", "job"))
    if hub.background is None:
        raise _unknown()
    return hub.background, ids[0]


def _unknown() -> NotFound:
    return NotFound(
        Issue("not-found", "There is no such job of yours; what came of one is kept for an hour.")
    )
