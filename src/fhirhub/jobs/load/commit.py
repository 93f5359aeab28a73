"""Items into the store: many in one database transaction, with the journal that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fhirhub.auth.access import OPEN
from fhirhub.errors import FhirError, PreconditionFailed
from fhirhub.exchange import FhirRequest, Preferences
from fhirhub.hub import Hub
from fhirhub.interactions.changes import change
from fhirhub.interactions.entries import problems
from fhirhub.interactions.transaction import transaction
from fhirhub.jobs.load.cut import problem
from fhirhub.jobs.load.items import Deferred, Item, Name, Result
from fhirhub.resource import json
from fhirhub.search.request import SearchRequest
from fhirhub.store import journal
from fhirhub.store.records import Change, Dangling, Page, missing_reference
from fhirhub.store.store import Session, Store
from fhirhub.view.view import View

MEMORY = 50_000
"""Conditional references whose answers are remembered."""
_MINIMAL = Preferences(returns="minimal")


class Known:
    """Answers to conditional references. They stay what they were: a resource keeps its id, and one that has been
    deleted since is found missing when what refers to it is written."""

    def __init__(self) -> None:
        self._pages: dict[Any, Page] = {}

    def get(self, request: Any) -> Page | None:
        """The answer, if it is known."""
        return self._pages.get(request)

    def keep(self, request: Any, page: Page) -> None:
        """Remember an answer with exactly one match."""
        if len(page.matches) == 1:
            if len(self._pages) >= MEMORY:
                self._pages.clear()
            self._pages[request] = page

    def forget(self) -> None:
        """Ask anew from now on."""
        self._pages.clear()


class Within(View):
    """The store as seen inside one session: what interactions do through it commits with the session."""

    def __init__(self, hub: Hub, store: Store, session: Session, known: Known) -> None:
        super().__init__(store, OPEN, hub.extractor, session=session)
        self._held, self._known = session, known

    async def search(self, request: SearchRequest, *, whole: bool = False) -> Page:
        """One page; an answer that found its one resource is remembered."""
        page = self._known.get(request)
        if page is None:
            page = await super().search(request, whole=whole)
            self._known.keep(request, page)
        return page

    @asynccontextmanager
    async def exclusively(self, locks: Sequence[str]) -> AsyncIterator[View]:
        """The session itself; ``locks`` are held until it ends."""
        await journal.hold(self._held, locks)
        yield self


@dataclass(slots=True)
class _Batch:
    """A commit in the making."""

    within: Within
    session: Session
    result: Result = field(default_factory=lambda: Result(0))
    done: dict[str, set[int]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def finish(self, item: Item, counts: Counter[str]) -> None:
        self.done.setdefault(item.unit, set()).add(item.number)
        self.counts.setdefault(item.unit, Counter()).update(counts)
        self.result.counts.update(counts)


class Committer:
    """Writes items to ``store``. ``base`` is the address under which this server is known."""

    def __init__(self, hub: Hub, store: Store, base: str) -> None:
        self._hub = hub
        self._store = store
        self._base = base
        self.known = Known()

    async def commit(self, items: Sequence[Item], numbers: dict[str, set[int]]) -> Result:
        """Take in ``items`` in one database transaction; ``numbers`` are all item numbers of their units.

        What refers to something that is not there is deferred, what the store refuses is a problem; both leave
        the others alone. Raises what makes the transaction as a whole fail (StaleBase, a lost connection …).
        """
        store = self._store
        units = sorted({item.unit for item in items})
        async with store.exclusively([journal.lock(unit) for unit in units]) as session:
            states = await journal.read_within(session, units)
            items = [
                item for item in items if item.unit not in states or item.number in states[item.unit].open
            ]
            batch = _Batch(Within(self._hub, store, session, self.known), session)
            await self._resources(batch, [item for item in items if item.form == "resource"])
            for item in items:
                if item.form == "transaction":
                    await self._transaction(batch, item)
            for unit in units:
                state = states.setdefault(unit, journal.State(set(numbers[unit])))
                state.open -= batch.done.get(unit, set())
                for type_, count in batch.counts.get(unit, Counter()).items():
                    state.counts[type_] = state.counts.get(type_, 0) + count
            await journal.write_within(session, states)
        return batch.result

    # --- resources

    async def _resources(self, batch: _Batch, items: Sequence[Item]) -> None:
        """Plain resources; one that comes twice is written twice, in order."""
        while items:
            names: set[Name] = set()
            now: list[Item] = []
            later: list[Item] = []
            for item in items:
                name = _name(item)
                (later if name in names else now).append(item)
                if name is not None:
                    names.add(name)
            await self._write(batch, now)
            items = later

    async def _write(self, batch: _Batch, items: Sequence[Item]) -> None:
        pairs = [(item, made) for item, made in zip(items, await self._changes(batch, items), strict=True)]
        while pairs:
            try:
                await batch.session.write([made for _, made in pairs])
                break
            except Dangling as error:
                if any(issue.code != "not-found" for issue in error.issues):
                    raise
                dead = await self._dead(batch, [made for _, made in pairs])
                if not dead:
                    raise
                pairs = self._without(batch, pairs, dead)
        for item, _ in pairs:
            assert item.document is not None
            batch.finish(item, Counter([item.document["resourceType"]]))

    async def _changes(self, batch: _Batch, items: Sequence[Item]) -> list[Change]:
        names = [name for item in items if (name := _name(item)) is not None]
        bases = dict(zip(names, await batch.session.read_many(names), strict=True)) if names else {}
        made = []
        for item in items:
            document, name = item.document, _name(item)
            assert document is not None
            id_ = name[1] if name else self._hub.new_id()
            base = bases[name] if name else None
            made.append(change(self._hub, self._base, item.method, document, id_, base, item.place))
        return made

    async def _dead(self, batch: _Batch, changes: Sequence[Change]) -> set[Name]:
        """What ``changes`` refer to and what neither they nor the store have."""
        own = {(one.type, one.id) for one in changes}
        wanted = {(t, i) for one in changes if one.rows for _, t, i in one.rows.references} - own
        names = sorted(wanted)
        found = await batch.session.read_many(names)
        return {
            name
            for name, one in zip(names, found, strict=True)
            if one is None or one.deleted or one.version < 1
        }

    def _without(
        self, batch: _Batch, pairs: list[tuple[Item, Change]], dead: set[Name]
    ) -> list[tuple[Item, Change]]:
        """``pairs`` without those that refer to what is ``dead``, and those that refer to these, and so on."""
        while True:
            kept = []
            for item, made in pairs:
                assert made.rows is not None
                missing = {(t, i) for _, t, i in made.rows.references} & dead
                if not missing:
                    kept.append((item, made))
                    continue
                issues = [missing_reference(t, i) for t, i in sorted(missing)]
                about = problem(item, item.document, issues)
                batch.result.deferred.append(
                    Deferred(_packed(item), (made.type, made.id), tuple(sorted(missing)), about)
                )
                if made.base is None or made.base.deleted:
                    dead.add((made.type, made.id))
            if len(kept) == len(pairs):
                return kept
            pairs = kept

    # --- transactions

    async def _transaction(self, batch: _Batch, item: Item) -> None:
        # Links are written into the document, so that it serves one attempt only.
        document, item.document = item.document or json.parse(item.body), None
        hub = replace(self._hub, store=batch.within)
        whole, by_entry = await problems(hub, document)
        issues = [*whole, *(issue for number in sorted(by_entry) for issue in by_entry[number])]
        if issues:
            batch.result.problems.append(problem(item, None, issues))
            return
        counts = counted(document)
        request = FhirRequest("bundle", body=item.body, prefer=_MINIMAL, base=self._base)
        try:
            await transaction(hub, request, document)
        except FhirError as error:
            about = problem(item, None, error.issues)
            if not _may_come(error):
                batch.result.problems.append(about)
            else:
                self.known.forget()
                batch.result.deferred.append(Deferred(item, None, (), about))
            return
        batch.finish(item, counts)


def counted(bundle: dict[str, Any]) -> Counter[str]:
    """Resource type -> resources that a transaction brings."""
    return Counter(
        entry["resource"]["resourceType"]
        for entry in bundle.get("entry", ())
        if "resource" in entry and entry.get("request", {}).get("method") in ("POST", "PUT")
    )


def _may_come(error: FhirError) -> bool:
    """Whether what is missing may be in a file that has not been read yet."""
    if isinstance(error, Dangling):
        return True
    return isinstance(error, PreconditionFailed) and any(issue.code == "not-found" for issue in error.issues)


def _name(item: Item) -> Name | None:
    """What the item writes to, unless it gets a new id."""
    if item.method != "PUT" or item.document is None:
        return None
    return item.document["resourceType"], item.document["id"]


def _packed(item: Item) -> Item:
    """The item as it travels: with its text, without its document."""
    assert item.document is not None
    return replace(item, body=json.dumps(item.document), document=None)
