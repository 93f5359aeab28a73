"""``_sort`` by codes, one code after the other: the few codes of a parameter are put in order, and the rows of each are
walked until the page is full. What has none of them comes last.

A token row holds a hash, which has no order, so the code is taken from a resource that stands under it: once, because
what a key stands for never changes. https://hl7.org/fhir/R4/search.html#sort
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from fhirhub.definitions.tables import Definitions
from fhirhub.resource import json
from fhirhub.search.parameters.token import codes_by_key
from fhirhub.search.request import SearchRequest, Sort
from fhirhub.search.rows import MAX_DATE, MIN_DATE, VALUE_BITS
from fhirhub.store.absent import left
from fhirhub.store.predicates import Candidate, Compiler
from fhirhub.store.ranges import Condition
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import table
from fhirhub.store.walks import Position

Ranking = Sequence[tuple[int, str]]
"""(key, code), in no order."""

MOST = 300
"""Codes of a parameter up to which they are walked one after the other."""
KEYS = """
with recursive known (key) as (
    (select t.key from {token} t where t.key >= $1 and t.key < $2 order by t.key limit 1)
    union all
    select (select t.key from {token} t where t.key > k.key and t.key < $2 order by t.key limit 1)
    from known k where k.key is not null
)
select key from known where key is not null limit $3
"""
SAMPLES = """
select k.key, r.meta::text as meta, r.content::text as content from unnest($1::bigint[]) as k (key)
cross join lateral (select t.rid from {token} t where t.key = k.key limit 1) as t
cross join lateral (select r.meta, r.content from resource r where r.rid = t.rid offset 0) as r
"""


def can_rank(request: SearchRequest, main_date: int | None) -> bool:
    """Whether the order is that of codes; newest first may follow, since that is the order of their rows."""
    if not request.type or not request.sort or not request.sort[0].routes:
        return False
    others = request.sort[1:]
    newest = len(others) == 1 and others[0].kind == "date" and others[0].pid == main_date
    return not others or (newest and others[0].descending)


def stands_once(sort: Sort, type_: str, definitions: Definitions) -> bool:
    """Whether a resource of ``type_`` has no more than one of the codes."""
    if len(sort.routes) != 1 or sort.routes[0].type_name == "CodeableConcept":
        return False
    for move in sort.routes[0].moves:
        found = definitions.types[type_].properties.get(move.name) if type_ in definitions.types else None
        if move.kind != "child" or found is None or found.element.max != 1:
            return False
        type_ = found.type_name
    return True


@dataclass(slots=True)
class Ranks:
    """Knows the codes of parameters; ``secret`` keys the hashes of the store."""

    numbers: Mapping[str, int]
    secret: bytes
    codes: dict[int, str | None] = field(default_factory=dict)
    """Key -> code; None for keys of something else, such as the text of a concept without codes."""
    many: set[int] = field(default_factory=set)
    """Parameters that have too many."""

    async def of(self, type_: str, sort: Sort, fetch: Fetch) -> Ranking | None:
        """The codes of ``sort`` that occur; None when they are too many."""
        if sort.pid in self.many:
            return None
        token = table("token", self.numbers[type_])
        first = -((sort.pid + 1) << VALUE_BITS)
        rows = await fetch(KEYS.format(token=token), first, first + (1 << VALUE_BITS), MOST + 1)
        keys = [row["key"] for row in rows]
        if len(keys) > MOST:
            self.many.add(sort.pid)
            return None
        unknown = [key for key in keys if key not in self.codes]
        for row in await fetch(SAMPLES.format(token=token), unknown) if unknown else ():
            document = json.parse((row["content"] or "{}").encode())
            document["meta"] = json.parse((row["meta"] or "{}").encode())
            known = codes_by_key(sort.pid, sort.routes, document, self.secret)
            self.codes[row["key"]] = known.get(row["key"])
        return [(key, code) for key in keys if (code := self.codes.get(key)) is not None]


@dataclass(slots=True)
class RankedWalk:
    """Writes the candidates of one page: order columns ``k0``, the code (null for none), and ``k1``, the main date.

    ``single``: no resource has more than one code; otherwise each stands where the first of its codes does.
    """

    WIDTH: ClassVar[int] = 2

    compiler: Compiler
    parts: Sequence[Condition]
    ranks: Ranking
    single: bool
    descending: bool
    position: Position | None

    @property
    def backward(self) -> bool:
        """Whether the page is read from its end."""
        return self.position is not None and self.position.backward

    def sql(self, limit: int) -> str:
        """The select, no more than ``limit`` rows."""
        most = self.compiler.arguments.add(limit, "bigint")
        ranked = sorted(self.ranks, key=lambda each: (each[1], each[0]), reverse=self.descending)
        down = "" if self.backward else " desc"
        by_code = f' collate "C"{" desc" if self.descending != self.backward else ""}'
        missing_first = " desc" if self.backward else ""
        found = self._found(ranked, most, f"k.code{by_code}, n.date{down}, n.rid{down}")
        others = self._others([key for key, _ in ranked], most, down)
        return (
            f"with found as materialized ({found}) select * from (select * from found union all ({others})) as u"
            f" order by (k0 is null){missing_first}, k0{by_code}, k1{down}, rid{down} limit {most}"
        )

    def _found(self, ranked: Ranking, most: str, order: str) -> str:
        """What has a code."""
        add, bigs = self.compiler.arguments.add, self.compiler.arguments.bigs
        legs = [(n, *leg) for n, each in enumerate(ranked) if (leg := self._leg(*each)) is not None]
        numbers, codes = [leg[0] for leg in legs], [leg[2] for leg in legs]
        keys, dates, rids = ([leg[1] for leg in legs], [leg[3] for leg in legs], [leg[4] for leg in legs])
        candidate = Candidate("c", self.compiler.root, dated=True)
        tests = [self.compiler.test(part, candidate) for part in self.parts]
        if not self.single:
            before = f"({bigs([key for key, _ in ranked])})[1:k.n]"
            tests.append(f"({candidate.resource()}.keys && {before}) is not true")
        down = "" if self.backward else " desc"
        return (
            f"select k.code as k0, n.date as k1, n.rid from unnest({add(numbers, 'integer[]')}, {bigs(keys)},"
            f" {add(codes, 'text[]')}, {bigs(dates)}, {bigs(rids)}) as k (n, key, code, date, rid)"
            f" cross join lateral (select c.date, c.rid from {table('token', self.compiler.root)} c{candidate.join()}"
            f" where c.key = k.key and (c.date, c.rid) {'>' if self.backward else '<'} (k.date, k.rid)"
            f"{''.join(f' and {test}' for test in tests)} order by c.date{down}, c.rid{down} limit {most}) as n"
            f" order by {order} limit {most}"
        )

    def _leg(self, key: int, code: str) -> tuple[int, str, int, int] | None:
        """(key, code, date, rid): the rows under ``key`` that come after that moment; None for none at all."""
        start = (MIN_DATE - 1, 0) if self.backward else (MAX_DATE + 1, 0)
        if self.position is None:
            return (key, code, *start)
        last, date = self.position.values
        if last is None:
            return (key, code, *start) if self.backward else None
        if code == last:
            assert isinstance(date, int)
            return key, code, date, self.position.rid
        beyond = (code < str(last)) if self.descending else (code > str(last))
        return (key, code, *start) if beyond != self.backward else None

    def _others(self, keys: list[int], most: str, down: str) -> str:
        """What has none: looked for only when what has one does not fill the page."""
        add, big = self.compiler.arguments.add, self.compiler.arguments.big
        candidate = Candidate("c", self.compiler.root, dated=True)
        among_them = self.position is not None and self.position.values[0] is None
        within = []
        if self.position is not None and among_them:
            date, sign = self.position.values[1], ">" if self.backward else "<"
            assert isinstance(date, int)
            within.append(f"(c.date, c.rid) {sign} ({big(date)}, {big(self.position.rid)})")
        keys = sorted(keys, key=self.compiler.statistics.key, reverse=True)
        others = left(keys, self.compiler.root, within, not self.backward, self.compiler.arguments)
        wanted = [add(among_them or not self.backward, "boolean")]
        if not self.backward:
            wanted.append(f"(select count(*) from found) < {most}")
        wanted += [self.compiler.test(part, candidate) for part in self.parts]
        return (
            f"select null::text as k0, c.date as k1, c.rid from ({others}) as c{candidate.join()}"
            f" where {' and '.join(wanted)} order by c.date{down}, c.rid{down} limit {most}"
        )
