"""Backend services: https://hl7.org/fhir/smart-app-launch/backend-services.html (RFC 6749 §4.4 with RFC 7523).

One statement spends the assertion and makes the grant with its token, so that of parallel replays one gets something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhirhub.auth.negotiation import negotiate
from fhirhub.auth.scope import Scope, ScopeError, joined, known, parse_all
from fhirhub.smart.client_auth import Proof, replayed
from fhirhub.smart.context import Smart
from fhirhub.smart.grants.answer import SECOND
from fhirhub.smart.oauth import OAuthError
from fhirhub.smart.storage import grants


async def grant(smart: Smart, proof: Proof, fields: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The body of the answer to a backend service, and the id of the grant. Raises OAuthError, Outdated."""
    client = proof.client
    if client.kind != "backend" or proof.jti is None:
        text = "client_credentials is for clients of the kind backend, which sign an assertion."
        raise OAuthError("unauthorized_client", text)
    scopes = joined(_scopes(fields.get("scope", ""), client.scopes))
    now = smart.clock()
    expires = now + int(smart.settings.system_token_life * SECOND)
    token = await grants.issue_system(
        smart.lane, client.id, client.version, scopes, proof.jti, proof.expires, now, expires
    )
    if token is None:
        raise replayed()
    body = {
        "access_token": token.handle,
        "token_type": "Bearer",
        "expires_in": (expires - now) // SECOND,
        "scope": scopes,
    }
    return body, token.grant


def _scopes(asked: str, registered: str) -> tuple[Scope, ...]:
    """What of the scopes asked for the client is registered for."""
    if not asked.strip():
        raise OAuthError("invalid_scope", "scope is missing; name system/ scopes, such as system/Patient.rs.")
    try:
        wanted, _ = known(asked)
    except ScopeError as error:
        raise OAuthError("invalid_scope", str(error)) from None
    kept = negotiate(wanted, parse_all(registered))
    if not kept:
        raise OAuthError("invalid_scope", "None of these scopes is one that this client is registered for.")
    return kept
