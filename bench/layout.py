"""The experiment of ADR 0001: two layouts of the search index on a million Observations.

``python -m bench.layout [--observations N]`` loads the same resources into our tables and into
:file:`layout.sql`'s, runs the same searches on both, compares what they find, and prints a table. It needs about
6 GB of disk and ten minutes on two cores. Times are those of the statements on one connection, with the driver.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import asyncpg

from bench import records
from bench.lab import ROOT, Lab
from bench.scenarios.writing import INSERT, limit_variables
from fhirhub.definitions.tables import Definitions, load
from fhirhub.resource.json import dumps, parse
from fhirhub.resource.meta import detach
from fhirhub.search.extract import Extractor
from fhirhub.search.parse import SearchParser
from fhirhub.search.predicate import And, Keys, Predicate, Refers
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.engine import SESSION, Connection
from fhirhub.store.ranges import date_key, number_key
from fhirhub.store.reads import COLUMNS
from fhirhub.store.records import Change
from fhirhub.store.store import Store

PATIENTS = 20_000
CODES = 200
CHUNK = 50_000
_SAMPLES = 200
_WRITE_SECONDS = 6.0
_MARK = "2021-03-04T05:06:07Z"
FREE = {"jit": "off", "plan_cache_mode": "force_custom_plan"}
"""The other layout's best: one plan for all values made it thirty times slower on frequent codes."""

