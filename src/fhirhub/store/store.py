"""The store: the one room that speaks SQL for FHIR data."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import FhirError
from fhirhub.search.custom import Indexing, Own, make
from fhirhub.search.predicate import Predicate
from fhirhub.search.request import SearchRequest
from fhirhub.store.audit.chain import Chains
from fhirhub.store.audit.search import Rows, Wanted, find
from fhirhub.store.audit.trail import Entry
from fhirhub.store.audit.writer import AuditWriter
from fhirhub.store.cost import UNGUARDED, Guard
from fhirhub.store.cursor import Sealer
from fhirhub.store.deferred import Deferred
from fhirhub.store.engine import Connection, Lane
from fhirhub.store.explain import Explained, explain, planned
from fhirhub.store.gathering import Gathering
from fhirhub.store.history import TAKEN, history, link_after, tested
from fhirhub.store.latest import latest
from fhirhub.store.pack import Packer
from fhirhub.store.parameters import Membership
from fhirhub.store.ranked import Ranks
from fhirhub.store.reads import VERSION, Reader, read_many, stored, tombstones
from fhirhub.store.records import Change, HistoryPage, Page, Stored, Written
from fhirhub.store.resolve import WITNESSES, Resolver, RidSource
from fhirhub.store.search import Searcher
from fhirhub.store.statistics import Statistics
from fhirhub.store.transact import Lesson, Writer
from fhirhub.store.visible import Visible

SECRETS = ("hash", "seal")
"""Names of the secrets of a store: one keys the hashes of the index, one seals cursors."""
REFRESH = 300.0
"""Seconds between two looks at the planner's statistics."""

LOCK = "select pg_advisory_xact_lock(7332, hashtext($1))"
LOCK_SHARED = "select pg_advisory_xact_lock_shared(7332, hashtext($1))"


async def load_secrets(lane: Lane) -> dict[str, bytes]:
    """The secrets of the store, made when it is first opened."""
    await lane.fetch(
        "insert into store (name, value) select * from unnest($1::text[], $2::text[]) on conflict do nothing",
        list(SECRETS),
        [secrets.token_hex(32) for _ in SECRETS],
    )
    rows = await lane.fetch("select name, value from store where name = any ($1::text[])", list(SECRETS))
    return {row["name"]: bytes.fromhex(row["value"]) for row in rows}


