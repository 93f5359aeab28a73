"""Searches: one statement finds and fetches a page, ready to be sent as it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import asyncpg

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.search.parameters.base import any_of
from fhirhub.search.predicate import (
    And,
    Chain,
    Cited,
    Cites,
    Has,
    Keys,
    Not,
    OfType,
    Or,
    Predicate,
    Refers,
    Text,
)
from fhirhub.search.request import SCORE, SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.canonicals import (
    CITING,
    MOST,
    SOURCES,
    TARGETS,
    VERSIONS,
    bounded,
    cited,
    citing,
    linked,
    url_pids,
    urls_of,
)
from fhirhub.store.codings import leaves, spelt_out
from fhirhub.store.cost import UNGUARDED, Cost, Estimator, Guard
from fhirhub.store.cursor import Sealer
from fhirhub.store.deferred import Deferred
from fhirhub.store.includes import BY_RID, FOUND, Head, Test, Within, include
from fhirhub.store.plan import Plan, choose, fits, parts_of
from fhirhub.store.predicates import Candidate, Compiler
from fhirhub.store.ranges import Condition, fold
from fhirhub.store.ranked import RankedWalk, Ranking, Ranks, can_rank, stands_once
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Page, Stored
from fhirhub.store.resolve import Fetch, Name, Resolver
from fhirhub.store.statement import document_values, table
from fhirhub.store.statistics import Statistics
from fhirhub.store.survey import FOLDED, SETTLED, kinds
from fhirhub.store.texts import looked_up
from fhirhub.store.walks import Position, Walker

ESTIMATE = 20_000.0
"""``_total=estimate`` counts exactly when it expects no more than this."""
COUNTED = 1_000_000.0
"""Index entries, by the estimate, up to which ``_total=accurate`` is: about a second. Beyond, it is an estimate, too."""
FEW = 1000.0
"""Entries that are gathered and sorted without looking for another way."""


@dataclass(slots=True)
class Asked:
    """A request as the store sees it: conditions folded, references resolved to keys."""

    request: SearchRequest
    where: Condition
    parts: tuple[Condition, ...]
    keys: dict[Condition, tuple[int, ...]]
    ranks: Ranking = ()
    """The codes that a ranked plan goes by."""
    _purpose: str = field(default="", init=False)

    @property
    def purpose(self) -> str:
        """What a cursor of this request is bound to; made only where there is one."""
        if not self._purpose:
            request = self.request
            types = request.type or " ".join(request.types)
            self._purpose = f"search {types} {_digest(request)} {request.holder}"
        return self._purpose

    @property
    def is_empty(self) -> bool:
        """Whether nothing can match, whatever is stored."""
        return any(map(self._finds_nothing, self.parts))

    def _finds_nothing(self, part: Condition) -> bool:
        match part:
            case Refers():
                return not self.keys[part]
            case Keys(keys, codes):
                return not keys and not codes
            case Or(parts):
                return not parts
        return False


@dataclass(slots=True)
class Searcher:
    """Runs searches."""

    definitions: Definitions
    resolver: Resolver
    statistics: Statistics
    sealer: Sealer
    deferred: Deferred
    ranks: Ranks
    guard: Guard = UNGUARDED

    async def search(self, request: SearchRequest, fetch: Fetch, *, keep: bool = True) -> Page:
        """One page of ``request``. Raises BadRequest for a cursor that is not one of ours.

        ``keep`` is False inside a transaction that may be rolled back.
        """
        asked = await self.asked(request, fetch, keep=keep)
        counting = request.summary == "count" or request.count == 0
        total = "accurate" if counting and request.total == "none" else request.total
        if asked.is_empty:
            return Page(total=None if total == "none" else 0)
        page = Page()
        if total != "none":
            page.total = await self._count(asked, fetch, total, page.notes)
        if counting:
            return page
        plan, position, after = await self.place(asked, fetch)
        if request.cursor is None:
            cost = self.cost(asked, plan)
            cost.check(self.guard, request.type or "_type")
            page.cost = cost.entries
        sql, values, width = self.statement(asked, plan, position)
        rows = list(await fetch(sql, *values))
        more = len(rows) > request.count
        rows = rows[: request.count]
        if position is not None and position.backward:
            rows.reverse()
        page.matches = [each for row in rows if (each := self._stored(row)) is not None]
        for n, sort in enumerate(request.sort):
            if sort.code == SCORE:
                page.scores = {row["rid"]: row[f"k{2 * n + 1}"] for row in rows}
        if after is None:
            self._links(page, rows, plan, position, more, width, asked)
        if request.includes and rows:
            await self._include(page, rows, (plan, position, after), asked, fetch)
        return page

    async def _include(
        self,
        page: Page,
        rows: Sequence[asyncpg.Record],
        place: tuple[Plan, Position | None, int | None],
        asked: Asked,
        fetch: Fetch,
    ) -> None:
        """Add what the includes find; a page that goes on with them has no matches of its own."""
        plan, position, after = place
        heads = [
            Head(row["rid"], self.definitions.resource_types[row["rt"] - 1], row.get("keys") or ())
            for row in rows
        ]
        within = self.within(asked.request, fetch)
        secret = self.deferred.secret
        found = await include(self.definitions, asked.request.includes, heads, fetch, after, within, secret)
        page.included = found.resources
        if found.is_cut:
            text = f"The includes of this page come to more than {FOUND} resources, which is where they end."
            page.notes.append(Issue("incomplete", text, severity="warning"))
        if found.last is not None:
            start = None if position is None else (position.values, position.rid, position.backward)
            sealed = (_pinned(plan), *(start or (None, 0, False)), found.last)
            page.related = self.sealer.seal(sealed, asked.purpose)
        if after is not None:
            page.matches = []

    # -- what is referred to ---------------------------------------------------------------------------------

    async def asked(self, request: SearchRequest, fetch: Fetch, *, keep: bool) -> Asked:
        """``request`` with everything looked up that its condition depends on."""
        where: Any = request.where
        made_of = kinds(where)
        if not made_of.isdisjoint(CITING):
            where = await linked(
                where, request.types or (request.type,), partial(self._followed, fetch, keep)
            )
            made_of = kinds(where)
        if not made_of.isdisjoint(SETTLED):
            where = await self.deferred.settled(where, fetch)
            made_of = kinds(where)
        if not made_of.isdisjoint(FOLDED):
            where = fold(where)
        if Keys in made_of:
            where = await spelt_out(where, fetch)
        keys = await self._resolved(where, fetch, keep=keep) if Refers in made_of else {}
        if Or in made_of:
            where = together(where, keys)
        if Text in made_of:
            where = await looked_up(where, self.definitions, self.statistics.trigrams, fetch)
        return Asked(request, where, parts_of(where), keys)

    async def _followed(
        self, fetch: Fetch, keep: bool, citation: Cites | Cited, types: Sequence[str]
    ) -> Predicate:
        """``citation``, asked of resources of ``types``, as a condition on their rows."""
        inner = await self.asked(SearchRequest(citation.type, where=citation.part), fetch, keep=keep)
        if inner.is_empty:
            return Or(())
        compiler, secret = self.compiler(inner), self.deferred.secret
        self.estimator(inner).following(inner.where).check(self.guard, citation.type)
        rids = compiler.rids(inner.where, compiler.root)
        if isinstance(citation, Cites):
            rows = await fetch(TARGETS.format(rids=rids), *compiler.arguments.values)
            bounded(rows, f"resources of type {citation.type} with canonical urls")
            versions = await fetch(VERSIONS, citation.pid, MOST + 1) if rows else ()
            bounded(versions, "versions of canonical urls")
            texts = [row["text"] for row in versions]
            return citing(citation, [(row["url"], row["version"]) for row in rows], texts, secret)
        values = document_values(citation.paths, "r", compiler.arguments)
        rows = await fetch(SOURCES.format(rids=rids, values=values), *compiler.arguments.values)
        bounded(rows, "canonical urls")
        urls = urls_of(row["url"] for row in rows)
        return cited(urls, url_pids(self.definitions, types), secret)

    async def _resolved(
        self, where: Condition, fetch: Fetch, *, keep: bool
    ) -> dict[Condition, tuple[int, ...]]:
        """The reference keys of every Refers in ``where``."""
        refers = [each for each in leaves(where) if isinstance(each, Refers)]
        names: set[Name] = {name for each in refers for name in each.targets}
        rids = await self.resolver.resolve(names, fetch, keep=keep)
        keys: dict[Condition, tuple[int, ...]] = {}
        for each in refers:
            found = (rids[name] for name in each.targets if name in rids)
            keys[each] = tuple((each.pid << VALUE_BITS) | rid for rid in found)
        return keys

    def within(self, request: SearchRequest, fetch: Fetch) -> Within | None:
        """What ``request`` lets come along with its matches; None for everything."""
        shows = request.within
        if shows is None:
            return None

        async def of_types(types: Sequence[str]) -> Test:
            if not types:
                return lambda candidate, values: "false"
            where = any_of([And((OfType((type,)), shows(type))) for type in types])
            asked = await self.asked(SearchRequest("", where=where, types=tuple(types)), fetch, keep=False)

            def test(candidate: Candidate, values: list[Any]) -> str:
                compiler = self.compiler(asked)
                compiler.arguments.values = values
                return compiler.test(asked.where, candidate)

            return test

        return of_types

    async def by_rid(self, rids: Sequence[int], fetch: Fetch) -> list[Stored]:
        """The resources with these internal keys that are there."""
        sql = BY_RID.replace("{test}", "true")
        return [each for row in await fetch(sql, list(rids)) if (each := self._stored(row)) is not None]

    def _stored(self, row: asyncpg.Record) -> Stored | None:
        return stored(self.definitions.resource_types[row["rt"] - 1], row["id"], row)

    # -- the page --------------------------------------------------------------------------------------------

    def main_date(self, type_: str) -> int | None:
        """The pid of the main date; a search across types has none."""
        code = self.definitions.sort_date.get(type_)
        return self.definitions.search_parameters(type_)[code].pid if code else None

    def compiler(self, asked: Asked) -> Compiler:
        """A compiler for one statement."""
        types = asked.request.types or (asked.request.type,)
        numbers = tuple(self.definitions.type_number[type_] for type_ in types)
        return Compiler(self.definitions, self.statistics, asked.keys, numbers)

    def estimator(self, asked: Asked) -> Estimator:
        """Tells what statements of ``asked`` cost."""
        return Estimator(self.definitions, self.compiler(asked))

    def cost(self, asked: Asked, plan: Plan) -> Cost:
        """What the first page costs by ``plan``."""
        return self.estimator(asked).page(asked.request, asked.parts, plan, asked.ranks)

    async def place(self, asked: Asked, fetch: Fetch) -> tuple[Plan, Position | None, int | None]:
        """The plan and the position of the page: chosen for a first one, pinned in the link of any other.

        The third is where a page that goes on with includes begins.
        """
        request = asked.request
        if request.cursor is None:
            main = self.main_date(request.type)
            plan = choose(request, asked.parts, self.compiler(asked), main)
            return await self._ranked(asked, plan, fetch), None, None
        plan, values, rid, backward, *after = self.sealer.open(request.cursor, asked.purpose)
        position = None if values is None else Position(values, rid, backward)
        pinned = Plan(*plan)
        ranks = await self.ranks.of(request.type, request.sort[0], fetch) if pinned.kind == "ranked" else ()
        asked.ranks = ranks or ()
        if not fits(pinned, asked.parts) or ranks is None:
            # A unit or a text that was new to the store has made the condition another one.
            text = "The record has changed so that this page link leads nowhere; start again from the first page."
            raise BadRequest(Issue("expired", text))
        return pinned, position, (after[0] if after else None)

    async def _ranked(self, asked: Asked, plan: Plan, fetch: Fetch) -> Plan:
        """``plan``, or a walk through the codes that the matches are sorted by, if that is cheaper."""
        if plan.kind != "sort" or not can_rank(asked.request, self.main_date(asked.request.type)):
            return plan
        gathered = self.cost(asked, plan).entries
        if gathered <= FEW:
            return plan
        sort = asked.request.sort[0]
        asked.ranks = await self.ranks.of(asked.request.type, sort, fetch) or ()
        walked = Plan("ranked", -1, sort.descending)
        return walked if asked.ranks and self.cost(asked, walked).entries < gathered else plan

    def statement(self, asked: Asked, plan: Plan, position: Position | None) -> tuple[str, list[Any], int]:
        """The statement of a page: its text, its arguments and the number of its order columns."""
        compiler, request = self.compiler(asked), asked.request
        main = self.main_date(request.type)
        if plan.kind == "ranked":
            single = stands_once(request.sort[0], request.type, self.definitions)
            walk = RankedWalk(compiler, asked.parts, asked.ranks, single, plan.descending, position)
            sql, width = walk.sql(request.count + 1), RankedWalk.WIDTH
        else:
            sql, width = Walker(compiler, request, asked.parts, plan, main, position, request.count + 1).sql()
        with_keys = any(not each.reverse for each in request.includes)
        extra = ", r.keys" if with_keys else ""
        order_columns = "".join(f", w.k{n}" for n in range(width))
        sql = (
            f"select r.id, r.rt, {COLUMNS}{order_columns}{extra} from (select *, row_number() over () as place"
            f" from ({sql}) as x) as w cross join lateral (select * from"
            f" {table('resource', compiler.root)} r where r.rid = w.rid offset 0) as r"
            " order by w.place"
        )
        return sql, compiler.arguments.values, width

    def _links(
        self,
        page: Page,
        rows: Sequence[asyncpg.Record],
        plan: Plan,
        position: Position | None,
        more: bool,
        width: int,
        asked: Asked,
    ) -> None:
        if not rows:
            return
        backward = position is not None and position.backward

        def link(row: asyncpg.Record, back: bool) -> str:
            return self.sealer.seal(
                (_pinned(plan), [row[f"k{n}"] for n in range(width)], row["rid"], back), asked.purpose
            )

        if more or backward:
            page.next = link(rows[-1], False)
        if (position is not None and not backward) or (backward and more):
            page.previous = link(rows[0], True)

    # -- totals ----------------------------------------------------------------------------------------------

    async def _count(self, asked: Asked, fetch: Fetch, how: str, notes: list[Issue]) -> int:
        """The number of matches; where it is only estimated although it was to be exact, ``notes`` say so."""
        compiler = self.compiler(asked)
        rt = compiler.root
        if how == "estimate" and len(asked.parts) == 1:
            expected = self.statistics.rows(asked.where, rt, asked.keys)
            if expected > ESTIMATE:
                return round(expected)
        if self.estimator(asked).total(asked.where, asked.parts) > COUNTED:
            if how == "accurate":
                text = "The total is an estimate: to count exactly would take too long. Add a criterion that few fulfil."
                notes.append(Issue("informational", text, severity="information"))
            return round(self.statistics.rows(asked.where, rt, asked.keys))
        if not asked.parts:
            of_type = compiler.of_type("r", rt)
            sql = f"select count(*) from {table('resource', rt)} r where {of_type} and not r.deleted"
        else:
            only = compiler.token_keys(asked.parts[0]) if len(asked.parts) == 1 else None
            # One key stands once for each resource, so its rows are counted in the index alone.
            counted = "count(*)" if only is not None and len(only) == 1 else "count(distinct rid)"
            sql = f"select {counted} from ({compiler.rids(asked.where, rt)}) as s"
        return int((await fetch(sql, *compiler.arguments.values))[0][0])


def together(where: Any, keys: dict[Condition, tuple[int, ...]]) -> Any:
    """``where`` with alternatives that are all token rows made one set of keys, which one loop walks."""
    match where:
        case And(parts):
            return And(tuple(together(part, keys) for part in parts))
        case Not(part):
            return Not(together(part, keys))
        case Chain(pid, type_, part):
            return Chain(pid, type_, together(part, keys))
        case Has(type_, pid, part):
            return Has(type_, pid, together(part, keys))
        case Or(parts):
            inner = [together(part, keys) for part in parts]
            tokens = [part for part in inner if isinstance(part, Keys | Refers)]
            if len(tokens) < 2:
                return Or(tuple(inner))
            found = (key for part in tokens for key in (part.keys if isinstance(part, Keys) else keys[part]))
            others = [part for part in inner if not isinstance(part, Keys | Refers)]
            one = Keys(tuple(dict.fromkeys(found)))
            return Or((one, *others)) if others else one
    return where


def _pinned(plan: Plan) -> tuple[Any, ...]:
    return plan.kind, plan.driver, plan.descending


def _digest(request: SearchRequest) -> str:
    """What a cursor is bound to: the shape of the condition and the order.

    The limits of dates and numbers are left out: those of ``ap`` move with the clock.
    """
    return blake2b(
        repr((_shape(request.bound or request.where), request.sort)).encode(), digest_size=12
    ).hexdigest()


def _shape(part: Any) -> Any:
    if isinstance(part, tuple):
        return part[:2] if len(part) == 3 and part[0] in ("lo", "hi") else tuple(map(_shape, part))
    names = getattr(type(part), "__match_args__", None)
    if names is not None:
        return type(part).__name__, *(_shape(getattr(part, name)) for name in names)
    return part
