"""What a client is told with its tokens: RFC 6749 §5.1, launch context of SMART App Launch 2.2, OpenID Connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhirhub.smart.address import fhir_base
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.grants import GrantRow, Token

SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens of one answer; ``scopes`` are those of the access token."""

    grant: GrantRow
    access: Token
    refresh: Token | None
    scopes: str


def refresh_until(smart: Smart, access: str, now: int) -> int:
    """When a grant of the kind ``offline`` or ``online`` ends that is used now and never again."""
    life = smart.settings.refresh_token_life if access == "offline" else smart.settings.session_absolute
    return now + int(life * SECOND)


async def answered(smart: Smart, origin: str, issued: Issued) -> dict[str, Any]:
    """The body of the answer to a person's app."""
    now, grant, context = smart.clock(), issued.grant, issued.grant.context
    words = set(issued.scopes.split())
    body: dict[str, Any] = {
        "access_token": issued.access.handle,
        "token_type": "Bearer",
        "expires_in": (issued.access.expires - now) // SECOND,
        "scope": issued.scopes,
    }
    if issued.refresh is not None:
        body["refresh_token"] = issued.refresh.handle
    if context.patient is not None:
        body["patient"] = context.patient
    if context.encounter is not None:
        body["encounter"] = context.encounter
    if context.fhir_context:
        body["fhirContext"] = [dict(one) for one in context.fhir_context]
    if context.intent is not None:
        body["intent"] = context.intent
    # Unless who launched the app shows the patient around it, the app has to.
    body["need_patient_banner"] = context.need_patient_banner is not False
    body["smart_style_url"] = f"{origin}/smart-style.json"
    if "openid" in words:
        body["id_token"] = await smart.signing.sign(await identity(smart, origin, grant, words))
    return body


async def identity(smart: Smart, origin: str, grant: GrantRow, words: set[str]) -> dict[str, Any]:
    """The claims of the id_token: OpenID Connect Core §2, SMART "Scopes for requesting identity data"."""
    account = await smart.people.accounts.by_id(grant.account or "")
    now = smart.clock() // SECOND
    claims: dict[str, Any] = {
        "iss": smart.issuer(origin),
        "sub": grant.account,
        "aud": grant.client,
        "exp": now + int(smart.settings.access_token_life),
        "iat": now,
    }
    if grant.signed_in is not None:
        claims["auth_time"] = grant.signed_in // SECOND
    if grant.nonce is not None:
        claims["nonce"] = grant.nonce
    if account is not None and account.fhir_user:
        person = f"{fhir_base(smart.issuer(origin))}/{account.fhir_user}"
        claims |= {"fhirUser": person} if "fhirUser" in words else {}
        claims |= {"profile": person} if "profile" in words else {}
    if account is not None and "profile" in words:
        claims["preferred_username"] = account.username
    return claims
