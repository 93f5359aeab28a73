"""Jobs: what is done in the background, as rows that every process can take up. Times are in microseconds."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from fhirhub.store.parameters import CHANNEL

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
STALE = 10_000_000
"""A running job whose owner has not been heard of for so long is taken up by somebody else."""
KEPT = 3_600_000_000
"""How long what came of a job is kept."""
NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
_COLUMNS = "id, kind, state, holder, payload::text as payload, place::text as place, done, total, problem"
ADD = f"""
with added as (
    insert into job (id, kind, state, created, owner, heartbeat, holder, payload, total)
    values ($1, $2, $3, {NOW}, $4, {NOW}, $5, $6::jsonb, $7) returning id
)
select id, pg_notify('{CHANNEL}', '') from added
"""
CLAIM = f"""
update job set state = 'running', owner = $1, heartbeat = {NOW}
where id = (
    select id from job
    where kind = any ($2::text[]) and (state = 'waiting' or (state = 'running' and heartbeat < {NOW} - {STALE}))
    order by created limit 1 for update skip locked
)
returning {_COLUMNS}
"""
BEAT = f"""
update job set heartbeat = {NOW}, done = $3, total = $4, place = coalesce($5::jsonb, place)
where id = $1 and owner = $2 and state = 'running' returning id
"""
FINISH = f"""
update job set state = $3, finished = {NOW}, problem = $4, result = $5,
    done = case when $3 = 'done' then total else done end
where id = $1 and owner = $2 and state = 'running' returning id
"""
RELEASE = "update job set state = 'waiting', owner = '' where id = $1 and owner = $2 and state = 'running'"
CANCEL = f"""
update job set state = 'cancelled', finished = {NOW}, result = null
where id = $1 and kind = any ($2::text[]) and holder = $3 returning id
"""
FIND = f"select {_COLUMNS}, result, created, finished from job where id = $1"
OPEN = f"select {_COLUMNS}, null as result, created, finished from job where state in ('waiting', 'running') order by created"
# What nobody can take up again ends with its process.
LOST = f"""
update job set state = 'failed', finished = {NOW}, problem = $2
where kind = any ($1::text[]) and state = 'running' and heartbeat < {NOW} - {STALE}
"""
SWEEP = f"delete from job where finished < {NOW} - {KEPT}"
Fetch = Callable[..., Awaitable[Sequence[Any]]]


@dataclass(slots=True)
class Job:
    """One job. ``done`` of ``total`` are counted in resources where that makes sense."""

    id: str
    kind: str
    state: str
    holder: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    problem: str | None = None
    result: bytes | None = None
    created: int = 0
    finished: int | None = None

    @property
    def percent(self) -> int:
        """How far it is; 100 only at the end."""
        return 100 if self.state == DONE else min(99, 100 * self.done // max(self.total, 1))


def _job(row: Any) -> Job:
    known = dict(row)
    return Job(
        **{
            **known,
            "payload": orjson.loads(known["payload"]),
            "place": orjson.loads(known["place"] or "{}"),
        }
    )


class Jobs:
    """The table of jobs, as the process ``owner`` uses it; ``fetch`` runs a statement."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.owner = secrets.token_hex(8)

    async def add(
        self, kind: str, payload: dict[str, Any], *, holder: str = "", total: int = 0, mine: bool = False
    ) -> str:
        """The id of a new job, which is handed to whoever is free, or begins as one's own."""
        id = secrets.token_urlsafe(24)
        state = RUNNING if mine else WAITING
        owner = self.owner if mine else ""
        await self._fetch(ADD, id, kind, state, owner, holder, orjson.dumps(payload).decode(), total)
        return id

    async def claim(self, kinds: Sequence[str]) -> Job | None:
        """The oldest job of one of ``kinds`` that waits or was left behind."""
        rows = await self._fetch(CLAIM, self.owner, list(kinds))
        return _job(rows[0]) if rows else None

    async def beat(self, job: Job) -> bool:
        """Say that the job goes on, and where it is; False when it is one's own no longer."""
        place = orjson.dumps(job.place).decode() if job.place else None
        return bool(await self._fetch(BEAT, job.id, self.owner, job.done, job.total, place))

    async def finish(
        self, id: str, state: str, *, problem: str | None = None, result: bytes | None = None
    ) -> bool:
        """End a job of one's own; False when somebody has cancelled it."""
        return bool(await self._fetch(FINISH, id, self.owner, state, problem, result))

    async def release(self, id: str) -> None:
        """Leave a job to others."""
        await self._fetch(RELEASE, id, self.owner)

    async def cancel(self, id: str, kinds: Sequence[str], holder: str) -> bool:
        """Cancel a job of ``holder``, or throw away what came of it; False when there is none such."""
        return bool(await self._fetch(CANCEL, id, list(kinds), holder))

    async def find(self, id: str) -> Job | None:
        """A job by its id."""
        rows = await self._fetch(FIND, id)
        return _job(rows[0]) if rows else None

    async def open(self) -> list[Job]:
        """Those that are not at their end, the oldest first."""
        return [_job(row) for row in await self._fetch(OPEN)]

    async def sweep(self, kinds: Sequence[str], problem: str) -> None:
        """Forget what is old; jobs of ``kinds`` whose process has gone have failed for the reason ``problem``."""
        await self._fetch(LOST, list(kinds), problem)
        await self._fetch(SWEEP)
