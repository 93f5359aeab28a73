"""What people and the practice granted to clients, and the tokens of it. All times are microseconds UTC.

Tokens are opaque handles that stand here as their SHA-256. Whatever ends a grant ends its tokens with the commit, on
every worker: each use looks here. Functions take a ``Lane`` or a ``Connection`` inside of a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhirhub.auth.negotiation import within
from fhirhub.smart.storage.authorizations import Context, Fetcher, digest, new_handle
from fhirhub.store.engine import Connection

SECOND = 1_000_000
FORGET_AFTER = 86_400 * SECOND
"""How long tokens and grants that are over are kept: a late use is answered and logged as that of an old one."""


class Outdated(LookupError):
    """A client was changed, or cut off, since it was looked up."""


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One row of ``grant_``."""

    id: str
    client: str
    account: str | None
    scopes: str
    context: Context
    access: str
    """``none``, ``online`` or ``offline``: how long it can be refreshed."""
    session: str | None
    reason: str
    nonce: str | None
    signed_in: int | None
    created: int
    expires: int
    revoked: int | None = None
    version: int = 1
    reason_until: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was issued: what the client gets to hold, when it ends, and the grant it is of."""

    handle: str
    expires: int
    grant: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token that was presented; ``reused`` when it had been spent."""

    grant: GrantRow
    expires: int
    reused: bool
    account_active: bool
    client_active: bool
    session_alive: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """A client that may act for an account."""

    grant: str
    client: str
    name: str
    publisher: str
    scopes: str
    patient: str | None
    created: int
    expires: int


_COLUMNS = (
    "g.id, g.client, g.account, g.scopes, g.patient, g.encounter, g.fhir_context::text as fhir_context, g.banner,"
    " g.intent, g.access, g.session, g.reason, g.nonce, g.signed_in, g.created, g.expires, g.revoked, g.version,"
    " g.reason_until"
)
_ADD = """
insert into grant_ (id, client, account, scopes, patient, encounter, fhir_context, banner, intent, access, session,
    reason, reason_until, nonce, signed_in, created, expires)
values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""
_ADD_TOKEN = """
insert into grant_token (handle, grant_, kind, scopes, created, expires) values ($1, $2, $3, $4, $5, $6)
"""
# One statement, one commit: the assertion is spent, and what it brings exists, or neither. The insert into spent_jti
# waits for a parallel one of the same assertion, and then makes no row. Nothing happens for a client that is not any
# more what it was when its signature was checked; one that is being changed is waited for.
_ADD_SYSTEM = """
with known as (
    select id from client where id = $2 and version = $9 and active for share
), spent as (
    insert into spent_jti (client, jti, expires) select id, $4, $5 from known on conflict do nothing returning 1
), made as (
    insert into grant_ (id, client, scopes, created, expires)
    select $1, $2, $3, $6, $7 from spent returning id
), token as (
    insert into grant_token (handle, grant_, kind, created, expires)
    select $8, made.id, 'access', $6, $7 from made
    returning grant_
)
select (select grant_ from token) as grant_, exists (select from known) as known
"""
_SPEND_JTI = """
insert into spent_jti (client, jti, expires) values ($1, $2, $3) on conflict do nothing returning 1 as done
"""
# The grant is locked before its token, as wherever a grant is ended.
_REFRESH = f"""
select {_COLUMNS}, t.expires as token_expires, t.spent, c.active as client_active,
    coalesce(a.active, true) as account_active,
    coalesce(g.access <> 'online' or (s.ends > $2 and s.seen > $3 and s.stage = 'complete'), false) as session_alive