# Codes and patients are drawn skewed: the most frequent code has a sixth of all rows, the rarest some hundred.
_STAGE = """
insert into bench_stage
select nextval('bench_rid'), 1262304000000000 + floor(random() * 4000)::bigint * 86400000000
    + floor(random() * 86400)::bigint * 1000000, p.rid, floor(power(random(), 3) * $1)::integer,
    round((random() * 200)::numeric, 1)::float8
from generate_series(1, $2) as n
cross join lateral (select (floor(power(random(), 1.5) * $3) + 1)::integer + n * 0 as pick) as x
join bench_patient p on p.n = x.pick
"""
_ROWS = """
select s.rid, s.date as updated, s.date, 1, $1::smallint as rt, 0, false, s.rid, 'o' || s.rid, c.params,
    c.keys || (select array_agg(key | s.patient) from unnest(c.refs) as key) as keys, null::jsonb,
    replace(replace(c.body, '1234.5', s.value::text), '{mark}', to_char(to_timestamp(s.date / 1000000)
        at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))::jsonb
from bench_stage s join bench_code c on c.n = s.code where s.rid >= $2 and s.rid < $3
""".replace("{mark}", _MARK)
_COLUMNS = "(rid, updated, date, version, rt, method, deleted, digest, id, params, keys, meta, content)"
_TOKENS = """
insert into token (key, date, rid, rt)
select k, r.date, r.rid, r.rt from resource r cross join unnest(r.keys) as k
where r.rt = $1 and r.rid >= $2 and r.rid < $3
"""
_DATES = """
insert into date (key, lo, hi, rid, rt) select k, s.date, s.date, s.rid, $1::smallint
from bench_stage s join bench_code c on c.n = s.code cross join unnest(c.date_keys) as k
where s.rid >= $2 and s.rid < $3
"""
_NUMBERS = """
insert into number (key, lo, hi, rid, unit, label, rt)
select k, s.value, s.value, s.rid, c.number_unit, c.number_label, $1::smallint
from bench_stage s join bench_code c on c.n = s.code cross join unnest(c.number_keys) as k
where s.rid >= $2 and s.rid < $3
"""
_OTHER_PAGE = (
    f"select r.id, {COLUMNS} from other.resource r where r.rt = {{rt}} and not r.deleted"
    " and r.keys @> $1::bigint[]{more} order by r.date desc, r.rid desc limit 21"
)
_OTHER_COUNT = (
    "select count(*) from other.resource r where r.rt = {rt} and not r.deleted and r.keys @> $1::bigint[]"
)
_OTHER_FAMILY = (
    f"select r.id, {COLUMNS} from (select distinct rid, text from string s where s.rt = {{rt}} and s.key = $1"
    " and s.text >= $2 and s.text < $3 order by text, rid limit 21) as s"
    " join other.resource r on r.rid = s.rid and r.rt = {rt} and not r.deleted"
)
_SIZES = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname = $1 and c.relname like $2
"""
_GIN = """
select coalesce(sum(pg_relation_size(i.indexrelid)), 0)::bigint from pg_index i
join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam where a.amname = 'gin'
"""


@dataclass(slots=True)
class Timed:
    """A connection that remembers how long its statements took."""

    connection: Connection
    seconds: float = 0.0

    async def fetch(self, sql: str, *values: Any) -> Sequence[asyncpg.Record]:
        """The rows of ``sql``; its time is added up."""
        started = time.perf_counter()
        rows = await self.connection.fetch(sql, *values)
        self.seconds += time.perf_counter() - started
        return rows


@dataclass(slots=True)
class Row:
    """One line of the table: milliseconds of each sample on both layouts."""

    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    differ: int = 0
    """Samples for which the two did not find the same."""


class Experiment:
    """Both layouts in one database."""

    def __init__(self, store: Store, definitions: Definitions, ours: Timed, other: Timed) -> None:
        self.store = store
        self.definitions = definitions
        self.ours = ours
        self.other = other
        self.parser = SearchParser(definitions, store.secret)
        self.rt = definitions.type_number["Observation"]
        self.loads: dict[str, float] = {}
        self.patients: list[tuple[str, int, records.Document]] = []

    # -- data

    async def fill(self, observations: int) -> None:
        """Patients by the server's own writer; Observations from templates, by the million, inside Postgres."""
        await self._write_patients()
        await self._write_templates()
        fetch = self.ours.connection.fetch
        await fetch("select setseed(0.42)")
        await fetch(_STAGE, CODES, observations, PATIENTS)
        first, last = (await fetch("select min(rid), max(rid) + 1 from bench_stage"))[0]
        insert = f"insert into {{}} {_COLUMNS} {_ROWS}"
        steps = {
            "resource": [insert.format("resource")],
            "token": [_TOKENS],
            "other": [insert.format("other.resource")],
            "ranges": [_DATES, _NUMBERS],
        }
        for name, statements in steps.items():
            started = time.perf_counter()
            for at in range(first, last, CHUNK):
                for statement in statements:
                    await fetch(statement, self.rt, at, min(at + CHUNK, last))
            self.loads[name] = time.perf_counter() - started
            _say(f"{name}: {self.loads[name]:.0f} s")
        patients = (
            f"insert into other.resource {_COLUMNS} select {_COLUMNS[1:-1]} from resource where rt <> $1"
        )
        await fetch(patients, self.rt)

    async def _write_patients(self) -> None:
        random = Random(5)
        extractor = Extractor(self.definitions, self.store.secret)
        rows: list[tuple[int, int]] = []
        for at in range(0, PATIENTS, 500):
            changes = []
            for n in range(at, at + 500):
                document = parse(records.dump({**records.patient(random, n), "id": f"p{n}"}))
                changes.append(Change("PUT", "Patient", f"p{n}", None, document, extractor.rows(document)))
            written = await self.store.write(changes)
            for change, done in zip(changes, written, strict=True):
                assert change.document is not None
                self.patients.append((done.id, done.rid, change.document))
                rows.append((len(self.patients), done.rid))
        raw = self.ours.connection.raw
        await raw.execute("create unlogged table bench_patient (n integer primary key, rid bigint)")
        await raw.copy_records_to_table("bench_patient", records=rows)
        await raw.execute("analyze bench_patient")

    async def _write_templates(self) -> None:
        extractor = Extractor(self.definitions, self.store.secret)
        templates = []
        codings: set[tuple[int, int]] = set()
        for n in range(CODES):
            made = records.observation(Random(n), "Patient/p0", None, _MARK)
            made["code"] = records.coded(records.LOINC, _code(n), f"Measurement {n}")
            made["valueQuantity"]["value"] = 1234.5
            document = parse(records.dump(made))
            found = extractor.rows(document)
            codings |= found.codings
            unit, label = next((coded, printed) for *_, coded, printed in found.numbers)
            templates.append(
                (
                    n, sorted(found.tokens), sorted(pid << VALUE_BITS for pid, _, _ in found.references),
                    sorted(found.params), dumps(detach(document)[1]).decode(),
                    sorted({number_key(key, lo, lo) for key, lo, *_ in found.numbers}), unit, label,
                    sorted({date_key(key, lo, hi) for key, lo, hi in found.dates}),
                )
            )  # fmt: skip
        raw = self.ours.connection.raw
        await raw.copy_records_to_table("bench_code", records=templates)
        await raw.executemany("insert into coding values ($1, $2) on conflict do nothing", sorted(codings))

    # -- searches

    async def searches(self) -> dict[str, Row]:
        """The table: each search with random values on both layouts."""
        table: dict[str, Row] = {}
        for name, make in SEARCHES.items():
            row = table[name] = Row()
            random = Random(9)
            for sample in range(_SAMPLES + 10):
                await self._compare(make(random, self), row if sample >= 10 else Row())
            _say(f"{name}: {median(row.ours):.2f} {median(row.other):.2f} ms")
        return table

    async def _compare(self, query: str, row: Row) -> None:
        type_, _, text = query.partition("?")
        pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in text.split("&"))]
        request = self.parser.parse(type_, pairs)
        self.ours.seconds = 0.0
        page = await self.store.searcher.search(request, self.ours.fetch)
        row.ours.append(self.ours.seconds * 1000)
        self.other.seconds = 0.0
        found = await self._other(request, pairs)
        row.other.append(self.other.seconds * 1000)
        same = page.total == found if isinstance(found, int) else [m.rid for m in page.matches] == found[:20]
        row.differ += not same

    async def _other(self, request: SearchRequest, pairs: Sequence[tuple[str, str]]) -> int | list[int]:
        """What the other layout finds: rids in order, or the count."""
        rt = self.definitions.type_number[request.type]
        if pairs[0][0] == "family":
            prefix = pairs[0][1]
            key = self.definitions.search_parameters("Patient")["family"].pid << VALUE_BITS
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
            rows = await self.other.fetch(_OTHER_FAMILY.format(rt=rt), key, prefix, end)
            return [row["rid"] for row in rows]
        keys = [key for part in _parts(request.where) for key in self._keys(part)]
        if request.summary == "count":
            return (await self.other.fetch(_OTHER_COUNT.format(rt=rt), keys))[0][0]
        dates = [_micros(value) for name, value in pairs if name == "date"]
        more = " and r.date >= $2 and r.date < $3" if dates else ""
        rows = await self.other.fetch(_OTHER_PAGE.format(rt=rt, more=more), keys, *dates)
        return [row["rid"] for row in rows]

    def _keys(self, part: Predicate) -> Sequence[int]:
        if isinstance(part, Refers):
            return [part.pid << VALUE_BITS | self.patients[int(part.targets[0][1][1:])][1]]
        return part.keys if isinstance(part, Keys) else ()


