"""Index rows of single parameters, added to resources that are there already or taken away again.

Others go on writing meanwhile. A resource that was changed between the look at it and the write is left alone: who
changed it knew the parameter (:mod:`fhirhub.store.parameters`).
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fhirhub.search.rows import VALUE_BITS, Rows
from fhirhub.store.engine import Connection
from fhirhub.store.ranges import date_key, number_key
from fhirhub.store.totals import CHANGED

COUNT = "select count(*) as n from resource where rt = $1 and not deleted"
# To render a whole resource and to parse it again costs more than all the rest of the work.
NEXT = """
select r.id, r.rid, r.version, r.date, r.meta::text as meta, case when $4::text[] is null then r.content::text else (
    select jsonb_object_agg(e.name, r.content -> e.name)::text from unnest($4) as e (name) where r.content ? e.name
) end as content
from resource r
where r.rt = $1 and r.id > $2 and not r.deleted
order by r.id limit $3
"""
# In the order of ids, as everybody locks.
HOLD = """
select k.n
from unnest($1::bigint[], $2::integer[], $3::bigint[]) with ordinality as k (rid, version, date, n)
cross join lateral (
    select r.version, r.date, r.params from resource r where r.rid = k.rid for update
) as r
where r.version = k.version and r.date = k.date and not coalesce(r.params && $4::smallint[], false)
"""
TARGETS = """
select k.n, r.rid from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (select r.rid from resource r where r.rt = k.rt and r.id = k.id offset 0) as r
"""
TOKENS = """
insert into token (key, date, rid, rt)
select c.key, c.date, c.rid, $1::smallint from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as c (key, date, rid)
"""
STRINGS = """
insert into string (key, text, rid, rt)
select c.key, c.text, c.rid, $1::smallint from unnest($2::bigint[], $3::text[], $4::bigint[]) as c (key, text, rid)
"""
DATES = """
insert into date (key, lo, hi, rid, rt)
select c.key, c.lo, c.hi, c.rid, $1::smallint
from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) as c (key, lo, hi, rid)
"""
NUMBERS = """
insert into number (key, lo, hi, unit, label, rid, rt)
select c.key, c.lo, c.hi, c.unit, c.label, c.rid, $1::smallint
from unnest($2::bigint[], $3::double precision[], $4::double precision[], $5::integer[], $6::integer[], $7::bigint[])
    as c (key, lo, hi, unit, label, rid)
"""
CODINGS = """
insert into coding (key, coding)
select c.key, c.coding from unnest($1::bigint[], $2::bigint[]) as c (key, coding) order by c.key, c.coding
on conflict do nothing
"""
PHRASES = """
insert into phrase (id, pid, text, raw, key)
select c.id, c.pid, c.text, c.raw, c.key
from unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bigint[]) as c (id, pid, text, raw, key)
order by c.id
on conflict do nothing
"""
# The digest of the ordered rows becomes one that no version has, so that the next update writes all of them.
MARK = """
update resource r
set keys = r.keys || ($2::bigint[])[c.keys_from : c.keys_to], params = r.params || ($3::smallint[])[c.params_from : c.params_to],
    digest = case when c.ordered then r.digest # $4::bigint else r.digest end
from unnest($1::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::integer[], $9::boolean[])
    as c (rid, keys_from, keys_to, params_from, params_to, ordered)
