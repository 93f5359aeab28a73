"""Writes: the changes of requests that arrive together share one statement, one commit and one flush to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from fhirhub.errors import Issue
from fhirhub.store.audit.chain import Chain, Chains
from fhirhub.store.audit.trail import Entry
from fhirhub.store.engine import FULL, LOST, Connection, Lane
from fhirhub.store.pack import CALL, CALL_AUDITED, Packed, Packer, Unit
from fhirhub.store.records import Change, Dangling, Referenced, StaleBase, Stored, Written, missing_reference
from fhirhub.store.resolve import Fetch, Name, Resolver, RidSource

GROUP = 256
"""Changes that units sharing a commit have together, at most (one unit may be larger)."""

PLACEHOLDERS = """
select k.n, r.rid
from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (
    select r.rid from resource r where r.rt = k.rt and r.id = k.id and r.version = 0 offset 0
) as r
"""
HEAVY = 128
"""A group of more changes takes so long that others leave beside it."""
LAST_ATTEMPT = 5
STALE, MISSING, IN_USE = 1, 2, 3
RETRY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(slots=True)
class Lesson:
    """What a commit makes true for good, to be remembered after it and not before."""

    rids: dict[Name, int] = field(default_factory=dict)
    codings: set[tuple[int, int]] = field(default_factory=set)
    phrases: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Order:
    """One request waiting for its commit."""

    changes: Sequence[Change]
    done: asyncio.Future[list[Written]]
    attempts: int = 0
    lessons: list[Lesson] | None = None
    """Where to leave what was learned when the commit is somebody else's."""
    entries: Sequence[Entry] = ()
    """What the audit trail tells of it, in the same commit."""

    def fail(self, error: Exception) -> None:
        """Answer with ``error``, unless whoever waits has gone."""
        if not self.done.done():
            self.done.set_exception(error)


