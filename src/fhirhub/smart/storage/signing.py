"""The keys that id_tokens are signed with; private halves are sealed. All times are microseconds UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fhirhub.smart.storage.authorizations import Fetcher
from fhirhub.store.engine import Connection, Lane

LOCK = 0x666B6579
"""Key of the advisory lock under which a key is made: one process makes it, the others find it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One row of ``signing_key``."""

    kid: str
    alg: str
    public: Mapping[str, Any]
    """The JWK that is published."""
    private: bytes = field(repr=False)
    created: int
    retired: int | None


_COLUMNS = "kid, alg, public::text as public, private, created, retired"


async def current(fetch: Fetcher, alg: str) -> SigningKey | None:
    """The key that signs with ``alg`` now."""
    rows = await fetch.fetch(f"select {_COLUMNS} from signing_key where alg = $1 and retired is null", alg)
    return _key(rows[0]) if rows else None


async def published(fetch: Fetcher, since: int) -> list[SigningKey]:
    """The current keys and those retired after ``since``, the newest first."""
    rows = await fetch.fetch(
        f"select {_COLUMNS} from signing_key where retired is null or retired > $1 order by created desc",
        since,
    )
    return [_key(row) for row in rows]


async def replace(lane: Lane, key: SigningKey, *, unless_there: bool) -> SigningKey:
    """Make ``key`` the current one of its algorithm, and retire the one before.

    ``unless_there``: leave a current one as it is. Returns the current key.
    """
    async with lane.use() as connection, connection.raw.transaction():
        await connection.fetch("select pg_advisory_xact_lock($1)", LOCK)
        if unless_there and (found := await current(connection, key.alg)) is not None:
            return found
        await _put(connection, key)
    return key


async def _put(connection: Connection, key: SigningKey) -> None:
    await connection.fetch(
        "update signing_key set retired = $2 where alg = $1 and retired is null", key.alg, key.created
    )
    await connection.fetch(
        "insert into signing_key (kid, alg, public, private, created) values ($1, $2, $3::text::jsonb, $4, $5)",
        key.kid, key.alg, json.dumps(key.public), key.private, key.created,
    )  # fmt: skip


def _key(row: Any) -> SigningKey:
    values = dict(row)
    return SigningKey(**(values | {"public": json.loads(values["public"])}))
