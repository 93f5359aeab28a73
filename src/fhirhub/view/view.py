"""The store as one caller may see it: the only store that a handler is given.

Every row that leaves it, and every row a write touches, has passed the caller's Sight. What is hidden behaves like
what is not there. (https://hl7.org/fhir/R4/security.html#binary and docs/access.md)
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from fhirhub.auth.access import Access
from fhirhub.auth.compartment import BY_CONTEXT
from fhirhub.errors import Forbidden, Issue
from fhirhub.exchange import Origin
from fhirhub.resource import json
from fhirhub.search.extract import Extractor
from fhirhub.search.match import Subject
from fhirhub.search.narrowing import narrowed
from fhirhub.search.plain import labels_of
from fhirhub.search.predicate import Predicate, rewritten
from fhirhub.search.request import SearchRequest
from fhirhub.search.sight import ALL, NAME
from fhirhub.store.audit.search import Rows, Wanted
from fhirhub.store.audit.trail import Trail
from fhirhub.store.audit.writer import AuditWriter
from fhirhub.store.records import Change, HistoryPage, Page, Referenced, Stored, Written
from fhirhub.store.store import Session, Store
from fhirhub.view.confined import naming
from fhirhub.view.events import check_writable, limited, reach
from fhirhub.view.images import context_of, fits, redacted
from fhirhub.view.narrowings import Narrowings
from fhirhub.view.planning import Planned, planned
from fhirhub.view.pointing import decide
from fhirhub.view.versions import filled
from fhirhub.view.writing import WriteRules

Name = tuple[str, str]
"""(type, id) of a resource."""


NOWHERE = Origin()
_AT_ONCE = nullcontext()
_OPEN, _LABELLED, _NARROW = "open", "labelled", "narrow"
"""How a read is decided: always allowed; by whether the resource has labels; by looking for it under the condition."""


class BoundSealer:
    """Seals for one holder: what it seals opens for no other."""

    def __init__(self, store: Store, holder: str) -> None:
        self._sealer = store.sealer
        self._holder = f" {holder}" if holder else ""

    def seal(self, value: Any, purpose: str) -> str:
        """As :meth:`fhirhub.store.cursor.Sealer.seal`."""
        return self._sealer.seal(value, purpose + self._holder)

    def open(self, text: str, purpose: str) -> Any:
        """As :meth:`fhirhub.store.cursor.Sealer.open`."""
        return self._sealer.open(text, purpose + self._holder)


class View:
    """Resources as far as ``access`` lets them be seen by a caller at ``origin``.

    What is looked at and changed is told to ``trail``, where there is one.
    """

    def __init__(
        self,
        store: Store,
        access: Access,
        extractor: Extractor,
        origin: Origin = NOWHERE,
        *,
        audit: AuditWriter | None = None,
        trail: Trail | None = None,
        session: Session | None = None,
        within: Narrowings | None = None,
    ) -> None:
        self._store = store
        self._within_sight = within or Narrowings()
        self._session = session
        self._source: Store | Session = session or store
        # A session has one connection, so it answers one question at a time.
        self._turn: AbstractAsyncContextManager[Any] = Lock() if session else _AT_ONCE
        self._extractor = extractor
        self.access = access
        self.sight = access.sight
        """What the caller may reach."""
        self.origin = origin
        self.audit = audit
        self.trail = trail
        self._is_new = False
        self.spent = 0.0
        """Index entries that the searches so far were expected to look at."""

    @cached_property
    def sealer(self) -> BoundSealer:
        """Seals links for this caller."""
        return BoundSealer(self._store, self.sight.holder)

    @cached_property
    def _rules(self) -> WriteRules:
        return WriteRules(self.access, self._find)

    def seen_by(self, access: Access, origin: Origin) -> View:
        """The same store as another caller may see it."""
        made = View(self._store, access, self._extractor, origin, audit=self.audit, within=self._within_sight)
        made._is_new = True
        return made

    def takes(self, trail: Trail) -> bool:
        """Let ``trail`` tell of this view, if it was made for one caller and nothing has been done by it yet."""
        if not self._is_new:
            return False
        self._is_new = False
        self.trail = trail
        return True

    def told(self, trail: Trail) -> View:
        """This view for one interaction, of which ``trail`` is to tell."""
        return View(
            self._store, self.access, self._extractor, self.origin, audit=self.audit, trail=trail,
            session=self._session, within=self._within_sight,
        )  # fmt: skip

    @property
    def is_session(self) -> bool:
        """Whether everything here happens in one database transaction, on one connection."""
        return self._session is not None

    @asynccontextmanager
    async def exclusively(self, locks: Sequence[str]) -> AsyncIterator[View]:
        """This view inside one database transaction (:meth:`fhirhub.store.store.Store.exclusively`)."""
        async with self._store.exclusively(locks) as session:
            view = View(
                self._store, self.access, self._extractor, self.origin, audit=self.audit, trail=self.trail,
                session=session, within=self._within_sight,
            )  # fmt: skip
            yield view
            self.spent += view.spent

    # -- reading -----------------------------------------------------------------------------------------------

    async def read(self, type: str, id: str, action: str = "r") -> Stored | None:
        """The current version as far as ``action`` may touch it; None for what is absent, and for what is hidden.

        To be shown for ``r``; for other actions it is the whole resource, and must not leave.
        """
        found = None
        reach = self.access.known.get((action, type)) or self._reach(action, type)
        decided = reach == _OPEN
        if reach != _NARROW:
            if self._session is None:
                found = await self._store.read(type, id)
            else:
                async with self._turn:
                    found = await self._source.read(type, id)
            decided = decided or (found is not None and not found.deleted and is_unlabelled(found))
        if not decided:
            found = (await self._present(action, type, [id])).get(id)
        if self.trail is not None and found is not None and action == "r":
            self.trail.saw((found,))
        return found

    async def read_many(self, names: Sequence[Name], action: str = "r") -> list[Stored | None]:
        """As :meth:`read`, for many, in the order asked for."""
        if all(self.sight.is_open(action, type) for type, _ in names):
            async with self._turn:
                return await self._source.read_many(names)
        found: dict[Name, Stored] = {}
        for type, ids in _by_type(names).items():
            seen = await self._present(action, type, ids)
            found |= {(type, id): stored for id, stored in seen.items()}
        return [found.get(name) for name in names]

    async def vread(self, type: str, id: str, version: int) -> Stored | None:
        """One version, when both the present one and that one may be seen."""
        is_open = self.sight.is_open("r", type)
        present = None if is_open else (await self._present("r", type, [id])).get(id)
        if not is_open and present is None:
            return None
        stored = await self._store.vread(type, id, version)
        if stored is None or not (is_open or await self._was_visible(stored)):
            return None
        if present is not None and not stored.deleted and not await self._tells_past(present, "r"):
            return None
        self._saw((stored,))
        return self._shown(stored)

    async def history(
        self,
        type: str | None,
        id: str | None,
        since: int | None,
        at: tuple[int, int] | None,
        count: int,
        cursor: str | None,
    ) -> HistoryPage:
        """One page of a history. That of many resources is for those who may see all of a type."""
        sight = self.sight
        if type is not None and id is not None and not sight.is_open("r", type):
            present = (await self._present("r", type, [id])).get(id)
            if present is None:
                return HistoryPage()
            told = await self._tells_past(present, "r")

            async def past(versions: list[Stored]) -> list[Stored]:
                return [
                    self._shown(each)
                    for each in versions
                    if each.deleted or (told and await self._was_visible(each))
                ]

            return await self._versions((type,), id, since, at, count, cursor, past)
        among = self._store.definitions.resource_types if type is None else (type,)
        if id is None:
            among = tuple(each for each in among if self._sees_whole(each))
            if not among:
                text = "The history of many resources is for those who see more than the records of some patients."
                raise Forbidden(Issue("forbidden", text))
        if all(sight.is_open("s", each) for each in among):
            page = await self._store.history(among, id, since, at, count, cursor)
            self._saw(page.versions)
            return page
        return await self._versions(among, id, since, at, count, cursor, self._within_reach)

    async def _versions(
        self,
        types: tuple[str, ...],
        id: str | None,
        since: int | None,
        at: tuple[int, int] | None,
        count: int,
        cursor: str | None,
        keep: Callable[[list[Stored]], Awaitable[list[Stored]]],
    ) -> HistoryPage:
        """One page of those versions that ``keep`` keeps, as full as if there were no others."""

        async def ask(some: int, start: str | None) -> HistoryPage:
            within = self._has_or_had if id is None else None
            page = await self._store.history(types, id, since, at, some, start, within)
            page.versions = await keep(page.versions)
            return page

        page = await filled(ask, count, cursor, lambda last: self._store.link_after(last, types, id))
        self._saw(page.versions)
        return page

    def _has_or_had(self, type: str) -> Predicate:
        """The condition on resources of which the history of many tells."""
        return ALL if self.sight.is_open("s", type) else self.sight.of("s", type)

    def _sees_whole(self, type: str) -> bool:
        """Whether nothing but labels and consents keeps the caller from resources of ``type``."""
        sight = self.sight
        return sight.is_open("s", type) or (sight.allows("s", type) and sight.of(NAME, type) == ALL)

    async def _within_reach(self, versions: list[Stored]) -> list[Stored]:
        """Those of ``versions`` that may be seen by themselves, and of which the present version may be."""
        closed = {(each.type, each.id) for each in versions if not self.sight.is_open("s", each.type)}
        if not closed:
            return versions
        present: dict[Name, bool] = {}
        for type, ids in _by_type(sorted(closed)).items():
            for id, stored in (await self._present("s", type, ids)).items():
                present[type, id] = await self._tells_past(stored, "s")
        return [
            self._shown(each)
            for each in versions
            if (name := (each.type, each.id)) not in closed
            or (name in present and (each.deleted or (present[name] and await self._was_visible(each, "s"))))
        ]

    async def search(self, request: SearchRequest, *, whole: bool = False) -> Page:
        """One page of a search; nothing that is hidden is found, counted, followed or included.

        ``whole``: with their hidden elements, for what is to be changed; these must not leave.
        """
        asked = self._within_sight.of(request, self.access, self._store.definitions)
        async with self._turn:
            page = await self._source.search(asked)
        self.spent += page.cost
        if self.sight.hidden and not whole:
            page.matches = [self._shown(each) for each in page.matches]
            page.included = [self._shown(each) for each in page.included]
        self._saw(page.matches)
        self._saw(page.included)
        return page

    async def planned(self, request: SearchRequest) -> Planned:
        """How :meth:`search` would go about ``request``, as far as the caller may know."""
        return await planned(self._store, self.access, request)

    async def latest(self, request: SearchRequest, each: int) -> list[Stored]:
        """The last ``each`` matches of every code (:func:`fhirhub.store.latest.latest`)."""
        asked = narrowed(request, self.sight, self._store.definitions, self.access.require)
        found = await self._store.latest(asked, each)
        self._saw(found)
        return [self._shown(stored) for stored in found]

    async def events(self, wanted: Wanted, action: str) -> tuple[Rows, frozenset[str] | None]:
        """Rows of the audit trail, and the patients of whom the caller may see events (None: all events)."""
        patients = reach(self.sight, action)
        asked = limited(wanted, patients)
        if self.trail is not None and asked.patients:
            self.trail.patients.update(asked.patients)
        return await self._store.events(asked), patients

    # -- writing -----------------------------------------------------------------------------------------------

    async def write(
        self, changes: Sequence[Change], places: Sequence[int | None] = (), own: Sequence[Change] = ()
    ) -> list[Written]:
        """All of ``changes`` or none. Raises Forbidden for an image, before or after, that is out of reach.

        ``places`` are their positions in a Bundle, for the audit trail, which is written in the same commit. ``own``
        are changes that the server itself adds, whatever the caller may do; their answers come last.
        """
        check_writable(changes)
        if not self.sight.everything:
            await self._rules.check(changes)
        entries = self.trail.written(changes, places) if self.trail is not None else []
        try:
            async with self._turn:
                written = await self._source.write([*changes, *own], entries)
        except Referenced as error:
            if self.sight.everything:
                raise
            # Who refers to it may be hidden.
            text = "The resource cannot be deleted: others refer to it."
            raise Referenced([replace(issue, text=text) for issue in error.issues]) from None
        if self.trail is not None:
            self.trail.recorded = True
        return written

    def completed(self, document: dict[str, Any], base: Stored | None) -> dict[str, Any]:
        """``document``, which is to replace ``base``, with the elements of it that the caller cannot see."""
        return self._rules.completed(document, base)

    def echo(self, change: Change, stored: Stored) -> Stored:
        """``stored``, which ``change`` left, as it may be shown; without content when it may not."""
        type = stored.type
        if self.sight.is_open("r", type):
            return stored
        if not self._rules.fits(self.sight.of("r", type), change, stored):
            return replace(stored, content=None)
        return self._shown(stored)

    def _saw(self, found: Iterable[Stored]) -> None:
        if self.trail is not None:
            self.trail.saw(found)

    # -- seeing ------------------------------------------------------------------------------------------------

    async def _find(self, within: Predicate, type: str, ids: Sequence[str]) -> dict[str, Stored]:
        async with self._turn:
            return await self._source.visible(within, type, ids)

    async def _visible(self, action: str, type: str, ids: Sequence[str]) -> dict[str, Stored]:
        found = await self._find(self.sight.of(action, type), type, ids)
        if action != "r":
            return found
        return {id: self._shown(stored) for id, stored in found.items()}

    async def _present(self, action: str, type: str, ids: Sequence[str]) -> dict[str, Stored]:
        """What is within reach of ``action``, tombstones of what was included, by id.

        What is hidden takes the same two statements as what is absent.
        """
        found = await self._visible(action, type, ids)
        missing = [(type, id) for id in ids if id not in found]
        if missing:
            async with self._turn:
                tombstones = await self._source.gone(missing, naming(self.sight, action, type, ids))
            for each in tombstones:
                if each is not None and await self._was_reached(each, action):
                    found[each.id] = each
            # The one type that has such an element; it is in no compartment and has no index.
            if type == "Binary" and action == "r":
                found |= await self._shown_by_context([id for _, id in missing])
        return found

    async def _shown_by_context(self, ids: Sequence[str]) -> dict[str, Stored]:
        """Binaries that say themselves which resource's rules hold for them, if that one may be read
        (https://hl7.org/fhir/R4/binary-definitions.html#Binary.securityContext).

        That stands for belonging to a patient, and for nothing else: labels, consents and criteria hold all the same.
        """
        within = self.sight.of("r", "Binary")
        otherwise = rewritten(within, lambda leaf: ALL if leaf == BY_CONTEXT else leaf)
        if otherwise == within:
            return {}
        found: dict[str, Stored] = {}
        async with self._turn:
            contexts = await self._source.contexts(ids)
        for id in ids:
            # What is not there takes the same two statements: it is looked for as if a patient's who is not there.
            name = context_of(contexts.get(id, ""))
            type, about = name if name is not None and self.sight.allows("r", name[0]) else ("Patient", "")
            around = await self._find(self.sight.of("r", type), type, [about])
            found |= await self._find(otherwise, "Binary", [id if around else ""])
        return found

    async def _was_reached(self, tombstone: Stored, action: str) -> bool:
        """Whether what was deleted had been within reach."""
        if self.sight.of(NAME, tombstone.type) == ALL:
            return True
        return await self._tells_past(tombstone, action)

    async def _tells_past(self, present: Stored, action: str) -> bool:
        """Whether former versions of what is ``present`` may be seen: not where it was out of reach when it was
        deleted."""
        if not present.deleted:
            return True
        last = await self._store.vread(present.type, present.id, present.version - 1)
        return last is not None and not last.deleted and await self._was_visible(last, action)

    def _reach(self, action: str, type: str) -> str:
        """How ``action`` on a resource of ``type`` is decided; worked out once for each Access."""
        found = _OPEN if self.sight.is_open(action, type) else _NARROW
        if found == _NARROW and self._only_labels(action, type):
            found = _LABELLED
        self.access.known[action, type] = found
        return found

    def _only_labels(self, action: str, type: str) -> bool:
        """Whether a resource without security labels is within reach for that alone."""
        if type in self.sight.hidden:
            return False
        return bool(labels_of(self.sight.of(action, type), self._store.definitions))

    async def _was_visible(self, stored: Stored, action: str = "r") -> bool:
        """Whether this version by itself is within reach; one that only says that it was deleted is."""
        within = self.sight.of(action, stored.type)
        if stored.deleted or within == ALL:
            return True
        rows = self._extractor.rows(json.parse(stored.render()), (self.origin.base,))
        settled = await decide(within, rows, self._find, {}, {})
        return fits(settled, Subject(stored.type, stored.id, stored.updated, rows))

    def _shown(self, stored: Stored) -> Stored:
        """``stored`` without the elements that are hidden from the caller, and labelled as such."""
        hidden = self.sight.hidden.get(stored.type)
        return stored if not hidden or stored.content is None else redacted(stored, hidden)


def is_unlabelled(stored: Stored) -> bool:
    """Whether ``stored`` certainly has no security label."""
    return stored.meta is None or '"security"' not in stored.meta


def _by_type(names: Iterable[Name]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for type, id in names:
        found.setdefault(type, []).append(id)
    return found
