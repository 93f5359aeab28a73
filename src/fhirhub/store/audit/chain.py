"""Chains: each row of the audit trail is authenticated together with the one before it.

Every database connection that adds rows has a chain to itself for as long as it lives, so writers never wait for
one another; when it goes, the next connection that needs a chain takes it over where it ended. Now and then a
*checkpoint* row tells where all the other chains were, so that cutting off the end of one is found by the others.

mac = HMAC-SHA-256(key, mac of the row before, or 32 zero bytes + JSON of [chain, seq, at, …the Entry])
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from fhirhub.store.audit.trail import Entry
from fhirhub.store.engine import Connection

Fetch = Callable[..., Awaitable[Sequence[Any]]]
Head = tuple[int, bytes]
"""Number and mac of the last row of a chain; (0, GENESIS) for an empty one."""

GENESIS = bytes(32)
ROWS = 1_000
"""Rows after which a chain has another checkpoint."""
SECONDS = 60.0
"""Seconds after which a chain that is in use has another checkpoint."""
CHAINS = 9_999

FREE = f"""
select n from generate_series(1, {CHAINS}) as n where pg_try_advisory_lock(7334, n) limit 1
"""
"""A chain that no connection holds. The lock is the connection's, until it ends, whatever becomes of transactions."""
HEAD = "select seq, mac from audit where chain = $1 order by seq desc limit 1"
HEADS = """
with recursive heads as (
    (select chain, seq, mac from audit order by chain desc, seq desc limit 1)
    union all
    select h.chain, h.seq, h.mac
    from heads
    cross join lateral (
        select a.chain, a.seq, a.mac from audit a
        where a.chain < heads.chain order by a.chain desc, a.seq desc limit 1
    ) as h
)
select chain, seq, mac from heads
"""

ARGUMENTS = 14
MAC = 32
"""Bytes of a mac."""
BLOCK = 64
"""Bytes that SHA-256 takes at once."""
BETWEEN = "\x1f"
"""Stands between the values of a column: texts of entries have no control characters. Arrays, which the driver would
encode value by value, take three times as long."""


def insert(first: int = 1, condition: str = "") -> str:
    """The statement that adds what :meth:`Chain.rows` gives as arguments number ``first`` and up."""
    n = range(first, first + ARGUMENTS)
    columns = ", ".join([f"string_to_array(${each}::text, E'\\x1f')" for each in n[3:13]])
    # The columns of one row without a text are empty arrays.
    texts = ", ".join(
        [f"coalesce(e.{name}, '')" for name in ("kind", "interaction", "type", "id", "agent", "request")]
    )
    return f"""
    insert into audit (chain, seq, at, outcome, status, kind, interaction, type, id, agent, request, patients, detail, mac)
    select ${n[0]}::integer, ${n[1]}::bigint + e.n, ${n[2]}::bigint, e.outcome::smallint, e.status::smallint, {texts},
        string_to_array(coalesce(e.patients, ''), ' '), e.detail::json,
        substr(${n[13]}::bytea, {MAC} * (e.n::integer - 1) + 1, {MAC})
    from unnest({columns}) with ordinality
        as e (outcome, status, kind, interaction, type, id, agent, request, patients, detail, n)
    {condition}
    """


INSERT = insert()


def mac_of(key: bytes, before: bytes, chain: int, seq: int, at: int, entry: Sequence[Any]) -> bytes:
    """The mac of one row; ``before`` is that of the row before it."""
    inner, outer = _pads(key)
    text = before + orjson.dumps([chain, seq, at, *entry])
    return sha256(outer + sha256(inner + text).digest()).digest()


@lru_cache(maxsize=8)
def _pads(key: bytes) -> tuple[bytes, bytes]:
    """What HMAC (RFC 2104) puts before the text and before the hash of that: the library's own takes twice as long
    for one text."""
    padded = (key if len(key) <= BLOCK else sha256(key).digest()).ljust(BLOCK, b"\0")
    return bytes(each ^ 0x36 for each in padded), bytes(each ^ 0x5C for each in padded)


class Chain:
    """The chain of one connection. Only that connection's statements may use it, one after the other."""

    def __init__(self, key: bytes, clock: Callable[[], int]) -> None:
        self._key = key
        self._clock = clock
        self.number = 0
        self._head: Head | None = None
        """Where the chain ends in the database; None: it has to be looked up."""
        self._next: Head | None = None
        self._counted = 0
        self._checked = 0.0

    async def rows(self, entries: Sequence[Entry], fetch: Fetch) -> tuple[Any, ...]:
        """The arguments of :func:`insert` for ``entries``. ``fetch`` runs on the chain's own connection.

        Call :meth:`committed` once they are; else where the chain ends is looked up the next time, which is always
        right, also inside a transaction that goes on.
        """
        if not self.number:
            self.number = (await fetch(FREE))[0]["n"]
        head, self._head = self._head, None
        if head is None:
            found = await fetch(HEAD, self.number)
            head = (found[0]["seq"], bytes(found[0]["mac"])) if found else (0, GENESIS)
        chained = list(entries)
        now = time.monotonic()
        if not self._checked or self._counted >= ROWS or now - self._checked > SECONDS:
            chained.insert(0, await self._checkpoint(fetch))
            self._counted, self._checked = 0, now
        self._counted += len(chained)
        at = self._clock()
        seq, mac = head
        macs = []
        for entry in chained:
            seq += 1
            mac = mac_of(self._key, mac, self.number, seq, at, entry)
            macs.append(mac)
        self._next = (seq, mac)
        return (self.number, head[0], at, *_columns(chained), b"".join(macs))

    def committed(self) -> None:
        """What :meth:`rows` gave last is in the database for good."""
        self._head = self._next

    async def _checkpoint(self, fetch: Fetch) -> Entry:
        heads = {
            str(row["chain"]): [row["seq"], bytes(row["mac"]).hex()]
            for row in await fetch(HEADS)
            if row["chain"] != self.number
        }
        return Entry(
            0, 0, "checkpoint", "checkpoint", "", "", "", "", "", orjson.dumps({"heads": heads}).decode()
        )


def _columns(entries: Sequence[Entry]) -> list[str]:
    """The values of each column, joined. Raises ValueError for a text that holds what stands between two."""
    outcomes, statuses, *texts = zip(*entries, strict=True)
    columns = [BETWEEN.join(column) for column in (map(str, outcomes), map(str, statuses), *texts)]
    if any(column.count(BETWEEN) != len(entries) - 1 for column in columns):
        raise ValueError("an audit entry holds a control character")
    return columns


class Chains:
    """The chains of a process, one for each of its connections that adds rows."""

    def __init__(self, key: bytes, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """``key`` is ``Keys.derive("audit")``; ``clock`` gives microseconds since 1970 UTC."""
        self._key = key
        self._clock = clock
        self._chains: WeakKeyDictionary[Connection, Chain] = WeakKeyDictionary()

    def of(self, connection: Connection) -> Chain:
        """The chain of ``connection``, which the caller has to itself."""
        chain = self._chains.get(connection)
        if chain is None:
            chain = self._chains[connection] = Chain(self._key, self._clock)
        return chain
