"""Does the index say what the documents say? Every row is made again and compared; nothing is changed.

The whole look is one snapshot, so a server may go on writing meanwhile. It costs about what an import costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from fhirhub.definitions.tables import Definitions
from fhirhub.resource import json
from fhirhub.search.custom import READY, Indexing, make
from fhirhub.search.rows import VALUE_BITS, Rows, key_pid
from fhirhub.store.parameters import load
from fhirhub.store.ranges import date_key, number_key
from fhirhub.store.reads import stored
from fhirhub.store.resolve import WITNESSES

BATCH = 500
"""Resources in hand at a time."""
SHOWN = 100
"""Disagreements that are kept; more are only counted."""

_RESOURCES = """
select rid, id, version, updated, date, deleted, method, params, keys, meta::text as meta, content::text as content
from resource where rt = $1 order by rid
"""
_INDEXES = {
    "token": ("key", "date"),
    "string": ("key", "text"),
    "date": ("key", "lo", "hi"),
    "number": ("key", "lo", "hi", "unit", "label"),
    "words": (
        "coalesce(array_to_string(tsvector_to_array(narrative), ' '), '')",
        "coalesce(array_to_string(tsvector_to_array(content), ' '), '')",
    ),
}
_TARGETS = """
select k.n, r.rid, r.deleted from unnest($1::smallint[], $2::text[]) with ordinality as k (rt, id, n)
cross join lateral (select r.rid, r.deleted from resource r where r.rt = k.rt and r.id = k.id offset 0) as r
"""
_PHRASES = (
    "select id from unnest($1::bigint[]) as k (id) where not exists (select from phrase p where p.id = k.id)"
)
_VERSIONS = """
select r.rt, r.id, r.version, count(h.version) as past, max(h.version) as last
from resource r left join history h on h.rt = r.rt and h.rid = r.rid
where r.version > 0
group by r.rt, r.id, r.version
having count(h.version) filter (where h.version > 0) <> r.version - 1 or max(h.version) >= r.version
"""
_ORPHANS = (
    "select count(*) from {} t where not exists (select from resource r where r.rt = t.rt and r.rid = t.rid)"
)


@dataclass(slots=True)
class Verified:
    """What was looked at and what does not agree: sentences that name the resource and the table, no content."""

    resources: int = 0
    wrong: int = 0
    disagreements: list[str] = field(default_factory=list)

    def report(self, text: str) -> None:
        """Note a disagreement."""
        self.wrong += 1
        if len(self.disagreements) < SHOWN:
            self.disagreements.append(text)


async def verify(
    dsn: str, definitions: Definitions, *, integrity: bool = True, bases: Sequence[str] = ()
) -> Verified:
    """Compare documents, index rows, references and versions of the whole store.

    ``bases`` are the addresses under which the server was written to: absolute references below them are local.
    """
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            secret = await connection.fetchval("select value from store where name = 'hash'")
            _, own = await load(connection.fetch)
            indexing = make(definitions, bytes.fromhex(secret or ""), [e for e in own if e.state == READY])
            # What is being indexed, or taken away, may have rows or not.
            passed = frozenset(each.parameter.pid for each in own if each.state != READY)
            check = _Check(connection, indexing, passed, integrity, tuple(bases))
            for type_ in definitions.resource_types:
                await check.type(type_)
            await check.whole()
    finally:
        await connection.close()
    return check.found


class _Check:
    def __init__(
        self,
        connection: asyncpg.Connection,
        indexing: Indexing,
        passed: frozenset[int],
        integrity: bool,
        bases: tuple[str, ...],
    ) -> None:
        self._connection = connection
        self._definitions = indexing.definitions
        self._extractor = indexing.extractor
        self._passed = passed
        self._integrity = integrity
        self._bases = bases
        self.found = Verified()

    async def type(self, type_: str) -> None:
        """All resources of a type, in step with their index rows."""
        rt = self._definitions.type_number[type_]
        streams = {
            table: _Stream(self._rows(table, columns, rt)) for table, columns in _INDEXES.items()
        }  # fmt: skip
        batch: list[Any] = []
        async for row in self._connection.cursor(_RESOURCES, rt, prefetch=BATCH):
            batch.append(row)
            if len(batch) == BATCH:
                await self._batch(type_, batch, streams)
                batch = []
        await self._batch(type_, batch, streams)

    def _rows(self, table: str, columns: tuple[str, ...], rt: int) -> AsyncIterator[Any]:
        sql = f"select rid, {', '.join(columns)} from {table} where rt = $1 order by rid"
        return aiter(self._connection.cursor(sql, rt, prefetch=BATCH * 8))

    async def _batch(self, type_: str, batch: list[Any], streams: dict[str, _Stream]) -> None:
        made = [self._made(type_, row) for row in batch]
        wanted = sorted({(t, i) for rows in made if rows is not None for _, t, i in rows.references})
        targets = await self._targets(wanted)
        phrases = {id for rows in made if rows is not None for id in rows.phrases}
        unknown = {row["id"] for row in await self._connection.fetch(_PHRASES, list(phrases))}
        for row, rows in zip(batch, made, strict=True):
            name = f"{type_}/{row['id']}"
            self.found.resources += 1
            expected = self._expected(name, rows, targets)
            for table, stream in streams.items():
                present = self._counted(table, await stream.of(row["rid"]))
                if present != expected[table]:
                    missing, extra = expected[table] - present, present - expected[table]
                    self.found.report(
                        f"{name}: {table} lacks {missing.total()} rows and has {extra.total()} too many."
                    )
            self._columns(name, row, rows, expected)
            if rows is not None and not unknown.isdisjoint(rows.phrases):
                self.found.report(f"{name}: a text, uri or unit of it is not in the dictionary.")

    def _counted(self, table: str, rows: list[tuple[Any, ...]]) -> Counter[Any]:
        if self._passed and table != "words":
            rows = [row for row in rows if key_pid(row[0]) not in self._passed]
        return Counter(rows)

    def _made(self, type_: str, row: Any) -> Rows | None:
        version = stored(type_, row["id"], row)
        if version is None or version.deleted:
            return None
        return self._extractor.rows(json.parse(version.render()), self._bases)

    async def _targets(self, wanted: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, bool]]:
        numbers = self._definitions.type_number
        found = await self._connection.fetch(
            _TARGETS, [numbers[t] for t, _ in wanted], [i for _, i in wanted]
        )  # fmt: skip
        return {wanted[row["n"] - 1]: (row["rid"], row["deleted"]) for row in found}

    def _expected(
        self, name: str, rows: Rows | None, targets: dict[tuple[str, str], tuple[int, bool]]
    ) -> dict[str, Counter[Any]]:
        """Table -> the rows it should have of one resource."""
        expected: dict[str, Counter[Any]] = {table: Counter() for table in _INDEXES}
        if rows is None:
            return expected
        expected["token"].update((key, rows.date) for key in rows.tokens)
        for pid, type_, id_ in rows.references:
            rid, deleted = targets.get((type_, id_), (None, True))
            if rid is None or (deleted and self._integrity and name.partition("/")[0] not in WITNESSES):
                self.found.report(f"{name}: refers to {type_}/{id_}, which is not there.")
            if rid is not None:
                expected["token"][pid << VALUE_BITS | rid, rows.date] += 1
        expected["string"].update(rows.strings)
        if any(rows.words):
            expected["words"][rows.words] += 1
        expected["date"].update((date_key(key, lo, hi), lo, hi) for key, lo, hi in rows.dates)
        expected["number"].update((number_key(row[0], row[1], row[2]), *row[1:]) for row in rows.numbers)
        return expected

    def _columns(self, name: str, row: Any, rows: Rows | None, expected: dict[str, Counter[Any]]) -> None:
        """The columns of the resource itself that repeat the index."""
        keys = [key for key in row["keys"] or () if key_pid(key) not in self._passed]
        if Counter(keys) != Counter(key for key, _ in expected["token"].elements()):
            self.found.report(f"{name}: resource.keys is not what the document says.")
        if rows is None:
            return
        if set(row["params"] or ()) - self._passed != rows.params:
            self.found.report(f"{name}: resource.params is not what the document says.")
        if row["date"] != rows.date:
            self.found.report(f"{name}: resource.date is not what the document says.")

    async def whole(self) -> None:
        """What concerns no single document: versions without gaps, index rows without a resource."""
        types = self._definitions.resource_types
        for row in await self._connection.fetch(_VERSIONS):
            self.found.report(
                f"{types[row['rt'] - 1]}/{row['id']}: is version {row['version']} with {row['past']} earlier ones."
            )
        for table in (*_INDEXES, "history"):
            count = await self._connection.fetchval(_ORPHANS.format(table))
            if count:
                self.found.report(f"{table}: {count} rows belong to no resource.")


class _Stream:
    """Rows in the order of rid, taken resource by resource."""

    def __init__(self, rows: AsyncIterator[Any]) -> None:
        self._rows = rows
        self._next: Any = None
        self._begun = False

    async def of(self, rid: int) -> list[tuple[Any, ...]]:
        """The rows of ``rid`` without it; rids are asked for in order. Rows of skipped rids are orphans."""
        if not self._begun:
            self._begun = True
            await self._step()
        while self._next is not None and self._next["rid"] < rid:
            await self._step()
        found = []
        while self._next is not None and self._next["rid"] == rid:
            found.append(tuple(self._next)[1:])
            await self._step()
        return found

    async def _step(self) -> None:
        self._next = await anext(self._rows, None)
