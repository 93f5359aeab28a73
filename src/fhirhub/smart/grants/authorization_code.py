"""A code for tokens: RFC 6749 §4.1.3, RFC 7636 §4.6, SMART App Launch 2.2 "Obtain access token"."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from fhirhub.auth.negotiation import within
from fhirhub.auth.scope import joined, known
from fhirhub.smart.context import Smart
from fhirhub.smart.grants.answer import SECOND, Issued, refresh_until
from fhirhub.smart.oauth import OAuthError, invalid_grant, invalid_request
from fhirhub.smart.redirects import registered
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.authorizations import CodeRow, digest, take_code
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.grants import GrantRow
from fhirhub.store.engine import Connection

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_HOLDER = """
select a.active from authorization_code c join account a on a.id = c.account where c.code = $1 for share of a
"""
_REGISTERED = "select active, redirect_uris, scopes from client where id = $1 for share"
_USED = "The code is unknown, was used before, has expired, or was not given to this request."


async def exchange(smart: Smart, client: Client, fields: Mapping[str, str]) -> Issued:
    """The tokens that a code brings. Raises OAuthError; a code that was tried wrongly is spent all the same."""
    code, verifier, uri = (fields.get(name, "") for name in ("code", "code_verifier", "redirect_uri"))
    for name, value in (("code", code), ("redirect_uri", uri), ("code_verifier", verifier)):
        if not value:
            raise invalid_request(f"{name} is missing.")
    if not _VERIFIER.fullmatch(verifier):
        raise invalid_grant("code_verifier must have 43 to 128 of the characters A-Z a-z 0-9 - . _ ~")
    async with smart.lane.use() as connection, connection.raw.transaction():
        # A refusal is returned, not raised: the code stays spent, and what a reuse revokes stays revoked.
        made = await _exchange(smart, connection, client, code, verifier, uri)
    if isinstance(made, OAuthError):
        raise made
    return made


async def _exchange(
    smart: Smart, connection: Connection, client: Client, code: str, verifier: str, uri: str
) -> Issued | OAuthError:
    now = smart.clock()
    # First the account, then its code, as in a deactivation: of two that meet one waits, and neither fails.
    account = await connection.fetch(_HOLDER, digest(code))
    row = await take_code(connection, digest(code), now)
    if row is None:
        return invalid_grant(_USED)
    if row.reused:
        await grants.revoke(connection, row.grant, now)
        return invalid_grant(_USED)
    if not account or not account[0]["active"]:
        return invalid_grant(_USED)
    # The client was active when it showed who it is; deactivation, or a change of what it is registered for, may have
    # come since, and finds no grant to end or to narrow.
    held = await connection.fetch(_REGISTERED, client.id)
    proven = hmac.compare_digest(challenge_of(verifier).encode(), row.challenge.encode())
    if row.client != client.id or row.redirect_uri != uri or not proven or row.expires <= now:
        return invalid_grant(_USED)
    if not held or not held[0]["active"]:
        return invalid_grant(_USED)
    if not registered(held[0]["redirect_uris"], uri, native=client.kind == "public"):
        return invalid_grant(_USED)
    left = within(row.scope, held[0]["scopes"])
    if not left:
        return invalid_grant("The client is not registered any more for what was allowed.")
    grant = _granted(smart, replace(row, scope=left), now)
    await grants.create(connection, grant)
    return await _issued(smart, connection, grant, now)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def _granted(smart: Smart, row: CodeRow, now: int) -> GrantRow:
    """The grant that a code stands for."""
    scopes, _ = known(row.scope)
    words = {scope.text for scope in scopes}
    access = "offline" if "offline_access" in words else "online" if "online_access" in words else "none"
    access_until = now + int(smart.settings.access_token_life * SECOND)
    until = access_until if access == "none" else max(access_until, refresh_until(smart, access, now))
    return GrantRow(
        id=row.grant, client=row.client, account=row.account, scopes=joined(scopes), context=row.context,
        access=access, session=row.session, reason=row.reason, nonce=row.nonce, signed_in=row.signed_in,
        created=now, expires=until, reason_until=row.reason_until,
    )  # fmt: skip


async def _issued(smart: Smart, connection: Connection, grant: GrantRow, now: int) -> Issued:
    until = now + int(smart.settings.access_token_life * SECOND)
    access = await grants.issue(connection, grant.id, "access", now, until)
    refresh = None
    if grant.access != "none":
        refresh = await grants.issue(connection, grant.id, "refresh", now, grant.expires)
    return Issued(grant, access, refresh, grant.scopes)
