"""Searches: one statement finds and fetches a page, ready to be sent as it was stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import asyncpg

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import And, Chain, Has, Not, Or, Predicate, Refers
from fhirhub.search.request import Include, SearchRequest
from fhirhub.search.rows import VALUE_BITS, VALUE_MASK, key_pid
from fhirhub.store.cursor import Sealer
from fhirhub.store.plan import SELECTIVE, Plan, choose, parts_of
from fhirhub.store.predicates import Compiler
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Page, Stored
from fhirhub.store.resolve import Fetch, Name, Resolver
from fhirhub.store.statement import partition
from fhirhub.store.statistics import Statistics
from fhirhub.store.walks import Position, Walker

INCLUDED = 1000
"""Resources that includes add to a page at most."""
ROUNDS = 5
"""Times that ``:iterate`` goes on."""
ESTIMATE = 20_000.0
"""``_total=estimate`` counts exactly when it expects no more than this."""

BY_RID = f"select r.id, r.rt, {COLUMNS} from resource r where r.rid = any ($1::bigint[]) and not r.deleted"

REFERRERS = """
select distinct t.rid
from unnest($1::bigint[]) as k (key)
cross join lateral (
    select t.rid from token t where t.rt = $2 and t.key = k.key order by t.date desc limit $3
) as t
limit $3
"""


@dataclass(slots=True)
class Searcher:
    """Runs searches."""

    definitions: Definitions
    resolver: Resolver
    statistics: Statistics
    sealer: Sealer

    async def search(self, request: SearchRequest, fetch: Fetch) -> Page:
        """One page of ``request``. Raises BadRequest for a cursor that is not one of ours."""
        keys = await self._reference_keys(request.where, fetch)
        if self._is_empty(request.where, keys):
            return Page(total=None if request.total == "none" and request.summary != "count" else 0)
        page = Page()
        if request.summary == "count" or request.count == 0:
            page.total = await self._count(
                request, keys, fetch, "accurate" if request.total == "none" else request.total
            )
            return page
        purpose = f"search {request.type} {_digest(request)}"
        plan, position = self._place(request, keys, purpose)
        sql, values, width, with_keys = self._statement(request, plan, position, keys)
        rows = list(await fetch(sql, *values))
        more = len(rows) > request.count
        rows = rows[: request.count]
        if position is not None and position.backward:
            rows.reverse()
        page.matches = [each for row in rows if (each := stored(request.type, row["id"], row)) is not None]
        self._links(page, rows, plan, position, more, width, purpose)
        if request.total != "none":
            page.total = await self._count(request, keys, fetch, request.total)
        if request.includes and rows:
            await self._include(request, page, rows if with_keys else [], fetch)
        return page

    # -- what is referred to ---------------------------------------------------------------------------------

    async def _reference_keys(self, where: Predicate, fetch: Fetch) -> dict[Predicate, tuple[int, ...]]:
        refers = [each for each in leaves(where) if isinstance(each, Refers)]
        if not refers:
            return {}
        names: set[Name] = {name for each in refers for name in each.targets}
        rids = await self.resolver.resolve(names, fetch)
        return {
            each: tuple((each.pid << VALUE_BITS) | rids[name] for name in each.targets if name in rids)
            for each in refers
        }

    def _is_empty(self, where: Predicate, keys: dict[Predicate, tuple[int, ...]]) -> bool:
        return any(
            (isinstance(part, Refers) and not keys[part]) or part == Or(()) for part in parts_of(where)
        )

    # -- the page --------------------------------------------------------------------------------------------

    def _main_date(self, type_: str) -> int | None:
        code = self.definitions.sort_date.get(type_)
        return self.definitions.search_parameters(type_)[code].pid if code else None

    def _compiler(self, keys: dict[Predicate, tuple[int, ...]]) -> Compiler:
        return Compiler(self.definitions, self.statistics, keys)

    def _place(
        self, request: SearchRequest, keys: dict[Predicate, tuple[int, ...]], purpose: str
    ) -> tuple[Plan, Position | None]:
        if request.cursor is None:
            return choose(request, self._compiler(keys), self._main_date(request.type)), None
        plan, values, rid, backward = self.sealer.open(request.cursor, purpose)
        return Plan(*plan), Position(values, rid, backward)

    def _statement(
        self,
        request: SearchRequest,
        plan: Plan,
        position: Position | None,
        keys: dict[Predicate, tuple[int, ...]],
    ) -> tuple[str, list[Any], int, bool]:
        compiler = self._compiler(keys)
        walker = Walker(compiler, request, plan, self._main_date(request.type), position, request.count + 1)
        walk, width = walker.sql()
        with_keys = any(not each.reverse for each in request.includes)
        extra = ", r.keys" if with_keys else ""
        order_columns = "".join(f", w.k{n}" for n in range(width))
        sql = (
            f"select r.id, {COLUMNS}{order_columns}{extra} from (select *, row_number() over () as place"
            f" from ({walk}) as x) as w cross join lateral (select * from"
            f" resource_{partition(compiler.number(request.type))} r where r.rid = w.rid offset 0) as r"
            " order by w.place"
        )
        return sql, compiler.arguments.values, width, with_keys

    def _links(
        self,
        page: Page,
        rows: Sequence[asyncpg.Record],
        plan: Plan,
        position: Position | None,
        more: bool,
        width: int,
        purpose: str,
    ) -> None:
        if not rows:
            return
        backward = position is not None and position.backward

        def link(row: asyncpg.Record, back: bool) -> str:
            pinned = (plan.kind, plan.driver, plan.descending)
            return self.sealer.seal((pinned, [row[f"k{n}"] for n in range(width)], row["rid"], back), purpose)

        if more or backward:
            page.next = link(rows[-1], False)
        if (position is not None and not backward) or (backward and more):
            page.previous = link(rows[0], True)

    # -- totals ----------------------------------------------------------------------------------------------

    async def _count(
        self, request: SearchRequest, keys: dict[Predicate, tuple[int, ...]], fetch: Fetch, how: str
    ) -> int:
        compiler = self._compiler(keys)
        rt = compiler.number(request.type)
        if how == "estimate":
            expected = self.statistics.rows(request.where, rt, keys)
            if expected > max(ESTIMATE, SELECTIVE) and len(parts_of(request.where)) == 1:
                return round(expected)
        where = request.where
        if where == And(()):
            sql = f"select count(*) from resource_{partition(rt)} r where r.rt = {rt} and not r.deleted"
        else:
            only = compiler.token_keys(parts_of(where)[0]) if len(parts_of(where)) == 1 else None
            # One key stands once for each resource, so its rows are counted in the index alone.
            counted = "count(*)" if only is not None and len(only) == 1 else "count(distinct rid)"
            sql = f"select {counted} from ({compiler.rids(where, rt)}) as s"
        return (await fetch(sql, *compiler.arguments.values))[0][0]

    # -- includes --------------------------------------------------------------------------------------------

    async def _include(
        self, request: SearchRequest, page: Page, rows: Sequence[asyncpg.Record], fetch: Fetch
    ) -> None:
        """Add what the matches refer to, and what refers to them; with ``:iterate`` also from what was added."""
        seen = {match.rid for match in page.matches}
        frontier = [(match, row["keys"] or []) for match, row in zip(page.matches, rows, strict=False)]
        frontier = frontier or [(match, []) for match in page.matches]
        for turn in range(ROUNDS):
            includes = [each for each in request.includes if turn == 0 or each.iterate]
            if not frontier or not includes:
                return
            rids = await self._neighbours(includes, frontier, fetch)
            wanted = [rid for rid in rids if rid not in seen][: INCLUDED - len(page.included)]
            if not wanted:
                return
            found = await fetch(BY_RID.replace("r.id, r.rt", "r.id, r.rt, r.keys"), wanted)
            frontier = []
            for row in found:
                each = stored(self.definitions.resource_types[row["rt"] - 1], row["id"], row)
                if each is not None and self._is_wanted(each, includes, rids[each.rid]):
                    seen.add(each.rid)
                    page.included.append(each)
                    frontier.append((each, row["keys"] or []))

    async def _neighbours(
        self, includes: Sequence[Include], frontier: Sequence[tuple[Stored, Sequence[int]]], fetch: Fetch
    ) -> dict[int, set[int]]:
        """rid -> the numbers of the includes that lead to it."""
        rids: dict[int, set[int]] = {}
        for number, include in enumerate(includes):
            pids = set(include.pids)
            if not include.reverse:
                for match, keys in frontier:
                    if match.type == include.source:
                        for key in keys:
                            if key >= 0 and key_pid(key) in pids:
                                rids.setdefault(key & VALUE_MASK, set()).add(number)
                continue
            sources = [
                pid << VALUE_BITS | match.rid
                for match, _ in frontier
                if include.target in (None, match.type)
                for pid in include.pids
            ]
            if sources:
                source = self.definitions.type_number[include.source]
                for row in await fetch(REFERRERS, sources, source, INCLUDED):
                    rids.setdefault(row["rid"], set()).add(number)
        return rids

    def _is_wanted(self, found: Stored, includes: Sequence[Include], by: Iterable[int]) -> bool:
        return any(includes[number].reverse or includes[number].target in (None, found.type) for number in by)


def leaves(where: Predicate) -> Iterator[Predicate]:
    """The leaves of a predicate, those behind chains too."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Chain(_, _, part) | Has(_, _, part):
            yield from leaves(part)
        case _:
            yield where


def _digest(request: SearchRequest) -> str:
    """What a cursor is bound to: the condition and the order."""
    return blake2b(repr((request.where, request.sort)).encode(), digest_size=12).hexdigest()
