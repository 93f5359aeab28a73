"""Patient bundles posted as transactions, against COPY of the same rows; and what they weigh (tx-import, disk)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from bench import records
from bench.lab import Lab
from bench.load import Tally, User, drive, expect, send
from bench.scenarios import Figures, Scale

_NOT_COPIED = ("store", "alembic_version", "history", "access_stamp")
"""Not part of what a load of new resources writes."""
_TWICE = 8
"""Workers of the headline figure."""
_SINGLE = 6
"""Bundles that a single client posts: enough for a rate."""

_SIZES = """
select coalesce(pg_partition_root(c.oid), c.oid)::regclass::text as name,
    sum(pg_table_size(c.oid)) as heap, sum(pg_indexes_size(c.oid)) as indexes
from pg_class c
where c.relnamespace = to_regnamespace(current_schema()) and c.relkind = 'r'
group by 1 order by 2 desc
"""
_HAS_RID = "select true from information_schema.columns where table_name = $1 and column_name = 'rid'"


def sources(scale: Scale) -> tuple[list[bytes], list[bytes], str]:
    """(bundles to post first, patient bundles, where they are from)."""
    folder = scale.synthea
    if folder is None or not folder.is_dir():
        made = list(records.bundles(1, min(scale.bundles, 400) * 10, visits=8, vitals=8))
        return [], made, "synthetic"
    files = sorted(folder.rglob("*.json.gz"))
    shared = [path for path in files if path.name.startswith("0-")]
    of_shared = [path for path in files if path not in shared and shared and path.parent == shared[0].parent]
    patients = (of_shared or files)[: scale.bundles]
    return (
        [_unpacked(path) for path in shared],
        [_unpacked(path) for path in patients],
        f"Synthea {shared[0].parent.name if shared else folder.name}",
    )


def _unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def poster(bundles: Iterator[bytes]) -> User:
    """Posts the bundles that nobody else has taken yet."""
    for body in bundles:
        expect((yield "bundle", send("POST", "", body)), 200)


def resources_in(bundles: list[bytes]) -> int:
    """Entries of all ``bundles``."""
    return sum(len(json.loads(body)["entry"]) for body in bundles)


def tx_import(lab: Lab, scale: Scale) -> Figures:
    """The import with one and with eight clients, each into an empty store; then L3 and the disk."""
    shared, patients, origin = sources(scale)
    figures: Figures = {
        "source": origin,
        "bundles": len(patients),
        "megabytes": round(sum(map(len, patients)) / 1e6, 1),
    }
    single, _ = _import(lab, shared, patients[:_SINGLE], 1)
    figures["1 client"] = single
    many, dsn = _import(lab, shared, patients, _TWICE)
    figures[f"{_TWICE} clients"] = many
    figures["L3"] = _copied(lab, dsn)
    figures["of_L3"] = round(many["resources_s"] / figures["L3"]["resources_s"], 3)
    figures["disk"] = disk(lab, dsn)
    return figures


def _import(lab: Lab, shared: list[bytes], patients: list[bytes], clients: int) -> tuple[Figures, str]:
    dsn = lab.database("fhb_import")
    with lab.fhirhub(dsn) as server:
        drive(server.port, [poster(iter(shared))])
        before, database = server.cpu(), server.database_cpu()
        queue = iter(patients)
        tally: Tally = drive(server.port, [poster(queue) for _ in range(clients)])
        used, of_database = server.cpu() - before, server.database_cpu() - database
    count = resources_in(patients)
    stored = lab.sql(dsn, "select count(*) from resource where version > 0 and not deleted")[0][0]
    posted = count + resources_in(shared)
    if stored != posted:
        raise RuntimeError(f"{posted} resources were posted, {stored} are stored")
    return {
        "resources": count,
        "resources_s": round(count / tally.seconds),
        "bundles_s": round(len(patients) / tally.seconds, 2),
        "megabytes_s": round(sum(map(len, patients)) / 1e6 / tally.seconds, 1),
        "p50_ms": round(tally.percentile(0.5)),
        "p99_ms": round(tally.percentile(0.99)),
        "server_cpu_us": round(used / count * 1e6),
        "database_cpu_us": round(of_database / count * 1e6),
    }, dsn


def _copied(lab: Lab, dsn: str) -> Figures:
    """Limit L3: all rows of ``dsn`` copied into an empty database with the same indexes, over two connections."""
    folder = lab.home / "copy"
    folder.mkdir(exist_ok=True)
    target = lab.database("fhb_copy")
    count, seconds, cpu = asyncio.run(_copy(lab, dsn, target, folder))
    lab.drop("fhb_copy")
    return {
        "resources_s": round(count / seconds),
        "seconds": round(seconds, 2),
        "database_cpu_us": round(cpu / count * 1e6),
    }


async def _copy(lab: Lab, source: str, target: str, folder: Path) -> tuple[int, float, float]:
    """(resources, seconds, processor seconds of Postgres) of the copy."""
    reader = await asyncpg.connect(source)
    count = await reader.fetchval("select count(*) from resource")
    sizes = {row["name"]: int(row["heap"] + row["indexes"]) for row in await reader.fetch(_SIZES)}
    tables = [name for name in sizes if name not in _NOT_COPIED]
    for table in tables:
        # In the order in which they were written, as a bulk loader would have them.
        order = " order by rid" if await reader.fetchval(_HAS_RID, table) else ""
        await reader.copy_from_query(f"select * from {table}{order}", output=folder / table, format="binary")
    await reader.close()

    async def stream(names: list[str]) -> None:
        connection = await asyncpg.connect(target)
        try:
            for name in names:
                await connection.copy_to_table(name, source=folder / name, format="binary")
        finally:
            await connection.close()

    before, started = lab.database_cpu(), time.perf_counter()
    await asyncio.gather(*[stream(names) for names in halves(tables, sizes)])
    seconds, used = time.perf_counter() - started, lab.database_cpu() - before
    for table in tables:
        os.unlink(folder / table)
    return count, seconds, used


def halves(names: list[str], sizes: dict[str, int]) -> tuple[list[str], list[str]]:
    """``names`` in two lists of about the same size, the largest first."""
    lists: tuple[list[str], list[str]] = ([], [])
    for name in sorted(names, key=sizes.__getitem__, reverse=True):
        min(lists, key=lambda each: sum(sizes[other] for other in each)).append(name)
    return lists


def disk(lab: Lab, dsn: str) -> Figures:
    """Bytes a resource: its present version, its history, each index table; after a vacuum."""
    lab.settle(dsn)
    count = lab.sql(dsn, "select count(*) from resource where version > 0")[0][0]
    figures: Figures = {"resources": count}
    index = total = 0
    for row in lab.sql(dsn, _SIZES):
        size = int(row["heap"] + row["indexes"])
        if size >= count:
            figures[row["name"]] = {
                "heap": round(row["heap"] / count),
                "indexes": round(row["indexes"] / count),
            }
        total += size
        index += size if row["name"] not in ("resource", "history") else 0
    figures["search_index"] = round(index / count)
    figures["bytes_per_resource"] = round(total / count)
    return figures
