"""Answers that are worked out while nobody waits, and kept for whoever asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fhirhub.errors import FhirError, Issue, TooManyRequests
from fhirhub.store.jobs import DONE, FAILED, RUNNING, Job, Jobs

SEARCH = "search"
"""The kind of such a job. It ends with the process it runs in: it has the rights of who asked, which are not kept."""
LOST = "The server was stopped while it was at work; send the request again."
ALIVE = 2.0
"""Seconds between two signs of life."""
SWEPT = 60.0
MOST = 16
"""Jobs of one process that wait or run; further ones are refused."""
EACH = 4
"""… of which one caller may have."""
TOGETHER = 2
log = logging.getLogger("fhirhub.jobs")


class Background:
    """The answers in the making of this process, and those that are kept, of all."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._gate = asyncio.Semaphore(TOGETHER)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._holders: dict[str, str] = {}
        """Whose each of them is."""
        self._pulse: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to give signs of life."""
        self._pulse = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Break off what is in the making."""
        for task in (*self._running.values(), *([self._pulse] if self._pulse else [])):
            task.cancel()
        for id in list(self._running):
            with suppress(FhirError, OSError):
                await self.jobs.finish(id, FAILED, problem=LOST)

    async def begin(self, holder: str, work: Callable[[], Awaitable[bytes]]) -> str:
        """The id of a new job of ``holder`` that keeps what ``work`` returns. Raises TooManyRequests."""
        if len(self._running) >= MOST:
            text = f"{MOST} searches are waiting here already; ask again when they are done."
            raise TooManyRequests(Issue("throttled", text), headers={"Retry-After": "10"})
        if list(self._holders.values()).count(holder) >= EACH:
            text = f"You have {EACH} searches waiting here already; ask again when one is done."
            raise TooManyRequests(Issue("throttled", text), headers={"Retry-After": "10"})
        id = await self.jobs.add(SEARCH, {}, holder=holder, mine=True)
        self._holders[id] = holder
        self._running[id] = asyncio.create_task(self._do(id, work))
        return id

    async def find(self, id: str, *holders: str) -> Job | None:
        """The job ``id``, if it is one of any of ``holders``."""
        job = await self.jobs.find(id)
        return job if job is not None and job.holder in holders else None

    async def cancel(self, id: str, holder: str) -> bool:
        """End a job of ``holder`` and forget what came of it; False when there is none such."""
        found = await self.jobs.cancel(id, [SEARCH], holder)
        if found and id in self._running:
            self._running[id].cancel()
        return found

    async def _do(self, id: str, work: Callable[[], Awaitable[bytes]]) -> None:
        try:
            async with self._gate:
                result = await work()
            await self.jobs.finish(id, DONE, result=result)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a job failed")
            with suppress(FhirError, OSError):
                await self.jobs.finish(id, FAILED, problem="The server failed at it; its log says why.")
        finally:
            self._running.pop(id, None)
            self._holders.pop(id, None)

    async def _live(self) -> None:
        swept = 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ALIVE)
            with suppress(FhirError, OSError):
                for id, task in list(self._running.items()):
                    # Somebody else may have been asked to cancel it.
                    if not await self.jobs.beat(Job(id, SEARCH, RUNNING)) and id in self._running:
                        task.cancel()
                if loop.time() - swept > SWEPT:
                    swept = loop.time()
                    await self.jobs.sweep([SEARCH], LOST)