class Writer:
    """Applies changes to the database."""

    def __init__(
        self,
        lane: Lane,
        packer: Packer,
        resolver: Resolver,
        rids: RidSource,
        types: Sequence[str],
        *,
        integrity: bool,
        flights: int = 2,
        chains: Chains | None = None,
    ) -> None:
        """``chains`` are needed for changes that come with entries for the audit trail."""
        self._lane = lane
        self._chains = chains
        self._packer = packer
        self._resolver = resolver
        self._rids = rids
        self._types = types
        self._number = {type_: number for number, type_ in enumerate(types, 1)}
        self._integrity = integrity
        self._flights = flights
        self._pending: list[Order] = []
        self._flying = 0
        self._heavy = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, changes: Sequence[Change], entries: Sequence[Entry] = ()) -> list[Written]:
        """All of ``changes`` and the ``entries`` that tell of them, or none, together with whatever else is waiting;
        returns after the commit."""
        loop = asyncio.get_running_loop()
        order = Order(changes, loop.create_future(), entries=entries)
        self._pending.append(order)
        self._schedule(loop)
        return await order.done

    @property
    def _may_depart(self) -> bool:
        # One flight at a time makes the fullest groups; who has a heavy one before it need not wait for that.
        return bool(self._pending) and self._flying < min(self._flights, 1 + self._heavy)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._may_depart and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._scheduled = False
        if not self._may_depart:
            return
        group, self._pending = compose(self._pending)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._fly(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, group: list[Order]) -> None:
        heavy = sum(len(order.changes) for order in group) > HEAVY
        self._flying += 1
        self._heavy += heavy
        loop = asyncio.get_running_loop()
        self._schedule(loop)
        try:
            async with self._lane.use() as connection:
                await self._apply(group, connection.fetch, self._chain_of(connection))
        except Exception as error:
            for order in group:
                order.fail(error)
        finally:
            self._flying -= 1
            self._heavy -= heavy
            self._schedule(loop)

    def _chain_of(self, connection: Connection) -> Chain | None:
        return self._chains.of(connection) if self._chains is not None else None

    async def _apply(self, group: list[Order], fetch: Fetch, chain: Chain | None) -> None:
        """Write ``group``; whoever stands in the way of the others is answered first and left out."""
        units = await self._prepare(group, fetch)
        while units:
            packed = self._packer.pack([unit for _, unit in units])
            entries = [entry for order, _ in units for entry in order.entries]
            try:
                rows = await _call(packed, entries, fetch, chain)
            except (*LOST, FULL):
                raise
            except asyncpg.PostgresError as error:
                await self._alone([order for order, _ in units], error, fetch, chain)
                return
            if rows and rows[0]["problem"]:
                refused = await self._refusals([unit for _, unit in units], packed.origin, rows, fetch)
                for number, reason in refused.items():
                    units[number][0].fail(reason)
                units = [pair for number, pair in enumerate(units) if number not in refused]
                continue
            if entries and chain is not None and units[0][0].lessons is None:
                chain.committed()
            lesson = Lesson(codings=packed.codings, phrases=packed.phrases)
            self._answer(units, packed.origin, rows, lesson)
            within = units[0][0].lessons
            if within is None:
                self.learn([lesson])
            else:
                within.append(lesson)
            return

    async def _alone(
        self, orders: list[Order], error: asyncpg.PostgresError, fetch: Fetch, chain: Chain | None
    ) -> None:
        """The group failed as a whole: each order by itself, so that only the culprit fails."""
        if len(orders) > 1:
            for order in orders:
                await self._apply([order], fetch, chain)
            return
        (order,) = orders
        order.attempts += 1
        if isinstance(error, RETRY) and order.attempts <= LAST_ATTEMPT:
            await self._apply(orders, fetch, chain)
        elif isinstance(error, asyncpg.UniqueViolationError):
            # Without integrity, somebody else may just have made the same placeholder.
            if self._integrity or order.attempts > LAST_ATTEMPT:
                order.fail(StaleBase(_concurrent(order.changes[0])))
            else:
                await self._apply(orders, fetch, chain)
        elif isinstance(error, RETRY):
            order.fail(StaleBase(_concurrent(order.changes[0])))
        elif isinstance(error, asyncpg.DataError):
            order.fail(Dangling(Issue("value", f"The database refused a value: {error}")))
        else:
            order.fail(error)

    async def _prepare(self, group: list[Order], fetch: Fetch) -> list[tuple[Order, Unit]]:
        """rids for what is new and what is referred to; orders that refer to nothing are refused here."""
        await self._fill_placeholders(group, fetch)
        new = [c for order in group for c in order.changes if c.base is None]
        fresh = iter(await self._rids.take(len(new), fetch) if new else ())
        wanted: set[Name] = set()
        for order in group:
            referred = {
                (type_, id_)
                for change in order.changes
                if change.rows is not None
                for _, type_, id_ in change.rows.references
            }
            # What an order changes itself has its rid below.
            wanted |= referred.difference([(change.type, change.id) for change in order.changes])
        keep = group[0].lessons is None
        found = await self._resolver.resolve(wanted, fetch, keep=keep) if wanted else {}
        units: list[tuple[Order, Unit]] = []
        for order in group:
            rids = [change.base.rid if change.base else next(fresh) for change in order.changes]
            own = {(c.type, c.id): rid for c, rid in zip(order.changes, rids, strict=True)}
            unit = Unit(order.changes, rids, own)
            missing = self._connect(unit, found)
            if missing and self._integrity:
                order.fail(Dangling([missing_reference(t, i, at) for t, i, at in missing]))
                continue
            if missing:
                names = list(dict.fromkeys((t, i) for t, i, _ in missing))
                for name, rid in zip(names, await self._rids.take(len(names), fetch), strict=True):
                    unit.names[name] = rid
                    unit.placeholders.append(name)
            units.append((order, unit))
        return units

    async def _fill_placeholders(self, group: list[Order], fetch: Fetch) -> None:
        """What others already refer to has a row: a resource that the caller names may have to take its place."""
        named = [c for order in group for c in order.changes if c.base is None and c.method != "POST"]
        if not named:
            return
        numbers = [self._number[change.type] for change in named]
        for n, rid in await fetch(PLACEHOLDERS, numbers, [change.id for change in named]):
            change = named[n - 1]
            change.base = Stored(change.type, change.id, rid, 0, 0, True, "PUT", None, None)

    def _connect(self, unit: Unit, found: dict[Name, int]) -> list[tuple[str, str, str]]:
        """Give every reference of ``unit`` its rid; returns those that lead nowhere."""
        missing: list[tuple[str, str, str]] = []
        deleted = {(c.type, c.id) for c in unit.changes if c.document is None} if self._integrity else ()
        names = unit.names
        for change in unit.changes:
            if change.rows is None:
                continue
            for _, type_, id_ in change.rows.references:
                name = (type_, id_)
                if name in names:
                    if name in deleted:
                        missing.append((type_, id_, change.label))
                elif name in found:
                    names[name] = found[name]
                else:
                    missing.append((type_, id_, change.label))
        return list(dict.fromkeys(missing))

    async def _refusals(
        self, units: list[Unit], origin: list[tuple[int, int]], rows: Sequence[asyncpg.Record], fetch: Fetch
    ) -> dict[int, Exception]:
        """What to tell the units that the rows of problems speak of."""
        refused: dict[int, Exception] = {}
        for row in rows:
            if row["problem"] == MISSING:
                number = row["n"]
                names = {rid: name for name, rid in units[number].names.items()}
                type_, id_ = names[row["detail"]]
                refused.setdefault(number, Dangling(missing_reference(type_, id_)))
                continue
            number, position = origin[row["n"] - 1]
            change = units[number].changes[position]
            if row["problem"] == STALE:
                refused.setdefault(number, StaleBase(_concurrent(change)))
            else:
                referrer = await fetch(
                    "select id from resource where rt = $1 and rid = $2", row["version"], row["detail"]
                )
                name = (
                    f"{self._types[row['version'] - 1]}/{referrer[0]['id']}"
                    if referrer
                    else "another resource"
                )
                refused.setdefault(number, Referenced(_in_use(change, name)))
        return refused

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Remember what has been committed."""
        for lesson in lessons:
            self._packer.learn(lesson.codings, lesson.phrases)
            for name, rid in lesson.rids.items():
                self._resolver.remember(name, rid)

    def _answer(
        self,
        units: list[tuple[Order, Unit]],
        origin: list[tuple[int, int]],
        rows: Sequence[asyncpg.Record],
        lesson: Lesson,
    ) -> None:
        # Changes were sent in an order of their own; answers come in that of the units.
        answers: list[dict[int, Written]] = [{} for _ in units]
        for row in rows:
            number, position = origin[row["n"] - 1]
            unit = units[number][1]
            if position < 0:
                continue
            change, rid = unit.changes[position], unit.rids[position]
            created = change.base is None or change.base.deleted
            answers[number][position] = Written(
                change.type, change.id, rid, row["version"], row["updated"], row["changed"], created
            )
            if change.base is None:
                lesson.rids[change.type, change.id] = rid
        for (order, _), answer in zip(units, answers, strict=True):
            if not order.done.done():
                order.done.set_result([answer[position] for position in range(len(answer))])

    async def write_within(
        self,
        changes: Sequence[Change],
        connection: Connection,
        lessons: list[Lesson],
        entries: Sequence[Entry] = (),
    ) -> list[Written]:
        """All of ``changes`` inside a database transaction that is already open on ``connection``.

        ``lessons`` collects what to :meth:`learn` when that has been committed.
        """
        order = Order(changes, asyncio.get_running_loop().create_future(), LAST_ATTEMPT, lessons, entries)
        await self._apply([order], connection.fetch, self._chain_of(connection))
        return await order.done


async def _call(
    packed: Packed, entries: Sequence[Entry], fetch: Fetch, chain: Chain | None
) -> Sequence[asyncpg.Record]:
    if not entries:
        return await fetch(CALL, *packed.arguments)
    assert chain is not None, "entries need chains"
    return await fetch(CALL_AUDITED, *packed.arguments, *await chain.rows(entries, fetch))


def compose(pending: list[Order]) -> tuple[list[Order], list[Order]]:
    """The orders that can share the next commit, and those that must wait for a later one.

    Two orders that change the same resource, or of which one deletes what the other refers to, stay apart.
    """
    group: list[Order] = []
    changed: set[Name] = set()
    deleted: set[Name] = set()
    used: set[Name] = set()
    size = 0
    for position, order in enumerate(pending):
        names = {(c.type, c.id) for c in order.changes}
        removes = {(c.type, c.id) for c in order.changes if c.document is None}
        uses = {(t, i) for c in order.changes if c.rows is not None for _, t, i in c.rows.references}
        apart = (
            (group and size + len(order.changes) > GROUP)
            or not changed.isdisjoint(names)
            or not used.isdisjoint(removes)
            or not deleted.isdisjoint(uses)
        )
        if apart:
            return group, pending[position:]
        group.append(order)
        size += len(order.changes)
        changed |= names
        deleted |= removes
        used |= uses
    return group, []


def _concurrent(change: Change) -> Issue:
    return Issue(
        "conflict",
        f"{change.type}/{change.id} was changed by somebody else at the same time; read it again and repeat.",
        change.label or None,
    )


def _in_use(change: Change, referrer: str) -> Issue:
    return Issue(
        "conflict",
        f"{change.type}/{change.id} cannot be deleted: {referrer} refers to it. Change or delete that first, "
        "or delete both in one transaction.",
        change.label or None,
    )
