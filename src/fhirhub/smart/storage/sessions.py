"""Sign-in sessions of browsers, and the count of failed sign-ins. All times are microseconds UTC."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fhirhub.smart.storage.accounts import Account
from fhirhub.store.engine import Lane

SECOND = 1_000_000
TOUCH = 30 * SECOND
"""A session's last use is written when it is older than this: not every page needs a write."""
KEPT = 86_400 * SECOND
"""Failed sign-ins are forgotten after a day without another."""

_ACCOUNT = (
    "a.id as a_id, a.username, a.role, a.fhir_user, a.password, a.must_change, a.totp, a.totp_step, a.active,"
    " a.demo, a.created as a_created, a.version"
)
_CURRENT = (
    f"select s.id, s.stage, s.created, s.seen, s.ends, s.reason, s.reason_until, {_ACCOUNT}"
    " from session s join account a on a.id = s.account"
    " where s.cookie = $1 and s.ends > $2 and s.seen > $3 and a.active"
)
# The lock waits for whoever changes the account and then sees the change; or is waited for, and the session is ended.
_START = """
insert into session (id, cookie, account, stage, created, seen, ends, address)
select $1, $2, a.id, $4, $5, $5, $6, $7 from account a
where a.id = $3 and ($8::integer is null or a.version = $8) for share
"""
_LEVEL = "case when t.last < $2 - $6 then 1 else greatest(t.failed - coalesce(($2 - t.last) / $7::float8, 0), 0) + 1 end"
_CHARGE = f"""
insert into attempt as t (key, failed, last) values ($1, 1, $2)
on conflict (key) do update set
    failed = {_LEVEL},
    last = $2,
    locked_until = case when {_LEVEL} >= $3
        then $2 + least($4 * power(2, least(floor({_LEVEL}) - $3, 30))::bigint, $5) else 0 end
where t.locked_until <= $2
returning failed
"""


class Limit(NamedTuple):
    """How many failures are borne with; all times are seconds."""

    free: int
    """Failures without a wait."""
    first: int
    """The wait after these; it doubles with each further failure."""
    longest: int
    drain: int = 0
    """In this time one failure is forgotten; 0: none is, until a day has passed without another."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which somebody is signing in (``stage`` totp, change) or signed in (complete)."""

    id: str
    account: Account
    stage: str
    created: int
    ends: int
    reason: str
    """Why the glass is broken, '' when it is not (or not any more)."""
    reason_until: int


class Sessions:
    """The tables ``session`` and ``attempt``; ``idle`` and ``absolute`` are the limits of a session in seconds."""

    def __init__(self, lane: Lane, clock: Callable[[], int], *, idle: float, absolute: float) -> None:
        self._lane = lane
        self._clock = clock
        self._idle = int(idle * SECOND)
        self._absolute = int(absolute * SECOND)

    async def start(
        self, account: str, stage: str, address: str = "", version: int | None = None
    ) -> tuple[str, str]:
        """A new session: its id, and the cookie value that proves it.

        ``version`` of the account whose password was right: when that has changed meanwhile, by a new password or a
        second factor, there is no session, and the value proves nothing.
        """
        id, value, now = secrets.token_urlsafe(12), secrets.token_urlsafe(32), self._clock()
        async with self._lane.use() as connection:
            await connection.fetch(
                "delete from session where ends <= $1 or seen <= $2", now, now - self._idle
            )
            await connection.fetch(
                _START, id, hashed(value), account, stage, now, now + self._absolute, address[:64], version,
            )  # fmt: skip
        return id, value

    async def current(self, value: str) -> Session | None:
        """The live session of a cookie value whose account is active; noted as used."""
        if not 20 <= len(value) <= 128:
            return None
        now = self._clock()
        rows = await self._lane.fetch(_CURRENT, hashed(value), now, now - self._idle)
        if not rows:
            return None
        row = dict(rows[0])
        if row["seen"] < now - TOUCH:
            await self._lane.fetch("update session set seen = $2 where id = $1", row["id"], now)
        broken = row["reason_until"] > now
        return Session(
            id=row.pop("id"),
            stage=row.pop("stage"),
            created=row.pop("created"),
            ends=row.pop("ends"),
            reason=row.pop("reason") if broken else "",
            reason_until=row.pop("reason_until") if broken else 0,
            account=Account(
                id=row["a_id"],
                created=row["a_created"],
                **{name: row[name] for name in _SHARED},
            ),
        )

    async def advance(self, id: str, stage: str) -> str | None:
        """Bring a session to its next stage under a new cookie value, which is returned; None if it has ended.

        The old value is worth nothing afterwards: what somebody planted or saw before sign-in does not help them.
        """
        value = secrets.token_urlsafe(32)
        rows = await self._lane.fetch(
            "update session set stage = $2, cookie = $3, seen = $4 where id = $1 returning id",
            id, stage, hashed(value), self._clock(),
        )  # fmt: skip
        return value if rows else None

    async def end(self, id: str) -> None:
        """Sign out."""
        await self._lane.fetch("delete from session where id = $1", id)

    async def break_glass(self, id: str, reason: str, seconds: int) -> int:
        """Note why the glass is broken; until when. An empty ``reason`` mends it."""
        until = self._clock() + seconds * SECOND if reason else 0
        await self._lane.fetch(
            "update session set reason = $2, reason_until = $3 where id = $1", id, reason, until
        )
        return until

    async def charge(self, keys: Mapping[str, Limit | tuple[int, int, int]]) -> int:
        """Count a failed attempt for every key *before* it is tried; seconds to wait when one is locked, else 0.

        Counting first means that any number of parallel attempts get no further than as many one after the other.
        """
        now = self._clock()
        async with self._lane.use() as connection, connection.raw.transaction():
            for key, given in keys.items():
                limit = Limit(*given)
                done = await connection.fetch(
                    _CHARGE, key, now, float(limit.free), limit.first * SECOND, limit.longest * SECOND, KEPT,
                    float(limit.drain * SECOND) if limit.drain else None,
                )  # fmt: skip
                if not done:
                    locked = await connection.fetch("select locked_until from attempt where key = $1", key)
                    return max(1, -(-(locked[0]["locked_until"] - now) // SECOND)) if locked else 1
        return 0

    async def acquit(self, forget: str, refund: str) -> None:
        """The attempt was good: forget the failures of one key, take the one counted for the other back."""
        async with self._lane.use() as connection:
            await connection.fetch(
                "delete from attempt where key = $1 or last < $2", forget, self._clock() - KEPT
            )
            await connection.fetch(
                "update attempt set failed = greatest(failed - 1, 0), locked_until = 0 where key = $1", refund
            )


_SHARED = (
    "username", "role", "fhir_user", "password", "must_change", "totp", "totp_step", "active", "demo", "version",
)  # fmt: skip


def hashed(value: str) -> bytes:
    """What is stored of a secret that was drawn at random."""
    return hashlib.sha256(value.encode()).digest()
