"""The job that makes all index rows of some resource types anew, and how it is known that it is needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from hashlib import blake2b

import orjson

from fhirhub.definitions.tables import Definitions
from fhirhub.jobs.work import Work
from fhirhub.store.jobs import Jobs
from fhirhub.store.parameters import Fetch
from fhirhub.store.reindex import COUNT
from fhirhub.store.reindex import reindex as make_anew
from fhirhub.store.store import Store

REINDEX = "reindex"
LAYOUT = 1
"""Counts changes of how rows are made of the same definitions: whoever makes one adds 1."""
BEAT = 1.0
INDEXED = "select type, digest from indexed"
NOTE = """
insert into indexed (type, digest) select c.type, c.digest from unnest($1::text[], $2::text[]) as c (type, digest)
on conflict (type) do update set digest = excluded.digest
"""
TAKEN = "select id from job where kind = 'reindex' and state in ('waiting', 'running') and payload ? 'digests' limit 1"


def digests(definitions: Definitions) -> dict[str, str]:
    """Resource type -> what its index rows are made by, in short."""
    found = {}
    for type in definitions.resource_types:
        rows = [
            (each.pid, each.code, each.kind, each.expression, each.targets, each.components)
            for each in definitions.search_parameters(type).values()
        ]
        text = orjson.dumps([LAYOUT, definitions.sort_date.get(type), rows])
        found[type] = blake2b(text, digest_size=12).hexdigest()
    return found


async def notice_changes(fetch: Fetch, definitions: Definitions) -> bool:
    """Make a job of the types whose definitions are others than when they were indexed; whether there are any.

    A store that has never said by what it was indexed is taken to be new.
    """
    now = digests(definitions)
    before = {row["type"]: row["digest"] for row in await fetch(INDEXED)}
    new = [type for type in now if type not in before]
    if new:
        await fetch(NOTE, new, [now[type] for type in new])
    changed = [type for type in now if before.get(type, now[type]) != now[type]]
    if not changed or await fetch(TAKEN):
        return False
    await Jobs(fetch).add(REINDEX, {"types": changed, "digests": {type: now[type] for type in changed}})
    return True


async def reindex(work: Work) -> None:
    """Make the rows of ``types`` anew, type by type; taken up again, it goes on with the type it was at."""
    job = work.job
    types = job.payload["types"] or list(work.definitions.resource_types)
    finished: list[str] = job.place.setdefault("types", [])
    store = await Store.open(work.dsn, work.definitions, integrity=False, connections=4)
    try:
        counts = {row["rt"]: row["n"] for row in await store.fetch(COUNT)}
        job.total = sum(counts.get(work.definitions.type_number[type], 0) for type in types)
        already = job.done
        for type in types:
            if type in finished:
                continue

            def progress(_: str, done: int, total: int, already: int = already) -> None:
                job.done = already + done

            task = asyncio.create_task(make_anew(store, types=[type], bases=work.bases, progress=progress))
            await _while(task, work)
            already = job.done
            finished.append(type)
            if type in job.payload.get("digests", {}):
                await work.lane.fetch(NOTE, [type], [job.payload["digests"][type]])
            await work.beat()
    finally:
        await store.close()


async def _while(task: asyncio.Task[object], work: Work) -> None:
    """Say how far the job is until ``task`` is done; when the job is taken away, it is broken off."""
    try:
        while not task.done():
            await asyncio.wait([task], timeout=BEAT)
            await work.beat()
    except BaseException:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        raise
    await task
