"""The process that indexes in the background: ``python -m fhirhub.jobs.process``, started by a worker.

It works while there is something to do, at a lower priority than those who serve, and ends. One works at a time; it
ends, too, when its standard input does, which is when the worker that started it is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from fhirhub import logs
from fhirhub.definitions.tables import Definitions
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.errors import FhirError
from fhirhub.jobs.parameters import INDEX, PURGE, index, purge, register
from fhirhub.jobs.reindex import REINDEX, reindex
from fhirhub.jobs.work import Abandoned, Doing, Work
from fhirhub.settings import Settings, load
from fhirhub.store.engine import Lane
from fhirhub.store.jobs import DONE, FAILED, NOW, STALE, Job, Jobs
from fhirhub.store.registering import CHANGED

KINDS: dict[str, Doing] = {INDEX: index, PURGE: purge, REINDEX: reindex}
ALONE = 7334
"""Advisory lock: one process works at a time."""
NICENESS = 2
DUE = f"""
select exists (select from parameter_change)
    or exists (select from job where kind = any ($1::text[]) and (state = 'waiting' or (state = 'running' and heartbeat < {NOW} - {STALE}))) as due
"""
BUSY = """
select exists (select from pg_locks where locktype = 'advisory' and classid = 0 and objid = 7334
    and database = (select oid from pg_database where datname = current_database())) as busy
"""
log = logging.getLogger("fhirhub.jobs")


async def work_off(
    dsn: str,
    definitions: Definitions,
    bases: tuple[str, ...] = (),
    told: Callable[[Job], None] = lambda _: None,
) -> int:
    """Do everything that is due; how many jobs were done. Nothing when somebody else is at it."""
    lane = Lane(dsn, 2, {"synchronous_commit": "off", "application_name": "fhirhub jobs"})
    done = 0
    guard = await asyncpg.connect(dsn, timeout=10)
    try:
        if not await guard.fetchval("select pg_try_advisory_lock($1::bigint)", ALONE):
            return 0
        jobs = Jobs(lane.fetch)
        while True:
            await take_up(lane, definitions, jobs)
            job = await jobs.claim(list(KINDS))
            if job is None:
                return done
            await do(Work(job, jobs, lane, dsn, definitions, bases, told))
            done += 1
    finally:
        guard.terminate()
        await lane.close()


async def take_up(lane: Lane, definitions: Definitions, jobs: Jobs) -> None:
    """Make the jobs that written SearchParameters need."""
    if (await lane.fetch(CHANGED))[0]["due"]:
        async with lane.use() as connection:
            await register(connection, definitions, jobs)


async def do(work: Work) -> None:
    """Do one job, whatever comes of it. Broken off, it is left to others."""
    job, jobs = work.job, work.jobs
    try:
        await KINDS[job.kind](work)
        await jobs.finish(job.id, DONE)
    except Abandoned:
        log.info("job given up", extra={"kind": job.kind})
    except asyncio.CancelledError:
        with suppress(FhirError, OSError):
            await asyncio.shield(jobs.release(job.id))
        raise
    except FhirError as error:
        # The database is away, mostly: the next one to come goes on.
        log.warning("job interrupted", extra={"kind": job.kind, "reason": str(error)})
        with suppress(FhirError, OSError):
            await jobs.release(job.id)
        raise
    except Exception as error:
        log.exception("job failed", extra={"kind": job.kind})
        await jobs.finish(job.id, FAILED, problem=f"{type(error).__name__}; the log says more.")


def bases_of(settings: Settings) -> tuple[str, ...]:
    """The addresses under which the server is written to, as far as that is known."""
    return (f"{settings.base_url}/fhir",) if settings.base_url else ()


async def _main(settings: Settings) -> None:
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    assert own is not None and settings.database_url is not None

    def watch() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(own.cancel)

    threading.Thread(target=watch, name="worker-watch", daemon=True).start()
    loop.add_signal_handler(signal.SIGTERM, own.cancel)
    # As from a terminal: the worker says when to stop.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    with suppress(asyncio.CancelledError, FhirError):
        await work_off(settings.database_url, load_definitions(), bases_of(settings))


def main() -> int:
    """Work until nothing is left to do."""
    os.nice(NICENESS)
    settings = load().settings
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_main(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
