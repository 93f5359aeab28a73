"""The one lookup that every request with a token costs. Times are microseconds UTC.

Nothing of the answer is kept from one request to the next except by its versions: whatever was revoked, deactivated,
expired or signed out is missing from the very next lookup, on every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.smart.storage.authorizations import Fetcher

TOUCH = 30_000_000
"""The session of an online grant is noted as used when that was last done longer ago than this."""
CONSENTS = "(select version from access_stamp)"
_COLUMNS = f"""
    g.id, c.id as client, c.name as client_name, c.policy::text as policy, g.account is null as system,
    a.username, a.fhir_user, a.role, coalesce(t.scopes, g.scopes) as scopes, t.scopes is not null as narrowed,
    g.patient, g.encounter, case when g.reason_until > $2 then g.reason else '' end as reason,
    case when g.access = 'online' then s.id end as session, s.seen,
    g.version + c.version + coalesce(a.version, 0) as version, {CONSENTS} as consents
"""
_ALIVE = """
    t.kind = 'access' and t.expires > $2 and g.expires > $2 and g.revoked is null and c.active
    and (g.account is null or a.active)
    and (g.access <> 'online' or (s.ends > $2 and s.seen > $3 and s.stage = 'complete'))
"""
_JOINS = """
join grant_ g on g.id = t.grant_
join client c on c.id = g.client
left join account a on a.id = g.account
left join session s on s.id = g.session
"""
ONE = f"select {_COLUMNS} from grant_token t {_JOINS} where t.handle = $1 and {_ALIVE}"
MANY = f"""
select k.n, {_COLUMNS}
from unnest($1::bytea[]) with ordinality as k (handle, n)
cross join lateral (select * from grant_token t where t.handle = k.handle offset 0) as t
{_JOINS}
where {_ALIVE}
"""
_DETAILS = f"""
select {_COLUMNS}, t.created, t.expires, g.account, g.fhir_context::text as fhir_context
from grant_token t {_JOINS} where t.handle = $1 and {_ALIVE}
"""
_HELD = """
select t.kind, g.id as grant, g.access from grant_token t join grant_ g on g.id = t.grant_
where t.handle = $1 and g.client = $2
"""
# Whoever has a session locked notes it as used, or ends it: nobody waits here, least of all two for each other.
_TOUCH = """
update session set seen = $2 where id in (
    select id from session where id = any($1::text[]) and seen < $3 for update skip locked)
"""
_ACCOUNT = f"""
select a.username, a.fhir_user, a.role, a.version, {CONSENTS} as consents, c.active as client_active,
    c.name as client_name, c.policy::text as policy, coalesce(c.version, 0) as client_version
from account a left join client c on c.id = $2
where a.username = $1 and a.active
"""


async def look_up(lane: Fetcher, handles: Sequence[bytes], now: int, idle_since: int) -> list[Any | None]:
    """For each hash of an access token the row of what it stands for now; None when for nothing."""
    if len(handles) == 1:
        rows = await lane.fetch(ONE, handles[0], now, idle_since)
        found: list[Any | None] = [rows[0] if rows else None]
    else:
        found = [None] * len(handles)
        for row in await lane.fetch(MANY, list(handles), now, idle_since):
            found[row["n"] - 1] = row
    return found


def touched(found: Sequence[Any | None], now: int) -> list[str]:
    """The sessions of ``found`` (:func:`look_up`) that :func:`touch` is to note as used."""
    return [
        row["session"] for row in found if row is not None and row["session"] and row["seen"] < now - TOUCH
    ]


async def touch(lane: Fetcher, sessions: Sequence[str], now: int) -> None:
    """Note ``sessions`` as used now."""
    await lane.fetch(_TOUCH, list(sessions), now, now - TOUCH)


async def details(lane: Fetcher, handle: bytes, now: int, idle_since: int) -> Any | None:
    """The row of one access token, with what introspection tells besides; None when it is not good."""
    rows = await lane.fetch(_DETAILS, handle, now, idle_since)
    return rows[0] if rows else None


async def consents(lane: Fetcher) -> int:
    """The version of the consents in force, which only grows."""
    return int((await lane.fetch("select version from access_stamp"))[0]["version"])


async def held(lane: Fetcher, handle: bytes, client: str) -> Any | None:
    """``kind``, ``grant`` and ``access`` of a token of ``client``, good or not; None when it is none of the client's."""
    rows = await lane.fetch(_HELD, handle, client)
    return rows[0] if rows else None


async def account(lane: Fetcher, username: str, client: str) -> Any | None:
    """The active account ``username`` with what is known of a client; None when there is none."""
    rows = await lane.fetch(_ACCOUNT, username, client)
    return rows[0] if rows else None