class Session:
    """One database transaction that holds named locks: for what must be looked up and written as one."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self._store = store
        self._connection = connection
        self.lessons: list[Lesson] = []

    async def read(self, type_: str, id_: str) -> Stored | None:
        """The current version of one resource."""
        return (await self.read_many([(type_, id_)]))[0]

    async def read_many(self, wanted: Sequence[tuple[str, str]]) -> list[Stored | None]:
        """The current versions of many, in the order asked for."""
        return await read_many(self._connection.fetch, self._store.definitions.type_number, wanted)

    async def gone(
        self, wanted: Sequence[tuple[str, str]], naming: Sequence[str] | None
    ) -> list[Stored | None]:
        """See :func:`fhirhub.store.reads.tombstones`."""
        numbers = self._store.definitions.type_number
        return await tombstones(self._connection.fetch, numbers, wanted, naming)

    async def contexts(self, ids: Sequence[str]) -> dict[str, str]:
        """What Binaries that are there name as their security context, by id."""
        return await self._store.seen.contexts(ids, self._connection.fetch)

    async def visible(self, within: Predicate, type_: str, ids: Sequence[str]) -> dict[str, Stored]:
        """Those of ``ids`` that are there and fulfil ``within``, by id."""
        return await self._store.seen.find(within, type_, ids, self._connection.fetch, keep=False)

    async def search(self, request: SearchRequest) -> Page:
        """One page of a search, with what this session has written."""
        searcher, connection = self._store.searcher, self._connection
        patience = searcher.guard.timeout
        # The lane of sessions has no timeout, for what they write; what they look for first has one.
        fetch = partial(connection.fetch_within, patience) if patience else connection.fetch
        return await searcher.search(request, fetch, keep=False)

    async def write(self, changes: Sequence[Change], entries: Sequence[Entry] = ()) -> list[Written]:
        """All of ``changes``, to be committed with the session; ``entries`` of the audit trail tell of them."""
        return await self._store.writer.write_within(changes, self._connection, self.lessons, entries)


class Store:
    """Resources, their history and their index in one Postgres database. Make one with :meth:`open`."""

    def __init__(
        self,
        definitions: Definitions,
        lanes: dict[str, Lane],
        keys: dict[str, bytes],
        *,
        integrity: bool,
        guard: Guard = UNGUARDED,
        audit_key: bytes | None = None,
        membership: Membership | None = None,
    ) -> None:
        self.secret = keys["hash"]
        self.membership = membership
        own = (membership.own, membership.generation) if membership else ((), 0)
        self.indexing: Indexing = make(definitions, self.secret, *own)
        """What to extract rows and parse searches with: HL7's parameters and the store's own."""
        self.published = definitions
        """HL7's definitions, without what the store adds to them."""
        definitions = self.definitions = self.indexing.definitions
        self.sealer = Sealer(keys["seal"])
        self.statistics = Statistics(numbers=definitions.type_number)
        self._lanes = lanes
        self._reader = Reader(lanes["read"], definitions.type_number)
        self._gathering = Gathering(lanes["search"])
        resolver = Resolver(definitions.type_number)
        packer = Packer(definitions.type_number, referrers(self.published), integrity=integrity)
        types = definitions.resource_types
        chains = None if audit_key is None else Chains(audit_key)
        self.audit = None if chains is None else AuditWriter(lanes["audit"], chains)
        """The audit trail, for what is no part of a change; None without a key."""
        self.writer = Writer(
            lanes["write"], packer, resolver, RidSource(), types, integrity=integrity, chains=chains
        )
        deferred = Deferred(definitions, self.secret)
        ranks = Ranks(definitions.type_number, self.secret)
        self.searcher = Searcher(definitions, resolver, self.statistics, self.sealer, deferred, ranks, guard)
        self.seen = Visible(self.searcher)
        self._refresher: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        dsn: str,
        definitions: Definitions,
        *,
        integrity: bool = True,
        connections: int = 8,
        guard: Guard = UNGUARDED,
        audit_key: bytes | None = None,
    ) -> Store:
        """A store on the migrated database at ``dsn``, with about ``connections`` connections of its own.

        ``audit_key`` (``Keys.derive("audit")``) lets it add to the audit trail.
        ``guard`` limits what one search may cost; commands of an administrator have no such limit.
        """
        patience = {"statement_timeout": f"{guard.timeout * 1000:.0f}"} if guard.timeout else None
        lanes = {
            "read": Lane(dsn, 2),
            "write": Lane(dsn, 2),
            "search": Lane(dsn, max(connections - 4, 2), patience),
            "session": Lane(dsn, max(connections - 4, 2)),
            "audit": Lane(dsn, 1),
        }
        membership = Membership(dsn)
        await lanes["read"].open()
        keys, _ = await asyncio.gather(load_secrets(lanes["read"]), membership.join())
        store = cls(
            definitions,
            lanes,
            keys,
            integrity=integrity,
            guard=guard,
            audit_key=audit_key,
            membership=membership,
        )
        await store.statistics.refresh(lanes["read"].fetch)
        store._refresher = asyncio.get_running_loop().create_task(store._refresh())
        return store

    async def close(self) -> None:
        """Let go of all connections."""
        if self._refresher is not None:
            self._refresher.cancel()
            with suppress(asyncio.CancelledError):
                await self._refresher
        if self.audit is not None:
            await self.audit.drain()
        for lane in self._lanes.values():
            await lane.close()
        if self.membership is not None:
            await self.membership.close()

    def remade(self, own: Sequence[Own], generation: int) -> Indexing:
        """What to index and search by with other parameters of the store's own."""
        return make(self.published, self.secret, own, generation)

    def adopt(self, indexing: Indexing) -> None:
        """Search by ``indexing`` from now on. Who makes rows has to be given its extractor."""
        self.indexing = indexing
        self.definitions = self.searcher.definitions = indexing.definitions
        self.searcher.deferred.definitions = indexing.definitions

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            # Old statistics only cost speed; an unreachable database shows itself elsewhere.
            with suppress(FhirError):
                await self.statistics.refresh(self._lanes["search"].fetch)

    @property
    def in_use(self) -> int:
        """Connections at work at the moment."""
        return sum(lane.in_use for lane in self._lanes.values())

    async def ping(self) -> None:
        """Raise Overloaded when the database does not answer."""
        await self._lanes["search"].fetch("select 1")

    async def read(self, type_: str, id_: str) -> Stored | None:
        """The current version of a resource (a tombstone when deleted), None if there never was one."""
        return await self._reader.read(type_, id_)

    async def read_many(self, wanted: Sequence[tuple[str, str]]) -> list[Stored | None]:
        """The current versions of many, in the order asked for."""
        return await read_many(self._lanes["search"].fetch, self.definitions.type_number, wanted)

    async def gone(
        self, wanted: Sequence[tuple[str, str]], naming: Sequence[str] | None
    ) -> list[Stored | None]:
        """See :func:`fhirhub.store.reads.tombstones`."""
        return await tombstones(self._lanes["search"].fetch, self.definitions.type_number, wanted, naming)

    async def contexts(self, ids: Sequence[str]) -> dict[str, str]:
        """What Binaries that are there name as their security context, by id."""
        return await self.seen.contexts(ids, self._lanes["search"].fetch)

    async def visible(self, within: Predicate, type_: str, ids: Sequence[str]) -> dict[str, Stored]:
        """Those of ``ids`` that are there and fulfil ``within``, by id."""
        return await self.seen.find(within, type_, ids, self._lanes["search"].fetch, keep=True)

    async def vread(self, type_: str, id_: str, version: int) -> Stored | None:
        """One version of a resource."""
        if not 0 < version < 1 << 31:
            return None
        rt = self.definitions.type_number[type_]
        rows = await self._lanes["read"].fetch(VERSION, rt, id_, version)
        return stored(type_, id_, rows[0]) if rows else None

    async def write(self, changes: Sequence[Change], entries: Sequence[Entry] = ()) -> list[Written]:
        """All of ``changes`` or none, with ``entries`` of the audit trail; returns when they are safely on disk.

        Raises StaleBase, Dangling or Referenced (see :mod:`fhirhub.store.records`).
        """
        return await self.writer.write(changes, entries)

    async def search(self, request: SearchRequest) -> Page:
        """One page of a search."""
        return await self.searcher.search(
            request, self._lanes["search"].fetch, together=self._gathering.fetch
        )

    async def explain(self, request: SearchRequest, *, run: bool = False) -> Explained:
        """How ``request`` would run (see :func:`fhirhub.store.explain.explain`)."""
        return await explain(self.searcher, request, self._lanes["search"].fetch, run=run)

    async def planned(self, request: SearchRequest) -> Explained:
        """How ``request`` would run, as far as it is known beforehand (:func:`fhirhub.store.explain.planned`)."""
        return await planned(self.searcher, request, self._lanes["search"].fetch)

    async def latest(self, request: SearchRequest, each: int) -> list[Stored]:
        """The last ``each`` matches of every code (see :func:`fhirhub.store.latest.latest`)."""
        return await latest(self.searcher, request, each, self._lanes["search"].fetch)

    async def events(self, wanted: Wanted) -> Rows:
        """One page of the audit trail."""
        return await find(self._lanes["search"].fetch, wanted)

    async def history(
        self,
        types: Sequence[str],
        id_: str | None,
        since: int | None,
        at: tuple[int, int] | None,
        count: int,
        cursor: str | None,
        within: Callable[[str], Predicate] | None = None,
    ) -> HistoryPage:
        """One page of the history of ``types``, newest first; times in microseconds since 1970 UTC.

        ``within``: of many resources, those only whose present version is a tombstone or fulfils that of its type.
        """
        among, fetch = self._numbers(types), self._lanes["search"].fetch
        where = tested(types, within) if within is not None else None
        test = await self.seen.tested(where, types, TAKEN, fetch) if where is not None else ("", ())
        return await history(
            fetch, self.sealer, self.definitions.resource_types, among=among, id_=id_, since=since, at=at,
            count=count, cursor=cursor, within=test,
        )  # fmt: skip

    def link_after(self, last: Stored, types: Sequence[str], id_: str | None) -> str:
        """The cursor of the page of the history of ``types`` that begins after the version ``last``."""
        return link_after(self.sealer, last, self._numbers(types), id_)

    def _numbers(self, types: Sequence[str]) -> list[int]:
        return [self.definitions.type_number[each] for each in types]

    @asynccontextmanager
    async def exclusively(self, locks: Sequence[str]) -> AsyncIterator[Session]:
        """One database transaction that nobody else holding one of ``locks`` runs beside.

        A lock ``Patient`` excludes every other on patients, ``Patient?identifier=a|1`` the same and ``Patient``.
        Commits when the block ends, rolls back when it raises.
        """
        async with self._lanes["session"].use() as connection:
            transaction = connection.raw.transaction()
            await transaction.start()
            try:
                await _lock(connection, set(locks))
                session = Session(self, connection)
                yield session
            except BaseException:
                with suppress(Exception):
                    await transaction.rollback()
                raise
            await transaction.commit()
            self.writer.learn(session.lessons)

    async def fetch(self, sql: str, *args: Any) -> Sequence[Any]:
        """The rows of a statement of an administrator's command."""
        return await self._lanes["search"].fetch(sql, *args)


async def _lock(connection: Connection, names: set[str]) -> None:
    """Take the locks, in one order for everybody: whole types first, then single conditions."""
    types = {name for name in names if "?" not in name}
    for name in sorted(types | {name.partition("?")[0] for name in names}):
        await connection.fetch(LOCK if name in types else LOCK_SHARED, name)
    for name in sorted(names - types):
        await connection.fetch(LOCK, name)


def referrers(definitions: Definitions) -> dict[str, list[tuple[int, int]]]:
    """Resource type -> (pid, type number of the source) of every parameter that may hold on to it."""
    found: dict[str, list[tuple[int, int]]] = {type_: [] for type_ in definitions.resource_types}
    for source in definitions.resource_types:
        if source in WITNESSES:
            continue
        for parameter in definitions.search_parameters(source).values():
            if parameter.kind == "reference" and parameter.expression:
                for target in parameter.targets or definitions.resource_types:
                    if target in found:
                        found[target].append((parameter.pid, definitions.type_number[source]))
    return found
