"""``_include`` and ``_revinclude``: what the matches of a page refer to, and what refers to them.

What does not fit on the page is not lost: the resources come in the order of their internal keys, and a link leads
on from the last of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.search.request import Include
from fhirhub.search.rows import VALUE_BITS, VALUE_MASK, hashed_key, key_pid
from fhirhub.store.canonicals import url_pids, urls_of
from fhirhub.store.predicates import Candidate
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Stored
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import Arguments, document_values, table

INCLUDED = 1000
"""Resources that includes add to a page at most."""
FOUND = 10_000
"""Resources that the includes of one page of matches can come to, all their pages together."""
ROUNDS = 100
"""Times that ``:iterate`` goes on: longer than any chain that is not built to be long."""

BY_RID = (
    f"select r.id, r.rt, r.keys, {COLUMNS} from resource r where r.rid = any ($1::bigint[]) and not r.deleted"
    " and {test} order by r.rid"
)
HEADS = """
select r.rid, r.rt, r.keys from resource r
where r.rid = any ($1::bigint[]) and not r.deleted and r.version > 0 and {test}
"""

REFERRERS = """
select k.key, t.rid
from unnest($1::bigint[], $2::smallint[]) as k (key, rt)
cross join lateral (
    select t.rid from token t{join} where t.rt = k.rt and t.key = k.key and {test}
    order by t.date desc, t.rid desc limit $3::bigint
) as t
limit $3::bigint
"""


URLS = """
select r.content->>'url' as url, r.content->>'version' as version from resource r
where r.rid = any ($1::bigint[]) and not r.deleted
"""
CITATIONS = """
select distinct j #>> '{}' as url from resource r cross join lateral ({values}) as x (j)
where r.rid = any ($1::bigint[]) and not r.deleted
"""
HOLDERS = """
select t.key, t.rid, r.content->>'version' as version from token t
cross join lateral (select r.content from resource r where r.rid = t.rid and not r.deleted offset 0) as r
where t.key = any ($1::bigint[]) limit $2
"""
CITERS = """
select t.rid from unnest($1::bigint[], $2::bigint[], $3::text[]) as k (key, exact, url)
cross join lateral (
    select t.rid from {token} t{join} where t.key = k.key
        and ({row}.keys @> array[k.exact] or exists (select from ({values}) as x (j) where j #>> '{}' = k.url))
        and {test} order by t.date desc, t.rid desc limit $4
) as t
limit $4
"""
"""All that cites a version of a resource has a row for its url, too: the other versions are told by the document."""

TYPES = "select distinct rt from resource where rid = any ($1::bigint[]) and not deleted"

Test = Callable[[Candidate, list[Any]], str]
"""The test that a candidate may be shown, as SQL; its arguments are added to those of the statement."""
Within = Callable[[Sequence[str]], Awaitable[Test]]
"""The test for candidates of these types; those of others it refuses."""


@dataclass(slots=True)
class Head:
    """What the walk needs of a resource: its type and its keys."""

    rid: int
    type: str
    keys: Sequence[int]


@dataclass(slots=True)
class Included:
    """What the includes add to a page; ``last`` is the key to go on from, None when that is all.

    ``is_cut``: there was more than may be found at all.
    """

    resources: list[Stored] = field(default_factory=list)
    last: int | None = None
    is_cut: bool = False


async def include(
    definitions: Definitions,
    includes: Sequence[Include],
    matches: Sequence[Head],
    fetch: Fetch,
    after: int | None,
    within: Within | None,
    secret: bytes,
) -> Included:
    """What ``includes`` add to a page of ``matches``; ``:iterate`` goes on from there.

    ``after``: only what comes after this internal key. ``within``: nothing else is shown, followed or counted (None:
    everything may be). ``secret`` keys the hashes of the store.
    """
    walk = Walk(definitions, fetch, within, secret, seen={match.rid for match in matches})
    if after is None and not any(each.iterate for each in includes):
        rids = await walk.neighbours(includes, matches)
        if len(rids) <= INCLUDED:
            return Included(
                [each for row in await walk.rows(BY_RID, rids) if (each := walk.wanted(row, includes, rids))]
            )
        found = await walk.heads(includes, rids)
    else:
        found = await walk.all(includes, matches)
    ordered = sorted(head.rid for head in found if after is None or head.rid > after)
    rows = await walk.rows(BY_RID, ordered[:INCLUDED])
    resources = [each for row in rows if (each := stored(walk.type(row), row["id"], row)) is not None]
    last = ordered[INCLUDED - 1] if len(ordered) > INCLUDED else None
    return Included(resources, last, walk.is_cut)


@dataclass(slots=True)
class Walk:
    """From resources to what they refer to and what refers to them, round by round."""

    definitions: Definitions
    fetch: Fetch
    within: Within | None
    secret: bytes
    seen: set[int]
    is_cut: bool = False

    def type(self, row: Any) -> str:
        """The type of a row."""
        return self.definitions.resource_types[row["rt"] - 1]

    async def rows(self, sql: str, rids: Any) -> Sequence[Any]:
        """The rows of ``sql`` for ``rids``."""
        if not rids:
            return ()
        types: Sequence[str] = ()
        if self.within is not None:
            # What is tested depends on the type; only those that occur are spelt out.
            found = await self.fetch(TYPES, list(rids))
            types = [self.type(row) for row in found]
        return await self._seen(sql, [list(rids)], types, Candidate("r", 0, dated=False, is_resource=True))

    async def _seen(
        self, sql: str, values: list[Any], types: Sequence[str], candidate: Candidate
    ) -> Sequence[Any]:
        test = "true" if self.within is None else (await self.within(types))(candidate, values)
        return await self.fetch(sql.replace("{test}", test).replace("{join}", candidate.join()), *values)

    async def all(self, includes: Sequence[Include], matches: Sequence[Head]) -> list[Head]:
        """Everything that is to be included, as far as it may go."""
        found: list[Head] = []
        frontier = list(matches)
        for turn in range(ROUNDS):
            now = [each for each in includes if turn == 0 or each.iterate]
            if not frontier or not now:
                return found
            rids = await self.neighbours(now, frontier)
            frontier = await self.heads(now, rids)
            if len(found) + len(frontier) > FOUND:
                break
            found += frontier
        else:
            frontier = []
        self.is_cut = True
        return (found + frontier)[:FOUND]

    async def heads(self, includes: Sequence[Include], rids: dict[int, set[int]]) -> list[Head]:
        """Those of ``rids`` that are there and of the type that was asked for."""
        found = [
            Head(row["rid"], self.type(row), row["keys"] or ())
            for row in await self.rows(HEADS, rids)
            if self._fits(self.type(row), includes, rids[row["rid"]])
        ]
        self.seen |= {head.rid for head in found}
        return found

    def wanted(self, row: Any, includes: Sequence[Include], rids: dict[int, set[int]]) -> Stored | None:
        """The resource of a row, if it is there and of the type that was asked for."""
        if not self._fits(self.type(row), includes, rids[row["rid"]]):
            return None
        return stored(self.type(row), row["id"], row)

    def _fits(self, type: str, includes: Sequence[Include], by: set[int]) -> bool:
        return any(includes[number].reverse or includes[number].target in (None, type) for number in by)

    async def neighbours(self, includes: Sequence[Include], frontier: Sequence[Head]) -> dict[int, set[int]]:
        """rid -> the numbers of the includes that lead to it; not those already seen."""
        rids: dict[int, set[int]] = {}
        forward = [(number, each, set(each.pids)) for number, each in enumerate(includes) if not each.reverse]
        for number, each, pids in forward:
            for head in frontier:
                if head.type == each.source:
                    for key in head.keys:
                        rid = key & VALUE_MASK
                        if key >= 0 and key_pid(key) in pids and rid not in self.seen:
                            rids.setdefault(rid, set()).add(number)
        found = await self._referrers(includes, frontier)
        for number, each in enumerate(includes):
            if each.paths:
                heads = [
                    head for head in frontier if head.type in (each.cited if each.reverse else (each.source,))
                ]
                found += [(rid, number) for rid in await self._by_url(each, heads) if rid not in self.seen]
        for rid, number in found:
            rids.setdefault(rid, set()).add(number)
        return rids

    async def _by_url(self, include: Include, heads: Sequence[Head]) -> list[int]:
        """What the canonical urls of ``include`` lead to from ``heads``; in reverse, what cites those."""
        if not heads:
            return []
        rids = [head.rid for head in heads]
        found = await (self._citers(include, rids) if include.reverse else self._holders(include, rids))
        self.is_cut |= len(found) > FOUND
        return found

    async def _holders(self, include: Include, rids: list[int]) -> list[int]:
        arguments = Arguments()
        arguments.add(rids, "bigint[]")
        sql = CITATIONS.replace("{values}", document_values(include.paths, "r", arguments))
        urls = urls_of(row["url"] for row in await self.fetch(sql, *arguments.values))
        pids = url_pids(self.definitions, include.cited)
        by_key = {hashed_key(pid, url, self.secret): url for pid in pids for url, _ in urls}
        rows = await self.fetch(HOLDERS, list(by_key), FOUND + 1)
        self.is_cut |= len(rows) > FOUND
        wanted = ((by_key[row["key"]], row["version"], row["rid"]) for row in rows)
        return [rid for url, version, rid in wanted if not urls.isdisjoint(((url, None), (url, version)))]

    async def _citers(self, include: Include, rids: list[int]) -> list[int]:
        urls = [(row["url"], row["version"]) for row in await self.fetch(URLS, rids) if row["url"]]
        (pid,) = include.pids

        def key(text: str) -> int:
            return hashed_key(pid, text, self.secret)

        exact = [key(f"{url}|{version}") if version else 0 for url, version in urls]
        arguments = Arguments()
        arguments.values = [[key(url) for url, _ in urls], exact, [url for url, _ in urls], FOUND + 1]
        candidate = Candidate("t", self.definitions.type_number[include.source], dated=True)
        row = candidate.resource()
        sql = CITERS.replace("{values}", document_values(include.paths, row, arguments))
        sql = sql.replace("{row}", row).replace("{token}", table("token", candidate.rt))
        return [row["rid"] for row in await self._seen(sql, arguments.values, [include.source], candidate)]

    async def _referrers(
        self, includes: Sequence[Include], frontier: Sequence[Head]
    ) -> list[tuple[int, int]]:
        """(rid, number of the include) of what refers to the frontier; one statement for all includes."""
        keys: dict[int, list[int]] = {}
        types: dict[int, int] = {}
        for number, each in enumerate(includes):
            if each.reverse and not each.paths:
                for head in frontier:
                    if each.target in (None, head.type):
                        for pid in each.pids:
                            key = pid << VALUE_BITS | head.rid
                            keys.setdefault(key, []).append(number)
                            types[key] = self.definitions.type_number[each.source]
        if not keys:
            return []
        values = [list(types), list(types.values()), FOUND + 1]
        sources = sorted({self.definitions.resource_types[rt - 1] for rt in types.values()})
        rows = await self._seen(REFERRERS, values, sources, Candidate("t", 0, dated=True))
        self.is_cut |= len(rows) > FOUND
        return [
            (row["rid"], number) for row in rows if row["rid"] not in self.seen for number in keys[row["key"]]
        ]
