"""A refresh token for new tokens: RFC 6749 §6, rotated with each use (RFC 9700 §4.14.2).

A refresh token that comes a second time was stolen, by the one who uses it now or the one before: its grant ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhirhub.auth.negotiation import covered
from fhirhub.auth.scope import ScopeError, joined, parse_all
from fhirhub.smart.context import Smart
from fhirhub.smart.grants.answer import SECOND, Issued, refresh_until
from fhirhub.smart.oauth import OAuthError, invalid_grant, invalid_request
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.grants import Refresh
from fhirhub.store.engine import Connection

LONGEST = 512
_OVER = "The refresh token is unknown, was used before, has expired or was revoked, or is another client's."


async def refresh(smart: Smart, client: Client, fields: Mapping[str, str]) -> Issued:
    """New tokens of a grant. Raises OAuthError."""
    handle = fields.get("refresh_token", "")
    if not handle or len(handle) > LONGEST:
        raise invalid_request("refresh_token is missing.") if not handle else invalid_grant(_OVER)
    async with smart.lane.use() as connection, connection.raw.transaction():
        # A refusal is returned, not raised: what a reuse revokes stays revoked.
        made = await _refresh(smart, connection, client, handle, fields.get("scope"))
    if isinstance(made, OAuthError):
        raise made
    return made


async def _refresh(
    smart: Smart, connection: Connection, client: Client, handle: str, scope: str | None
) -> Issued | OAuthError:
    now = smart.clock()
    idle_since = now - int(smart.settings.session_idle * SECOND)
    found = await grants.present(connection, handle, now, idle_since)
    if found is None or found.grant.client != client.id:
        return invalid_grant(_OVER)
    if found.reused:
        await grants.revoke(connection, found.grant.id, now)
        return invalid_grant(_OVER)
    if not _alive(found, now):
        return invalid_grant(_OVER)
    scopes = _narrowed(found.grant.scopes, scope)
    if isinstance(scopes, OAuthError):
        return scopes
    grant = found.grant
    until = refresh_until(smart, grant.access, now)
    access_until = now + int(smart.settings.access_token_life * SECOND)
    await grants.spend(connection, handle, now, grant.id, max(until, access_until))
    fewer = scopes if scopes != grant.scopes else None
    access = await grants.issue(connection, grant.id, "access", now, access_until, fewer)
    fresh = await grants.issue(connection, grant.id, "refresh", now, until)
    return Issued(grant, access, fresh, scopes)


def _alive(found: Refresh, now: int) -> bool:
    grant = found.grant
    return (
        grant.revoked is None
        and grant.expires > now
        and found.expires > now
        and found.account_active
        and found.client_active
        and found.session_alive
    )


def _narrowed(granted: str, asked: str | None) -> str | OAuthError:
    """The scopes of the new access token: those of the grant, or those of them that were asked for."""
    if asked is None or not asked.strip():
        return granted
    own = parse_all(granted)
    try:
        wanted = parse_all(asked)
    except ScopeError as error:
        return OAuthError("invalid_scope", str(error))
    beyond = [scope for scope in wanted if not covered(scope, own)]
    if beyond:
        return OAuthError("invalid_scope", f"{beyond[0].text} was not granted.")
    return joined(wanted)