where r.rid = c.rid
"""


@dataclass(slots=True)
class Found:
    """A resource as it was looked at, and the rows it is to get."""

    rid: int
    version: int
    date: int
    rows: Rows


async def fill(
    connection: Connection, rt: int, pids: Collection[int], found: Sequence[Found], types: dict[str, int]
) -> int:
    """Add the rows of ``pids`` to resources of the type number ``rt``, in the transaction that is open.

    ``found`` are in the order of their ids; ``types`` numbers the resource types. Returns how many got rows.
    """
    heads = [(each.rid, each.version, each.date) for each in found]
    held = await connection.fetch(HOLD, *_columns(heads, 3), list(pids))
    kept = [found[row["n"] - 1] for row in held]
    if not kept:
        return 0
    targets = await _targets(connection, kept, types)
    lists = _Lists()
    for each in kept:
        lists.add(each, targets)
    await _insert(connection, rt, lists)
    await connection.fetch(MARK, *lists.marks(secrets.randbits(62) + 1))
    await connection.fetch(CHANGED)
    return len(kept)


async def _targets(
    connection: Connection, kept: Sequence[Found], types: dict[str, int]
) -> dict[tuple[str, str], int]:
    wanted = sorted({(type, id) for each in kept for _, type, id in each.rows.references})
    if not wanted:
        return {}
    rows = await connection.fetch(TARGETS, [types[type] for type, _ in wanted], [id for _, id in wanted])
    return {wanted[row["n"] - 1]: row["rid"] for row in rows}


async def _insert(connection: Connection, rt: int, lists: _Lists) -> None:
    for sql, rows, width in (
        (TOKENS, lists.tokens, 3),
        (STRINGS, lists.strings, 3),
        (DATES, lists.dates, 4),
        (NUMBERS, lists.numbers, 6),
    ):
        if rows:
            await connection.fetch(sql, rt, *_columns(rows, width))
    if lists.codings:
        await connection.fetch(CODINGS, *_columns(sorted(lists.codings), 2))
    if lists.phrases:
        phrases = [(id, *phrase) for id, phrase in lists.phrases.items()]
        await connection.fetch(PHRASES, *_columns(phrases, 5))


class _Lists:
    """Rows of the index tables, as arguments of statements."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, int, int]] = []
        self.strings: list[tuple[int, str, int]] = []
        self.dates: list[tuple[int, int, int, int]] = []
        self.numbers: list[tuple[int, float, float, int, int, int]] = []
        self.codings: set[tuple[int, int]] = set()
        self.phrases: dict[int, Any] = {}
        self._keys: list[int] = []
        self._params: list[int] = []
        self._heads: list[tuple[int, int, int, int, int, bool]] = []

    def add(self, found: Found, targets: dict[tuple[str, str], int]) -> None:
        """The rows of one resource."""
        rows, rid = found.rows, found.rid
        keys = [*rows.tokens]
        keys += [
            pid << VALUE_BITS | targets[type, id]
            for pid, type, id in rows.references
            if (type, id) in targets
        ]
        self.tokens += [(key, found.date, rid) for key in keys]
        self.strings += [(key, text, rid) for key, text in rows.strings]
        self.dates += [(date_key(key, lo, hi), lo, hi, rid) for key, lo, hi in rows.dates]
        self.numbers += [(number_key(key, lo, hi), lo, hi, u, n, rid) for key, lo, hi, u, n in rows.numbers]
        self.codings |= rows.codings
        self.phrases |= rows.phrases
        ordered = bool(rows.strings or rows.dates or rows.numbers)
        first, before = len(self._keys) + 1, len(self._params) + 1
        self._keys += keys
        self._params += rows.params
        self._heads.append((rid, first, len(self._keys), before, len(self._params), ordered))

    def marks(self, mark: int) -> tuple[Any, ...]:
        """The arguments of MARK."""
        rids, *rest = _columns(self._heads, 6)
        return rids, self._keys, self._params, mark, *rest


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width


# -- taking away ---------------------------------------------------------------------------------------------------

MARKED = """
select r.id, r.rid, r.params && $4::smallint[] as marked from resource r
where r.rt = $1 and r.id > $2 and not r.deleted order by r.id limit $3
"""
_OF_PIDS = "(case when {0} < 0 then -1 - {0} else {0} end) >> 49 = any ($2::bigint[])"
EMPTIED = [
    f"""
    with held as (
        select r.rid, r.rt, r.date, r.keys from unnest($1::bigint[]) as c (rid)
        cross join lateral (select * from resource r where r.rid = c.rid for update) as r
    )
    delete from token t using (
        select h.rt, h.rid, h.date, k.key from held h cross join unnest(h.keys) as k (key)
        where {_OF_PIDS.format("k.key")}
    ) as gone
    where t.rt = gone.rt and t.key = gone.key and t.date = gone.date and t.rid = gone.rid
    """,
    *(
        f"delete from {table} t using unnest($1::bigint[]) as c (rid) where t.rt = $3 and t.rid = c.rid"
        f" and {_OF_PIDS.format('t.key')}"
        for table in ("string", "date", "number")
    ),
    f"""
    update resource r
    set keys = array(select k.key from unnest(r.keys) as k (key) where not {_OF_PIDS.format("k.key")}),
        params = array(select p.pid from unnest(r.params) as p (pid) where not p.pid = any ($2::bigint[])),
        digest = r.digest # $3::bigint
    from unnest($1::bigint[]) as c (rid) where r.rid = c.rid
    """,
]


async def empty(connection: Connection, rt: int, pids: Collection[int], rids: Sequence[int]) -> None:
    """Take the rows of ``pids`` away from the resources ``rids``, given in the order of their ids."""
    tokens, *ranges, mark = EMPTIED
    await connection.fetch(tokens, list(rids), list(pids))
    for sql in ranges:
        await connection.fetch(sql, list(rids), list(pids), rt)
    await connection.fetch(mark, list(rids), list(pids), secrets.randbits(62) + 1)
    await connection.fetch(CHANGED)