from grant_token t
join grant_ g on g.id = t.grant_
join client c on c.id = g.client
left join account a on a.id = g.account
left join session s on s.id = g.session
where t.handle = $1 and t.kind = 'refresh'
for update of g, t
"""
_CLIENT_OF = """
select g.client from grant_token t join grant_ g on g.id = t.grant_ where t.handle = $1 and t.kind = 'refresh'
"""
_REVOKE = """
with ended as (
    update grant_ set revoked = $2, version = version + 1
    where id = $1 and revoked is null and ($3::text is null or account = $3) and ($4::text is null or client = $4)
    returning id
), gone as (
    update grant_token t set expires = 0 from ended where t.grant_ = ended.id and t.expires > $2 returning 1
)
select count(*) as n from ended
"""
_REVOKE_APP = """
with named as (
    select client from grant_ where id = $1 and account = $2 and revoked is null and expires > $3
), ended as (
    update grant_ g set revoked = $3, version = version + 1 from named
    where g.account = $2 and g.client = named.client and g.revoked is null
    returning g.id
), gone as (
    update grant_token t set expires = 0 from ended where t.grant_ = ended.id and t.expires > $3 returning 1
)
select count(*) as n from ended
"""
_NARROW = """
with narrower as (
    select * from unnest($3::text[], $4::text[]) as n (before, after)
), changed as (
    update grant_ g set scopes = n.after, version = g.version + 1, revoked = case when n.after = '' then $2::bigint end
    from narrower n
    where g.client = $1 and g.revoked is null and g.expires > $2 and g.scopes = n.before
    returning g.id, g.revoked, g.access <> 'none' and not g.access || '_access' = any (string_to_array(g.scopes, ' '))
        as is_fixed
), gone as (
    update grant_token t set expires = 0 from changed
    where t.grant_ = changed.id and t.expires > $2 and t.spent is null
        and (changed.revoked is not null or (t.kind = 'refresh' and changed.is_fixed))
)
select count(*) as n from changed
"""
_NARROW_TOKENS = """
update grant_token t set scopes = n.after, expires = case when n.after = '' then 0 else t.expires end
from unnest($3::text[], $4::text[]) as n (before, after), grant_ g
where g.client = $1 and g.revoked is null and t.grant_ = g.id and t.expires > $2 and t.scopes = n.before
"""
_SCOPES = """
select distinct g.scopes from grant_ g where g.client = $1 and g.revoked is null and g.expires > $2
union
select distinct t.scopes from grant_ g join grant_token t on t.grant_ = g.id
where g.client = $1 and g.revoked is null and t.expires > $2 and t.scopes is not null
"""
_LOCK = "select 1 from grant_ where client = $1 and revoked is null and expires > $2 order by account, created for update"
_CUT = """
with ended as (
    update grant_ set revoked = $2, version = version + 1
    where account = $1 and revoked is null and expires > $2 returning id
), gone as (
    update grant_token t set expires = 0 from ended
    where t.grant_ = ended.id and t.expires > $2 and t.spent is null returning 1
)
select (select count(*) from ended) as grants, (select count(*) from gone) as tokens
"""
_OF_ACCOUNT = """
select g.id as grant, g.client, c.name, c.publisher, g.scopes, g.patient, g.created, g.expires
from grant_ g join client c on c.id = g.client
where g.account = $1 and g.revoked is null and g.expires > $2 and c.active
order by g.created desc
limit 500
"""
_FORGET = (
    "delete from grant_token where expires < $1",
    "delete from grant_ g where g.expires < $1 and not exists (select from grant_token t where t.grant_ = g.id)",
    "delete from spent_jti where expires < $1",
)


async def create(fetch: Fetcher, grant: GrantRow) -> None:
    """Keep a new grant."""
    context = grant.context
    await fetch.fetch(
        _ADD, grant.id, grant.client, grant.account, grant.scopes, context.patient, context.encounter,
        json.dumps([dict(one) for one in context.fhir_context]), context.need_patient_banner, context.intent,
        grant.access, grant.session, grant.reason, grant.reason_until, grant.nonce, grant.signed_in, grant.created,
        grant.expires,
    )  # fmt: skip


async def issue(
    fetch: Fetcher, grant: str, kind: str, now: int, expires: int, scopes: str | None = None
) -> Token:
    """A new token of a grant, ``kind`` access or refresh; ``scopes`` when it has fewer than the grant."""
    handle = new_handle()
    await fetch.fetch(_ADD_TOKEN, digest(handle), grant, kind, scopes, now, expires)
    return Token(handle, expires, grant)


async def issue_system(
    fetch: Fetcher,
    client: str,
    version: int,
    scopes: str,
    jti: bytes,
    jti_expires: int,
    now: int,
    expires: int,
) -> Token | None:
    """A grant of a backend service with its access token, for an assertion; None when that was used before.

    Raises Outdated when the client has not this ``version`` any more, or is not active; the assertion is still good.
    """
    handle = new_handle()
    rows = await fetch.fetch(
        _ADD_SYSTEM, new_handle(), client, scopes, jti, jti_expires, now, expires, digest(handle), version
    )
    row = rows[0]
    if not row["known"]:
        raise Outdated(client)
    return Token(handle, expires, row["grant_"]) if row["grant_"] is not None else None


async def spend_jti(fetch: Fetcher, client: str, jti: bytes, expires: int) -> bool:
    """Use up an assertion by the SHA-256 of its jti; False when it was used before, by any process."""
    return bool(await fetch.fetch(_SPEND_JTI, client, jti, expires))


async def present(connection: Connection, handle: str, now: int, idle_since: int) -> Refresh | None:
    """The refresh token ``handle``, locked together with its grant until the transaction ends."""
    rows = await connection.fetch(_REFRESH, digest(handle), now, idle_since)
    if not rows:
        return None
    row = rows[0]
    return Refresh(
        grant_row(row), row["token_expires"], row["spent"] is not None, row["account_active"],
        row["client_active"], row["session_alive"],
    )  # fmt: skip


async def client_of(fetch: Fetcher, handle: str) -> str | None:
    """The client that was given the refresh token ``handle``, good or not; None when it is none."""
    rows = await fetch.fetch(_CLIENT_OF, digest(handle))
    return str(rows[0]["client"]) if rows else None


async def spend(connection: Connection, handle: str, now: int, grant: str, expires: int) -> None:
    """Use up a refresh token; its grant lives on until ``expires``."""
    await connection.fetch("update grant_token set spent = $2 where handle = $1", digest(handle), now)
    await connection.fetch("update grant_ set expires = $2 where id = $1", grant, expires)


async def revoke(
    fetch: Fetcher, grant: str, now: int, *, account: str | None = None, client: str | None = None
) -> bool:
    """End a grant and its tokens, if it is that of ``account`` or ``client`` where given; whether one was ended."""
    rows = await fetch.fetch(_REVOKE, grant, now, account, client)
    return bool(rows[0]["n"])


async def revoke_app(fetch: Fetcher, account: str, grant: str, now: int) -> int:
    """End all that ``account`` granted to the client of one of its grants; how many grants that were."""
    rows = await fetch.fetch(_REVOKE_APP, grant, account, now)
    return int(rows[0]["n"])


async def mend(connection: Connection, session: str) -> None:
    """End what a broken glass opened: for the grants of a session, and for codes that are to become some."""
    for table, seen in (("grant_", ", version = version + 1"), ("authorization_code", "")):
        await connection.fetch(
            f"update {table} set reason_until = 0{seen} where session = $1 and reason_until > 0", session
        )


async def end_token(fetch: Fetcher, handle: str, now: int) -> None:
    """End one access token and leave its grant."""
    await fetch.fetch(
        "update grant_token set expires = 0 where handle = $1 and expires > $2", digest(handle), now
    )


async def cut(connection: Connection, account: str, now: int) -> Mapping[str, int]:
    """End all that was granted for an account, in the caller's transaction: how many grants and tokens."""
    rows = await connection.fetch(_CUT, account, now)
    return {"grants": rows[0]["grants"], "tokens": rows[0]["tokens"]}


