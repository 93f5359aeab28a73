"""Searches: one statement finds and fetches a page, ready to be sent as it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any

import asyncpg

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.search.parameters.base import any_of
from fhirhub.search.predicate import (
    And,
    Cited,
    Cites,
    Keys,
    OfType,
    Or,
    Predicate,
    Refers,
    Text,
)
from fhirhub.search.request import SCORE, SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.asked import Asked
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
from fhirhub.store.codings import Codings, codes_in, found, leaves, with_codings
from fhirhub.store.confirming import confirming, told
from fhirhub.store.cost import UNGUARDED, Cost, Estimator, Guard
from fhirhub.store.cursor import Sealer
from fhirhub.store.deferred import Deferred
from fhirhub.store.discreet import evened, stand_ins
from fhirhub.store.includes import BY_RID, FOUND, Head, Test, Within, include
from fhirhub.store.plan import Plan, choose, fits, parts_of
from fhirhub.store.predicates import Candidate, Compiler
from fhirhub.store.ranges import Condition, fold, together
from fhirhub.store.ranked import RankedWalk, Ranks, can_rank, stands_once
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.ready import Again, Ready
from fhirhub.store.recall import Dictionaries, Recall
from fhirhub.store.records import METHODS, Page, Stored
from fhirhub.store.resolve import Fetch, Name, Resolver
from fhirhub.store.statement import document_values, table
from fhirhub.store.statistics import Statistics
from fhirhub.store.survey import FOLDED, SETTLED, kinds
from fhirhub.store.templates import Template, Templates, fill, slotted
from fhirhub.store.texts import looked_up
from fhirhub.store.totals import count, counting, estimated
from fhirhub.store.unlabelled import Unlabelled
from fhirhub.store.walks import Position, Walker

FEW = 1000.0
"""Entries that are gathered and sorted without looking for another way."""
ALL = And(())
"""No condition."""
_PLACE = itemgetter("place")
Statement = tuple[str, list[Any], int]
"""SQL, its arguments, and the number of its order columns."""


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
    codings: Codings = field(default_factory=Codings)
    dictionaries: Dictionaries = field(default_factory=Dictionaries)
    again: Again = field(default_factory=Again)
    unlabelled: Unlabelled = field(init=False)
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.templates = Templates(self.statistics)
        self.unlabelled = Unlabelled(self.definitions)

    async def search(
        self, request: SearchRequest, fetch: Fetch, *, keep: bool = True, together: Fetch | None = None
    ) -> Page:
        """One page of ``request``. Raises BadRequest for a cursor that is not one of ours.

        ``keep`` is False inside a transaction that may be rolled back. ``together`` runs short statements along with
        others of their kind (:class:`fhirhub.store.gathering.Gathering`).
        """
        chosen = self.unlabelled.plain(request) if keep else request
        ready = self.again.get(chosen, self._stamp) if keep else None
        if ready is None:
            ready = await self._ready(chosen, fetch, keep=keep, remembering=keep)
        page = await self._page(ready, fetch, together if together is not None and ready.is_short else fetch)
        if page is None:
            # Meanwhile there are codings that were new to this process, or labels.
            self.codings.forget(ready.asked.remembered)
            self.dictionaries.forget(ready.asked.recalled)
            self.again.forget(chosen)
            await self.unlabelled.look(chosen, fetch)
            page = await self._page(await self._ready(request, fetch, keep=keep), fetch, fetch)
        return page or Page()

    @property
    def _stamp(self) -> tuple[Any, ...]:
        """What statements that are kept depend on, besides their searches."""
        return self.definitions, self.guard, self.statistics.edition, self.statistics.total

    async def _ready(
        self, request: SearchRequest, fetch: Fetch, *, keep: bool, remembering: bool = False
    ) -> Ready:
        """The statement of the page that ``request`` asks for. Raises BadRequest for what is too costly."""
        stamp = self._stamp
        asked = await self.asked(request, fetch, keep=keep, remembering=remembering)
        counting_only = request.summary == "count" or request.count == 0
        how = "accurate" if counting_only and request.total == "none" else request.total
        if asked.is_empty:
            sql, values = confirming(asked)
            return Ready(asked, sql, values, False, total=None if how == "none" else 0)
        total, notes = (None, ()) if how == "none" else estimated(asked, how, self.estimator(asked))
        exact = how != "none" and total is None
        counted = self.estimator(asked).total(asked.where, asked.parts) if exact else 0.0
        if counting_only:
            sql, values = count(asked, self.compiler(asked)) if exact else confirming(asked)
            made = Ready(asked, sql, values, exact, counted=counted, total=total, notes=notes)
        elif request.cursor is None:
            plan, cost, (sql, values, width) = await self._first(asked, exact, fetch)
            made = Ready(asked, sql, values, exact, plan, width, cost, counted, total=total, notes=notes)
        else:
            plan, position, after = await self.place(asked, fetch)
            sql, values, width = self.statement(asked, plan, position, count=exact)
            made = Ready(asked, sql, values, exact, plan, width, 0.0, counted, position, after, total, notes)
        self.again.keep(made, stamp)
        return made

    async def _page(self, ready: Ready, fetch: Fetch, run: Fetch) -> Page | None:
        """The page; None when what was remembered for its statement, which ``run`` runs, is not all there is."""
        asked, plan, position = ready.asked, ready.plan, ready.position
        request = asked.request
        page = Page(total=ready.total, notes=list(ready.notes), cost=ready.cost)
        rows = list(await run(ready.sql, *ready.values)) if ready.sql else []
        if asked.remembered or asked.recalled:
            if rows[0]["filed"] != asked.confirmed:
                return None
            if len(rows) == 1 and plan is not None and rows[0]["rid"] is None:
                # The row of an empty page, which is there to tell what is filed.
                rows = []
        if ready.counts:
            page.total = rows[0]["total"] if rows else 0
        if plan is None:
            return page
        if ready.counts and not rows and request.cursor is not None:
            sql, values = count(asked, self.compiler(asked))
            row = (await fetch(sql, *values))[0]
            if asked.confirmed != row.get("filed", asked.confirmed):
                return None
            page.total = row["total"]
        rows.sort(key=_PLACE)
        more = len(rows) > request.count
        rows = rows[: request.count]
        if position is not None and position.backward:
            rows.reverse()
        page.matches = self._all(rows)
        for n, sort in enumerate(request.sort):
            if sort.code == SCORE:
                page.scores = {row["rid"]: row[f"k{2 * n + 1}"] for row in rows}
        if ready.after is None:
            self._links(page, rows, plan, position, more, ready.width, asked)
        if request.includes and rows:
            await self._include(page, rows, (plan, position, ready.after), asked, fetch, run)
        return page

    async def _include(
        self,
        page: Page,
        rows: Sequence[asyncpg.Record],
        place: tuple[Plan, Position | None, int | None],
        asked: Asked,
        fetch: Fetch,
        run: Fetch,
    ) -> None:
        """Add what the includes find; a page that goes on with them has no matches of its own."""
        plan, position, after = place
        heads = [
            Head(row["rid"], self.definitions.resource_types[row["rt"] - 1], row.get("keys") or ())
            for row in rows
        ]
        within = self.within(asked.request, fetch)
        secret = self.deferred.secret
        found = await include(self.definitions, asked.request.includes, heads, run, after, within, secret)
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

    async def asked(
        self, request: SearchRequest, fetch: Fetch, *, keep: bool, remembering: bool = False
    ) -> Asked:
        """``request`` with everything looked up that its condition depends on.

        ``remembering``: what codes stand for may come from memory, to be confirmed (:class:`Codings`).
        """
        where: Any = request.where
        made_of = kinds(where)
        lasts = remembering and request.within is None and made_of.isdisjoint(CITING)
        recalled = dict.fromkeys(self.unlabelled.questions(request), 0)
        if not made_of.isdisjoint(CITING):
            where = await linked(
                where, request.types or (request.type,), partial(self._followed, request, fetch, keep)
            )
            made_of = kinds(where)
        if not made_of.isdisjoint(SETTLED):
            may = remembering and request.within is None
            recall = Recall(self.dictionaries, fetch, remembering=may, keep=keep)
            where = await self.deferred.settled(where, recall.fetch, even=request.own is not None)
            recalled |= recall.used
            lasts &= recall.is_all
            made_of = kinds(where)
        if not made_of.isdisjoint(FOLDED):
            where = fold(where)
        remembered: dict[int, tuple[int, ...]] = {}
        if Keys in made_of and (codes := codes_in(where)):
            own = codes & codes_in(request.bound or ALL) if request.own is not None else set()
            remembered = self.codings.known(codes - own) if remembering else {}
            fresh = await found(codes - remembered.keys(), fetch)
            if keep:
                self.codings.remember(fresh)
            lasts &= not fresh
            filed_under = fresh | remembered
            if request.within is not None:
                filed_under = evened(filed_under, codes, own)
            where = with_codings(where, filed_under)
        keys = await self._resolved(where, request, fetch, keep=keep) if Refers in made_of else {}
        lasts &= all(
            isinstance(each, Refers) and len(each.targets) == len(known) for each, known in keys.items()
        )
        if Or in made_of:
            where = together(where, keys)
        # A text is looked for among those of all resources, which takes the longer the more of them hold it.
        if Text in made_of and request.own is None:
            plain = where
            where = await looked_up(where, self.definitions, self.statistics, fetch)
            lasts &= where is plain
        return Asked(
            request, where, parts_of(where), keys, remembered=remembered, recalled=recalled, lasts=lasts
        )

    async def _followed(
        self,
        request: SearchRequest,
        fetch: Fetch,
        keep: bool,
        citation: Cites | Cited,
        types: Sequence[str],
    ) -> Predicate:
        """``citation``, asked of resources of ``types`` by ``request``, as a condition on their rows."""
        behind = replace(request, type=citation.type, types=(), where=citation.part)
        inner = await self.asked(behind, fetch, keep=keep)
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
        self, where: Condition, request: SearchRequest, fetch: Fetch, *, keep: bool
    ) -> dict[Condition, tuple[int, ...]]:
        """The reference keys of every Refers in ``where``, which ``request`` comes to."""
        refers = [each for each in leaves(where) if isinstance(each, Refers)]
        names: set[Name] = {name for each in refers for name in each.targets}
        rids = await self.resolver.resolve(names, fetch, keep=keep, own=request.own)
        if request.within is not None:
            rids |= stand_ins(names - rids.keys())
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

    def _all(self, rows: Sequence[asyncpg.Record]) -> list[Stored]:
        """The resources of rows that begin with id, rt and the columns of a read, as those of a page do."""
        types = self.definitions.resource_types
        return [
            Stored(types[row[1] - 1], row[0], row[2], row[3], row[4], row[5], METHODS[row[6]], row[7], row[8])
            for row in rows
            if row[3]
        ]

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

    async def _first(self, asked: Asked, count: bool, fetch: Fetch) -> tuple[Plan, float, Statement]:
        """The plan of a first page, the entries it is expected to look at, and its statement.

        Raises BadRequest for what is too costly.
        """
        found, stamp = self.templates.outline(asked, count), self._stamp
        if found is not None:
            outline, keys = found
            template = self.templates.get(outline, stamp)
            if template is not None:
                return template.plan, template.entries, (template.sql, template.values(keys), template.width)
        plan, _, _ = await self.place(asked, fetch)
        cost = self.cost(asked, plan)
        cost.check(self.guard, asked.request.type or "_type")
        if found is None or plan.kind == "ranked":
            return plan, cost.entries, self.statement(asked, plan, None, count=count)
        sql, slots, width = self.statement(slotted(asked, keys), plan, None, count=count)
        template = Template(plan, cost.entries, sql, width, tuple(map(fill, slots)))
        self.templates.keep(outline, template, stamp)
        return plan, cost.entries, (sql, template.values(keys), width)

    def statement(
        self, asked: Asked, plan: Plan, position: Position | None, *, count: bool = False
    ) -> Statement:
        """The statement of a page: its text, its arguments and the number of its order columns.

        Its rows tell their ``place``: they are put in order here, which spares the database to sort whole resources. With ``count``, each row tells the ``total`` number of matches besides.
        """
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
        if count:
            extra += f", ({counting(asked, compiler)}) as total"
        order_columns = "".join(f", w.k{n}" for n in range(width))
        sql = (
            f"select r.id, r.rt, {COLUMNS}{order_columns}{extra}, w.place from (select *, row_number() over () as place"
            f" from ({sql}) as x) as w cross join lateral (select * from"
            f" {table('resource', compiler.root)} r where r.rid = w.rid offset 0) as r"
        )
        if known := told(asked, compiler.arguments):
            # Of an empty page, too: by a row of which nothing else is there.
            sql = f"select p.*, f.filed from (select {known} as filed) as f left join lateral ({sql}) as p on true"
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


def _pinned(plan: Plan) -> tuple[Any, ...]:
    return plan.kind, plan.driver, plan.descending
