"""The jobs that index a search parameter of the store's own, and that take its rows away when it has gone.

Both walk the resources of one type in the order of their ids, in short transactions, each of which says in the job how
far it has come. So they can be broken off anywhere and taken up by another process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.jobs.work import Abandoned, Work
from fhirhub.resource import json
from fhirhub.search.custom import make
from fhirhub.search.extract import Extractor
from fhirhub.search.rows import Rows
from fhirhub.store import filling, registering
from fhirhub.store.engine import Connection
from fhirhub.store.jobs import BEAT, Jobs
from fhirhub.store.parameters import CHANNEL, Fetch, everybody_knows, load

INDEX, PURGE = "index", "purge"
BATCH = 400
"""Resources looked at in one transaction."""
REST = 0.05
"""Pause after a batch, as a part of the time it took: searches get their turn."""
PATIENCE = 0.1
TELL = 1.0
"""Seconds between two times that everybody is told how far a parameter is."""
STILL_BUILDING = (
    "select pid from parameter where pid = any ($1::smallint[]) and state = 'building' order by pid for share"
)
LEFT = """
select p.state, p.type, array_agg(p.pid) as pids, max(p.generation) as generation
from parameter p
where p.state in ('building', 'retired') and not exists (
    select from job j
    where j.kind in ('index', 'purge') and j.state in ('waiting', 'running')
      and j.payload -> 'pids' @> to_jsonb(p.pid::integer)
)
group by p.state, p.type
"""
PROGRESS = "update parameter set done = $2, total = $3 where pid = any ($1::smallint[])"


async def register(connection: Connection, definitions: Definitions, jobs: Jobs) -> None:
    """Take up SearchParameters that were written, and make the jobs that they need."""

    async def due(found: registering.Registered) -> None:
        within = Jobs(connection.fetch)
        for kind, pids in ((INDEX, found.building), (PURGE, found.retired)):
            for type, some in pids.items():
                await within.add(kind, {"type": type, "pids": some, "generation": found.generation})

    await registering.register(connection, definitions, due)


async def revive(jobs: Jobs, fetch: Fetch) -> None:
    """Make jobs anew for parameters whose own have failed. Two such jobs do no harm."""
    for row in await fetch(LEFT):
        kind = INDEX if row["state"] == "building" else PURGE
        await jobs.add(kind, {"type": row["type"], "pids": row["pids"], "generation": row["generation"]})


async def known(work: Work) -> None:
    """Wait until every process goes by the generation that the job stands for."""
    while not await everybody_knows(work.lane.fetch, work.job.payload["generation"]):
        await work.beat()
        await asyncio.sleep(PATIENCE)


class Filler:
    """Makes the rows of ``pids`` from resources of ``type``."""

    def __init__(self, extractor: Extractor, type: str, pids: list[int]) -> None:
        self.pids = pids
        self._rows = extractor.only(type, pids)
        self._type = type
        facets = [facet for facet in extractor.facets(type).values() if facet.pid in pids]
        heads = {route.moves[0].name if route.moves else "" for facet in facets for route in facet.routes}
        # The elements that are fetched; all, where components may stand on others.
        whole = heads & {"", "id", "meta"} or any(facet.kind == "composite" for facet in facets)
        self.elements = None if whole else sorted(heads)

    def found(self, row: Any, bases: tuple[str, ...]) -> filling.Found | None:
        """The rows of one resource; None when it has none."""
        if row["content"] is None:
            return None
        document = json.parse(row["content"].encode())
        document |= {"resourceType": self._type, "id": row["id"]}
        if row["meta"]:
            document["meta"] = json.parse(row["meta"].encode())
        rows: Rows = self._rows(document, bases)
        return filling.Found(row["rid"], row["version"], row["date"], rows) if rows.params else None


async def index(work: Work) -> None:
    """Give every resource of ``type`` the rows of ``pids``, then let them be searched by."""
    type, pids, job = work.job.payload["type"], work.job.payload["pids"], work.job
    rt = work.definitions.type_number[type]
    await known(work)
    generation, own = await load(work.lane.fetch)
    extractor = make(work.definitions, await work.secret(), own, generation).extractor
    filler = Filler(extractor, type, [each.parameter.pid for each in own if each.parameter.pid in pids])
    job.total = (await work.lane.fetch(filling.COUNT, rt))[0]["n"]
    job.place.setdefault("id", "")
    is_last, told = False, 0.0
    while not is_last:
        began = time.monotonic()
        tells = began - told > TELL
        told = began if tells else told
        async with work.lane.use() as connection, connection.raw.transaction():
            # Whoever gives one up waits for this batch, and takes its rows away afterwards.
            still = [row["pid"] for row in await connection.fetch(STILL_BUILDING, pids)]
            if not still:
                return
            if still != filler.pids:
                filler = Filler(extractor, type, still)
            rows = await connection.fetch(filling.NEXT, rt, job.place["id"], BATCH, filler.elements)
            found = [each for row in rows if (each := filler.found(row, work.bases)) is not None]
            if found:
                await filling.fill(connection, rt, still, found, work.definitions.type_number)
            is_last = len(rows) < BATCH
            await _came_to(work, connection, rows, still if tells else None)
        await asyncio.sleep((time.monotonic() - began) * REST)
    await work.lane.fetch(registering.READY, pids, CHANNEL)


async def _came_to(work: Work, connection: Connection, rows: Any, pids: list[int] | None) -> None:
    """Write down how far the job is, with the rows it has written; ``pids`` for those who ask for them."""
    job = work.job
    job.done += len(rows)
    job.total = max(job.total, job.done)
    if rows:
        job.place["id"] = rows[-1]["id"]
    beaten = await connection.fetch(
        BEAT, job.id, work.jobs.owner, job.done, job.total, json.dumps(job.place).decode()
    )
    if not beaten:
        raise Abandoned([])
    if pids is not None:
        await connection.fetch(PROGRESS, pids, job.done, job.total)
        await connection.fetch("select pg_notify($1, '')", CHANNEL)


async def purge(work: Work) -> None:
    """Take the rows of ``pids`` away from every resource of ``type``."""
    payload, job = work.job.payload, work.job
    type, pids = payload["type"], payload["pids"]
    rt = work.definitions.type_number[type]
    await known(work)
    job.total = (await work.lane.fetch(filling.COUNT, rt))[0]["n"]
    job.place.setdefault("id", "")
    is_last = False
    while not is_last:
        began = time.monotonic()
        async with work.lane.use() as connection, connection.raw.transaction():
            rows = await connection.fetch(filling.MARKED, rt, job.place["id"], BATCH, pids)
            marked = [row["rid"] for row in rows if row["marked"]]
            if marked:
                await filling.empty(connection, rt, pids, marked)
            is_last = len(rows) < BATCH
            await _came_to(work, connection, rows, None)
        await asyncio.sleep((time.monotonic() - began) * REST)
    await work.lane.fetch(registering.GONE, pids)
