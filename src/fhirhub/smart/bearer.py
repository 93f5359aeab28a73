"""Who asks: the token of a request (RFC 6750) -> what it allows now.

A token is looked up in the store with every request, so that what is revoked or deactivated is over with the commit
that says so. Requests that arrive together share one statement. What is kept is how a grant was understood, under its
versions: a changed grant, account, client or consent has others.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from fhirhub.auth.access import Access
from fhirhub.auth.grant import Grant
from fhirhub.auth.scope import ScopeError, parse_all
from fhirhub.errors import Issue, Unauthorized
from fhirhub.smart.storage import tokens
from fhirhub.smart.storage.authorizations import digest
from fhirhub.store.engine import Lane

REALM = "fhirhub"
KEPT = 4096
BATCH = 64
"""Tokens that one statement looks up at most."""
FLIGHTS = 1
"""Statements under way at once: the fewer, the more requests share one."""
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]{16,16384}=*)")
"""The scheme, and b64token of RFC 6750 §2.1."""


class Authority(Protocol):
    """Decides what a grant allows."""

    async def access(self, grant: Grant) -> Access: ...

    def kept(self, grant: Grant) -> Access | None:
        """The same, if it has been decided before and that still holds."""


class Foreign(Protocol):
    """Understands the tokens of another issuer."""

    def is_foreign(self, token: str) -> bool: ...

    async def grant(self, token: str) -> Grant:
        """What the token stands for. Raises Unauthorized."""


class Bearer:
    """The gate before everything that needs a token.

    ``issuer``: how the audit trail names this server as the one who vouches for a user; ``idle``: seconds after which
    a session that nobody uses is over, and with it the online grants of it.
    """

    def __init__(
        self,
        lane: Lane,
        authority: Authority,
        clock: Callable[[], int],
        *,
        idle: float,
        issuer: str = "",
        foreign: Foreign | None = None,
    ) -> None:
        self._authority = authority
        self._issuer = issuer
        self._foreign = foreign
        self._lookups = Lookups(lane, clock, int(idle * 1_000_000), self._understood)
        self._grants: OrderedDict[tuple[str, int, int], Grant] = OrderedDict()

    async def access(self, headers: Mapping[bytes, bytes]) -> Access:
        """What the caller may do. Raises Unauthorized for a missing or bad token."""
        token = token_of(headers.get(b"authorization"))
        if self._foreign is not None and self._foreign.is_foreign(token):
            return await self._authority.access(await self._foreign.grant(token))
        found = await self._lookups.find(digest(token))
        if isinstance(found, Access):
            return found
        if found is None:
            raise refused("The access token is unknown, expired or revoked; ask for a new one.")
        return await self._authority.access(self._grant(found))

    def _understood(self, row: Any) -> Any:
        """The Access that the grant of ``row`` has been understood as before, else the row: asked once for all
        requests that a statement answers."""
        grant = self._grants.get((row["id"], *stamp_of(row)))
        return row if grant is None else self._authority.kept(grant) or row

    def _grant(self, row: Any) -> Grant:
        key = (row["id"], *stamp_of(row))
        grant = self._grants.get(key)
        if grant is not None:
            self._grants.move_to_end(key)
            return grant
        grant = self._grants[key] = read_grant(row, self._issuer)
        if len(self._grants) > KEPT:
            self._grants.popitem(last=False)
        return grant


def token_of(header: bytes | None) -> str:
    """The token of an ``Authorization`` header. Raises Unauthorized.

    Tokens in the query or in a form are not taken: addresses end up in logs (RFC 9700 §4.3.2).
    """
    if header is None:
        raise refused("This needs an access token, sent as 'Authorization: Bearer …'.", None)
    found = _BEARER.fullmatch(header)
    if found is None:
        if header.partition(b" ")[0].lower() != b"bearer":
            raise refused("The Authorization header must be 'Bearer' and an access token.", None)
        raise refused("What follows 'Bearer' is no access token.")
    return found[1].decode("ascii")


def refused(text: str, error: str | None = "invalid_token") -> Unauthorized:
    """401 as RFC 6750 §3 says it; no error code for those who sent no token."""
    challenge = f'Bearer realm="{REALM}"'
    if error is not None:
        challenge += f', error="{error}", error_description="{text}"'
    return Unauthorized(Issue("login", text), headers={"WWW-Authenticate": challenge})


def stamp_of(row: Any) -> tuple[int, int]:
    """Equal for equal rows of one grant: the sum of versions that only grow, and what a single token adds."""
    version, told = row["version"], row["reason"]
    if row["narrowed"]:
        told = f"{told} {row['scopes']}"
    if told:
        version = int.from_bytes(sha256(f"{version} {told}".encode()).digest()[:7]) | 1 << 60
    return version, row["consents"]


def read_grant(row: Any, issuer: str) -> Grant:
    """The grant of a row of :mod:`fhirhub.smart.storage.tokens`."""
    try:
        scopes = parse_all(row["scopes"])
    except ScopeError:
        raise refused("The scopes of this token are not understood any more; ask for a new one.") from None
    system = row["system"]
    return Grant(
        id=row["id"],
        kind="system" if system else "user",
        scopes=scopes,
        client=row["client"],
        client_name=row["client_name"],
        user=row["username"],
        fhir_user=row["fhir_user"],
        role=row["role"],
        patient=row["patient"],
        encounter=row["encounter"],
        issuer="" if system else issuer,
        reason=row["reason"],
        client_policy=json.loads(row["policy"]) if row["policy"] else None,
        stamp=stamp_of(row),
    )


class Lookups:
    """Lookups of tokens; all that arrive while a statement is under way leave together as the next one."""

    def __init__(
        self, lane: Lane, clock: Callable[[], int], idle: int, understood: Callable[[Any], Any]
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._idle = idle
        self._understood = understood
        self._pending: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._flying = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, handle: bytes) -> asyncio.Future[Any]:
        """What is understood of the row that the hash of a token stands for now, None for nothing.

        The statement that answers starts after this call: what was committed before it, it sees.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._pending.append((handle, future))
        if not self._scheduled and self._flying < FLIGHTS:
            self._scheduled = True
            loop.call_soon(self._depart)
        return future

    def _depart(self) -> None:
        self._scheduled = False
        if not self._pending:
            return
        batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
        self._flying += 1
        task = asyncio.get_running_loop().create_task(self._fly(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._pending and self._flying < FLIGHTS:
            self._depart()

    def _land(self) -> None:
        self._flying -= 1
        if self._pending and not self._scheduled:
            self._depart()

    async def _rows(self, handles: Sequence[bytes], now: int) -> Sequence[Any]:
        try:
            return await tokens.look_up(self._lane, handles, now, now - self._idle)
        finally:
            self._land()

    async def _fly(self, batch: list[tuple[bytes, asyncio.Future[Any]]]) -> None:
        try:
            now = self._clock()
            handles = list(dict.fromkeys(handle for handle, _ in batch))
            rows = await self._rows(handles, now)
            if used := tokens.touched(rows, now):
                # A commit, for which the others do not wait.
                await tokens.touch(self._lane, used, now)
            understood = [row if row is None else self._understood(row) for row in rows]
            found = dict(zip(handles, understood, strict=True))
            for handle, future in batch:
                if not future.done():
                    future.set_result(found[handle])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