def _parts(where: Predicate) -> Sequence[Predicate]:
    return where.parts if isinstance(where, And) else (where,)


def _micros(value: str) -> int:
    """The start of the year in ``ge2015`` or ``lt2016``, in microseconds since 1970."""
    return int(datetime(int(value[2:]), 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def _code(n: int) -> str:
    return f"{10_000 + n}-{n % 10}"


def _someone(random: Random) -> str:
    return f"Patient/p{int(random.random() ** 1.5 * PATIENTS)}"


def _dated(random: Random, code: int) -> str:
    year = random.randint(2010, 2019)
    return f"Observation?code={records.LOINC}|{_code(code)}&date=ge{year}&date=lt{year + 1}&_sort=-date"


SEARCHES: dict[str, Any] = {
    "patient & code & -date, first 20": lambda random, _: (
        f"Observation?patient={_someone(random)}&code={records.LOINC}|{_code(random.randrange(20))}&_sort=-date"
    ),
    "patient & -date, first 20": lambda random, _: f"Observation?patient={_someone(random)}&_sort=-date",
    "frequent code & a year, -date, first 20": lambda random, _: _dated(random, random.randrange(5)),
    "rare code & a year, -date, first 20": lambda random, _: _dated(random, random.randrange(150, CODES)),
    "family prefix, first 20": lambda random, _: f"Patient?family={records.name(random)[:3].lower()}",
    "identifier": lambda random, _: f"Patient?identifier={records.PERSONS}.0|MR-{random.randrange(PATIENTS)}",
    "count of a frequent code": lambda random, _: (
        f"Observation?code={records.LOINC}|{_code(random.randrange(5))}&_summary=count"
    ),
    "count of a patient": lambda random, _: f"Observation?patient={_someone(random)}&_summary=count",
}


async def _open(dsn: str, settings: dict[str, str]) -> Timed:
    raw = await asyncpg.connect(dsn, server_settings=settings, command_timeout=600)
    return Timed(Connection(raw))


async def experiment(lab: Lab, dsn: str, observations: int) -> dict[str, Any]:
    """Load and search; figures."""
    definitions = load()
    store = await Store.open(dsn, definitions)
    ours, other = await _open(dsn, SESSION), await _open(dsn, FREE)
    try:
        await ours.connection.raw.execute((ROOT / "bench" / "layout.sql").read_text(encoding="utf-8"))
        both = Experiment(store, definitions, ours, other)
        # Bulk statements are no searches: the planner may choose.
        both.ours = await _open(dsn, {"jit": "off", "synchronous_commit": "on"})
        await both.fill(observations)
        await both.ours.connection.raw.execute("vacuum (analyze)")
        await both.ours.connection.raw.execute("checkpoint")
        await both.ours.connection.raw.close()
        both.ours = ours
        await store.statistics.refresh(ours.connection.fetch)
        table = await both.searches()
        sizes = {
            name: (await ours.connection.fetch(sql, *values))[0][0]
            for name, sql, values in (
                ("token rows and index", _SIZES, ("public", "token_measurement")),
                ("resource with keys", _SIZES, ("public", "resource")),
                ("other resource with keys and GIN", _SIZES, ("other", "resource_measurement")),
                ("of that GIN", _GIN, ()),
            )
        }
    finally:
        await ours.connection.raw.close()
        await other.connection.raw.close()
        await store.close()
    return {
        "observations": observations,
        "load_s": {name: round(seconds, 1) for name, seconds in both.loads.items()},
        "bytes_per_observation": {name: round(size / observations) for name, size in sizes.items()},
        "searches": {
            name: {
                "ours_ms": round(median(row.ours), 3),
                "ours_p95_ms": round(sorted(row.ours)[int(len(row.ours) * 0.95)], 3),
                "other_ms": round(median(row.other), 3),
                "other_p95_ms": round(sorted(row.other)[int(len(row.other) * 0.95)], 3),
                "differ": row.differ,
            }
            for name, row in table.items()
        },
    }


def writes(lab: Lab, dsn: str) -> dict[str, Any]:
    """Single creates a second into the full tables, one commit each, by pgbench, in turn."""
    define = [f"{name}={value}" for name, value in limit_variables().items()]
    tokens = next(line for line in INSERT.splitlines(True) if line.startswith("t as "))
    other = INSERT.replace("insert into resource", "insert into other.resource").replace(tokens, "")
    figures: dict[str, Any] = {}
    for clients in (1, 16, 64):
        rates: dict[str, list[float]] = {"ours": [], "other": []}
        for _ in range(2):
            for name, script in (("ours", INSERT), ("other", other)):
                rates[name].append(
                    lab.pgbench(dsn, script, clients=clients, seconds=_WRITE_SECONDS, define=define)
                )
        figures[f"{clients} clients"] = {name: round(sum(each) / len(each)) for name, each in rates.items()}
        _say(f"{clients} clients: {figures[f'{clients} clients']}")
    return figures


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _stop(*_: Any) -> None:
    raise SystemExit(1)


def main() -> int:
    """Run the experiment and print its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.layout")
    parser.add_argument("--observations", type=int, default=1_000_000)
    parser.add_argument("--scratch", type=Path, help="where the database of the run goes (a short path)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    lab = Lab(1, "uvicorn", chosen.scratch)
    try:
        dsn = lab.database("fhb_layout")
        figures = asyncio.run(experiment(lab, dsn, chosen.observations))
        figures["creates_s"] = writes(lab, dsn)
    finally:
        lab.close()
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
