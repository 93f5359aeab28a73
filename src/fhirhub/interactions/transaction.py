"""transaction: all entries or none (https://hl7.org/fhir/R4/http.html#transaction).

Conditions and conditional references are looked up first and see the store as it was before; then every link between
the entries is written with the ids they get; then all changes go to the store as one; reads come last and see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fhirhub.errors import BadRequest, FhirError, Issue, NotFound, PreconditionFailed
from fhirhub.exchange import FhirRequest, FhirResult
from fhirhub.hub import Hub
from fhirhub.interactions.answers import check_if_match, etag, information, living
from fhirhub.interactions.bundles import bundle
from fhirhub.interactions.changes import change, check_valid, is_alive, persistent, stored
from fhirhub.interactions.criteria import Criteria, criteria_of_query, the_one
from fhirhub.interactions.delete import deletable, deletion
from fhirhub.interactions.entries import (
    BREATH,
    Answered,
    answered,
    interaction_of,
    named,
    patch_of,
    request_of,
)
from fhirhub.interactions.patch import asks_for_values, check_may_ask, patched
from fhirhub.interactions.perform import admit, perform
from fhirhub.interactions.provenance import given, witnessed
from fhirhub.interactions.targets import misdirected
from fhirhub.interactions.update import taken, target_id
from fhirhub.resource import json
from fhirhub.resource.bundle import Entry, Plan, overlaps, plan
from fhirhub.resource.links import Found, Links
from fhirhub.resource.meta import instant
from fhirhub.store.records import Change, Stored, Written
from fhirhub.view.view import View

Name = tuple[str, str]
ACTIONS = {"update": "u", "patch": "u", "delete": "d"}
"""What the entries that change a present version do to it, in the letters of scopes."""
REFERENCES_TOGETHER = 8
"""Conditional references that are looked up at a time."""


@dataclass(slots=True)
class Work:
    """A transaction on its way."""

    hub: Hub
    request: FhirRequest
    plan: Plan
    links: dict[int, Found] = field(default_factory=dict)
    conditions: dict[int, Criteria] = field(default_factory=dict)
    """Entry number -> the condition of a conditional create, update, patch or delete."""
    references: dict[str, Criteria] = field(default_factory=dict)
    """Conditional references by their text."""
    bases: dict[Name, Stored | None] = field(default_factory=dict)
    """What the entries find under the ids they write to."""
    doomed: dict[int, list[Stored]] = field(default_factory=dict)
    """Entry number -> what a conditional delete removes."""
    there: dict[int, Stored] = field(default_factory=dict)
    """Entry number -> what a conditional create found, so that it creates nothing."""
    changes: dict[int, list[Change]] = field(default_factory=dict)
    """Entry number -> its changes; most have one."""


async def transaction(hub: Hub, request: FhirRequest, document: dict[str, Any]) -> FhirResult:
    """The response Bundle; any failing entry fails the whole, and is named in the outcome."""
    fresh: list[dict[str, Any]] = [document]

    async def attempt() -> FhirResult:
        # Links are written into the documents, so a second attempt starts from the body again.
        current = fresh.pop() if fresh else json.parse(request.body)
        return await _attempt(hub, request, current)

    return await persistent(hub, "transaction", attempt)


async def _attempt(hub: Hub, request: FhirRequest, document: dict[str, Any]) -> FhirResult:
    work = Work(
        hub,
        request,
        plan(document, hub.definitions.type_number, (request.base,), hub.limits.entries),
    )
    await _look_through(work)
    reads = [entry for entry in work.plan.entries if entry.method in ("GET", "HEAD")]
    if not work.conditions and not reads:
        return _response(work, *await _carry_out(work, hub.store), {})
    locks = sorted({lock for criteria in work.conditions.values() for lock in criteria.locks})
    async with hub.store.exclusively(locks) as session:
        changes, written = await _carry_out(work, session)
        within = replace(hub, store=session)
        answers = {entry.index: await _read(within, request, entry) for entry in reads}
    return _response(work, changes, written, answers)


async def _look_through(work: Work) -> None:
    """Find the links and the conditions of all entries; nothing is asked of the store yet."""
    hub, base = work.hub, work.request.base
    links = Links(hub.definitions)
    for entry in work.plan.entries:
        if entry.index % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        with _in(entry):
            if entry.interaction == "operation" and entry.method == "POST":
                text = f"POST {entry.url[:200]}: operations by POST are not served inside a transaction."
                raise BadRequest(Issue("not-supported", text))
            operation = entry.operation.removeprefix("$") if entry.operation else None
            admit(hub.access, interaction_of(entry), entry.type, operation)
            if entry.conditional is not None and entry.type is not None:
                work.conditions[entry.index] = criteria_of_query(hub, entry.type, entry.conditional, base)
            if entry.resource is None or entry.method in ("GET", "HEAD"):
                continue
            found = links.scan(entry.resource, work.plan.urls, entry.full_url)
            work.links[entry.index] = found
            wrong = [*misdirected(hub.definitions, found, work.plan.urls)]
            if wrong:
                raise BadRequest(wrong)
            for _, _, text in found.conditional:
                if text not in work.references:
                    type, _, query = text.partition("?")
                    if type not in hub.definitions.type_number:
                        raise BadRequest(
                            Issue("value", f"The reference {text[:200]} names no resource type.")
                        )
                    work.references[text] = criteria_of_query(hub, type, query, base)


async def _carry_out(work: Work, store: View) -> tuple[list[Change], list[Written]]:
    targets = await _conditional_references(work, store)
    for entry in work.plan.entries:
        with _in(entry):
            if entry.index in work.conditions:
                await _meet_condition(work, entry, store)
            elif entry.interaction == "create":
                entry.id = work.hub.new_id()
    doubles = overlaps(work.plan.entries)
    if doubles:
        raise BadRequest([issue for _, issue in doubles])
    targets |= work.plan.targets()
    for found in work.links.values():
        found.rewrite(targets)
    await _read_bases(work, store)
    await _check_patches(work, store)
    for number, entry in enumerate(work.plan.in_order()):
        if number % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        with _in(entry):
            work.changes[entry.index] = _changes(work, entry)
    changes = [one for several in work.changes.values() for one in several]
    places = [number for number, several in work.changes.items() for _ in several]
    if not changes:
        return [], []
    told = given(work.hub, work.request, changes)
    written = await store.write([*changes, *told], places, own=witnessed(work.hub, work.request, changes))
    return changes, written[: len(changes)]


async def _conditional_references(work: Work, store: View) -> dict[str, str]:
    """Conditional reference -> ``Type/id``; 412 unless exactly one resource matches."""
    targets = {}
    # A session has one connection; the store has several, and answers several questions at a time.
    step = 1 if store.is_session else REFERENCES_TOGETHER
    texts = list(work.references)
    for start in range(0, len(texts), step):
        some = texts[start : start + step]
        answers = await asyncio.gather(*(the_one(store, work.references[text]) for text in some))
        for text, found in zip(some, answers, strict=True):
            if found is None:
                reason = f"The conditional reference {text[:200]} matches nothing."
                raise PreconditionFailed(Issue("not-found", reason, "Bundle.entry"))
            targets[text] = f"{found.type}/{found.id}"
    return targets


async def _meet_condition(work: Work, entry: Entry, store: View) -> None:
    """Give a conditional entry the id of what it writes to."""
    criteria = work.conditions[entry.index]
    if entry.interaction == "delete":
        work.doomed[entry.index] = await deletable(work.hub, store, criteria)
        return
    found = await the_one(store, criteria, whole=entry.interaction != "create")
    if entry.interaction == "create":
        if found is not None:
            work.there[entry.index] = found
        entry.id = found.id if found else work.hub.new_id()
        return
    if entry.interaction == "patch" and found is None:
        raise NotFound(Issue("not-found", f"Nothing matches {criteria.text[:200]}."))
    if entry.interaction == "patch" and found is not None:
        entry.id = found.id
    else:
        assert entry.resource is not None
        entry.id = target_id(entry.resource, found)
        if found is None and entry.id is not None:
            (found,) = await store.read_many([(criteria.search.type, entry.id)], "u")
            if is_alive(found):
                raise taken(entry.resource, criteria)
        entry.id = entry.id or work.hub.new_id()
    work.bases[criteria.search.type, entry.id] = found


async def _read_bases(work: Work, store: View) -> None:
    wanted: dict[str, list[Name]] = {}
    for entry in work.plan.entries:
        action = ACTIONS.get(entry.interaction)
        if action is not None and entry.type is not None and entry.id is not None:
            name = (entry.type, entry.id)
            if name not in work.bases:
                wanted.setdefault(action, []).append(name)
    for action, names in wanted.items():
        work.bases |= dict(zip(names, await store.read_many(names, action), strict=True))


async def _check_patches(work: Work, store: View) -> None:
    """Raise Forbidden for a patch that asks for the values of what its maker may not read."""
    for entry in work.plan.entries:
        if entry.interaction != "patch" or entry.type is None or entry.id is None or entry.resource is None:
            continue
        with _in(entry):
            body, content_type = patch_of(entry.resource, entry.expression)
            if asks_for_values(content_type, body) and is_alive(work.bases.get((entry.type, entry.id))):
                (readable,) = await store.read_many([(entry.type, entry.id)])
                check_may_ask(store.access, entry.type, readable is not None)


def _changes(work: Work, entry: Entry) -> list[Change]:
    """What ``entry`` changes: nothing, one resource, or several (a conditional delete)."""
    hub, label = work.hub, entry.expression
    if entry.method in ("GET", "HEAD") or entry.index in work.there:
        return []
    if entry.index in work.doomed:
        return [deletion(base, label) for base in work.doomed[entry.index]]
    assert entry.type is not None and entry.id is not None
    url = work.request.base
    if entry.interaction == "create":
        assert entry.resource is not None
        return [change(hub, url, "POST", entry.resource, entry.id, None, label)]
    base = work.bases[entry.type, entry.id]
    if entry.if_match is not None or entry.if_none_match is not None:
        check_if_match(request_of(entry, work.request).headers, base)
    if entry.interaction == "delete":
        return [deletion(base, label)] if base is not None and is_alive(base) else []
    assert entry.resource is not None
    if entry.interaction == "update":
        return [change(hub, url, "PUT", entry.resource, entry.id, base, label)]
    base = living(base, entry.type, entry.id)
    body, content_type = patch_of(entry.resource, label)
    document = patched(hub, json.parse(base.render()), content_type, body)
    check_valid(hub, document)
    return [change(hub, url, "PATCH", document, entry.id, base, label)]


async def _read(hub: Hub, whole: FhirRequest, entry: Entry) -> Answered:
    with _in(entry):
        request = request_of(entry, whole)
        return answered(request, await perform(hub, request, entry.index))


def _response(
    work: Work, changes: Sequence[Change], written: Sequence[Written], answers: dict[int, Answered]
) -> FhirResult:
    done = {(one.type, one.id): (made, one) for made, one in zip(changes, written, strict=True)}
    entries = []
    for entry in work.plan.entries:
        answer = answers.get(entry.index)
        if answer is None and entry.index in work.there:
            answer = _answer_stored(work, work.there[entry.index], 200, "found; nothing was created")
        if answer is None:
            pair = done.get((entry.type or "", entry.id or ""))
            answer = _answer_write(work, entry, *pair) if pair else Answered(204)
        entries.append(answer.as_json())
    return FhirResult(200, bundle("transaction-response", None, (), entries, work.hub.clock()))


def _answer_write(work: Work, entry: Entry, made: Change, written: Written) -> Answered:
    if entry.interaction == "delete":
        return Answered(204, None, etag(written.version), instant(written.updated))
    if work.request.prefer.returns != "minimal":
        result = "created" if written.created else "updated" if written.changed else "left as it was"
        shown = work.hub.store.echo(made, stored(made, written))
        return _answer_stored(work, shown, 201 if written.created else 200, result)
    location = f"{written.type}/{written.id}/_history/{written.version}"
    return Answered(
        201 if written.created else 200, location, etag(written.version), instant(written.updated)
    )


def _answer_stored(work: Work, found: Stored, status: int, result: str) -> Answered:
    """The answer that speaks of ``found``, with what ``Prefer`` asks for."""
    returns = work.request.prefer.returns
    answer = Answered(
        status,
        f"{found.type}/{found.id}/_history/{found.version}",
        etag(found.version),
        instant(found.updated),
    )
    if returns == "representation" and found.content is not None:
        answer.resource = found.render()
    elif returns == "OperationOutcome":
        answer.outcome = information(f"{found.type}/{found.id} {result}: version {found.version}.")
    return answer


@contextmanager
def _in(entry: Entry) -> Iterator[None]:
    """Whatever goes wrong inside names the entry."""
    try:
        yield
    except FhirError as error:
        raise named(error, entry.expression) from None
