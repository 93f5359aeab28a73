"""``/auth/token``: RFC 6749 §3.2. The grants themselves are in ``smart/grants``, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from fhirhub.exchange import Caller
from fhirhub.smart.client_auth import Proof, authenticate, replayed, wrong
from fhirhub.smart.context import Smart
from fhirhub.smart.grants import authorization_code, client_credentials, refresh_token
from fhirhub.smart.grants.answer import Issued, answered
from fhirhub.smart.oauth import OAuthError, address, endpoint, invalid_request, note
from fhirhub.smart.storage import grants
from fhirhub.smart.web import origin_of

PATH = "/auth/token"
TIDY = 60 * 1_000_000
"""How often a process removes tokens that are over."""
GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials")


def router(smart: Smart) -> APIRouter:
    """The token endpoint."""
    routes = APIRouter()
    tidied = smart.clock()

    async def token(request: Request, fields: Mapping[str, str]) -> Mapping[str, Any]:
        nonlocal tidied
        if smart.clock() - tidied > TIDY:
            tidied = smart.clock()
            await grants.forget(smart.lane, tidied)
        return await _token(smart, request, fields)

    routes.add_route(PATH, endpoint(smart, token), ["POST", "OPTIONS"])
    return routes


async def _token(smart: Smart, request: Request, fields: Mapping[str, str]) -> Mapping[str, Any]:
    """The answer of the endpoint; every exchange and every refusal is put on record first."""
    kind = fields.get("grant_type", "")
    proof: Proof | None = None
    try:
        if kind not in GRANT_TYPES:
            if not kind:
                raise invalid_request("grant_type is missing.")
            raise OAuthError("unsupported_grant_type", f"grant_type is one of {', '.join(GRANT_TYPES)}.")
        proof = await authenticate(smart, request, fields, PATH)
        try:
            body, who = await _granted(smart, request, fields, kind, proof)
        except grants.Outdated:
            # What the client is now decides. Changed again in between is as good as unknown.
            smart.remembered.forget(proof.client.id)
            proof = await authenticate(smart, request, fields, PATH)
            try:
                body, who = await _granted(smart, request, fields, kind, proof)
            except grants.Outdated:
                raise wrong("The client is being changed.") from None
    except OAuthError as error:
        who = Caller(address=address(request), **_client(proof))
        claimed = {} if proof is not None else {"claimed": fields.get("client_id", "")[:80]}
        detail = {"grant_type": kind[:40], "error": error.error, **claimed}
        await note(smart, request, "token", 4, who, detail)
        raise
    await note(smart, request, "token", 0, who, {"grant_type": kind, "scope": body["scope"]})
    return body


async def _granted(
    smart: Smart, request: Request, fields: Mapping[str, str], kind: str, proof: Proof
) -> tuple[Mapping[str, Any], Caller]:
    client = proof.client
    if kind == "client_credentials":
        body, made = await client_credentials.grant(smart, proof, fields)
        return body, Caller(grant=made, address=address(request), **_client(proof))
    if client.kind == "backend":
        raise OAuthError(
            "unauthorized_client", "A backend system has the grant type client_credentials only."
        )
    if proof.jti is not None and not await grants.spend_jti(smart.lane, client.id, proof.jti, proof.expires):
        raise replayed()
    issued: Issued
    if kind == "authorization_code":
        issued = await authorization_code.exchange(smart, client, fields)
    else:
        issued = await refresh_token.refresh(smart, client, fields)
    body = await answered(smart, origin_of(request, smart.settings), issued)
    return body, await _caller(smart, request, proof, issued)


async def _caller(smart: Smart, request: Request, proof: Proof, issued: Issued) -> Caller:
    account = await smart.people.accounts.by_id(issued.grant.account or "")
    return Caller(
        user=account.username if account else "",
        fhir_user=(account.fhir_user or "") if account else "",
        role=account.role if account else "",
        grant=issued.grant.id,
        address=address(request),
        reason=issued.grant.reason,
        **_client(proof),
    )


def _client(proof: Proof | None) -> dict[str, str]:
    return {} if proof is None else {"client": proof.client.id, "client_name": proof.client.name}
