"""What a job is given to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fhirhub.definitions.tables import Definitions
from fhirhub.store.engine import Lane
from fhirhub.store.jobs import Job, Jobs
from fhirhub.store.store import load_secrets


class Abandoned(Exception):
    """The job is somebody else's, or there is no need for it any more."""


@dataclass(slots=True)
class Work:
    """One job in hand. ``definitions`` are HL7's; ``bases`` the addresses under which the server was written to."""

    job: Job
    jobs: Jobs
    lane: Lane
    dsn: str
    definitions: Definitions
    bases: tuple[str, ...] = ()
    told: Callable[[Job], None] = lambda _: None
    """Is shown how far the job is."""

    async def beat(self) -> None:
        """Say how far the job is. Raises Abandoned when somebody has taken it away."""
        self.told(self.job)
        if not await self.jobs.beat(self.job):
            raise Abandoned(self.job.id)

    async def secret(self) -> bytes:
        """The key of the store's hashes."""
        return (await load_secrets(self.lane))["hash"]


Doing = Callable[[Work], Awaitable[None]]
