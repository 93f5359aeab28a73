"""A worker's part in the background work: it keeps up with the store's own search parameters, and sees to it that
somebody does what is due.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fhirhub.errors import FhirError
from fhirhub.jobs.parameters import revive
from fhirhub.jobs.process import BUSY, DUE, KINDS
from fhirhub.jobs.reindex import notice_changes
from fhirhub.search.custom import Indexing, Own
from fhirhub.store.jobs import Jobs
from fhirhub.store.store import Store

log = logging.getLogger("fhirhub.jobs")
PATIENCE = 5.0
"""Seconds that a process that works gets to end."""


class Runner:
    """Runs beside a server on ``store``.

    ``changed`` is given what to index and search by from now on, and returns when no request goes by the former any
    more. ``environment`` are the variables of the process that works.
    """

    def __init__(
        self,
        store: Store,
        changed: Callable[[Indexing], Awaitable[None]],
        environment: dict[str, str],
    ) -> None:
        self._store = store
        self._changed = changed
        self._environment = environment
        self.jobs = Jobs(store.fetch)
        self._tasks: list[asyncio.Task[None]] = []
        self._due = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        membership = self._store.membership
        assert membership is not None
        self._tasks = [
            asyncio.create_task(membership.follow(self._follow, self._due.set)),
            asyncio.create_task(self._see_to_it()),
        ]

    async def stop(self) -> None:
        """End, and what was started with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, generation: int, own: list[Own]) -> None:
        if generation == self._store.indexing.generation:
            building = self._store.indexing.building
            for each in own:
                name = (each.parameter.type, each.parameter.code)
                if name in building:
                    building[name] = each.percent
            return
        indexing = self._store.remade(own, generation)
        self._store.adopt(indexing)
        await self._changed(indexing)

    async def _see_to_it(self) -> None:
        with suppress(FhirError):
            await notice_changes(self._store.fetch, self._store.published)
            await revive(self.jobs, self._store.fetch)
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                if await self._is_due():
                    await self._work()
                    # What came while it was ending.
                    self._due.set()
            except (FhirError, OSError) as error:
                log.warning("background work could not be started", extra={"reason": str(error)})

    async def _is_due(self) -> bool:
        if not (await self._store.fetch(DUE, list(KINDS)))[0]["due"]:
            return False
        return not (await self._store.fetch(BUSY))[0]["busy"]

    async def _work(self) -> None:
        """Have a process of its own do what is due, so that nobody who is served waits for it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fhirhub.jobs.process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=self._environment,
        )  # fmt: skip
        try:
            if await process.wait():
                log.warning("background work ended badly", extra={"code": process.returncode})
                await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            raise