async def narrow(connection: Connection, client: str, registered: str, now: int) -> int:
    """Take from all grants of a client, and their tokens, what it is not ``registered`` for; from how many.

    In the transaction that changes the client, after it: who issues a token has either the grant or the client locked.
    """
    await connection.fetch(_LOCK, client, now)
    held = [row["scopes"] for row in await connection.fetch(_SCOPES, client, now)]
    left = [within(each, registered) for each in held]
    pairs = [(before, after) for before, after in zip(held, left, strict=True) if before != after]
    if not pairs:
        return 0
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    await connection.fetch(_NARROW_TOKENS, client, now, before, after)
    return int((await connection.fetch(_NARROW, client, now, before, after))[0]["n"])


async def of_account(fetch: Fetcher, account: str, now: int) -> list[Connected]:
    """The clients that may act for an account, the newest grant first."""
    return [Connected(**row) for row in await fetch.fetch(_OF_ACCOUNT, account, now)]


async def forget(fetch: Fetcher, now: int) -> None:
    """Remove what has been over for a day."""
    for sql in _FORGET:
        await fetch.fetch(sql, now - FORGET_AFTER)


def grant_row(row: Any) -> GrantRow:
    """A row with the columns of ``grant_``."""
    return GrantRow(
        id=row["id"], client=row["client"], account=row["account"], scopes=row["scopes"],
        context=Context(row["patient"], row["encounter"], tuple(json.loads(row["fhir_context"])), row["banner"],
                        row["intent"]),
        access=row["access"], session=row["session"], reason=row["reason"], nonce=row["nonce"],
        signed_in=row["signed_in"], created=row["created"], expires=row["expires"], revoked=row["revoked"],
        version=row["version"], reason_until=row["reason_until"],
    )  # fmt: skip
