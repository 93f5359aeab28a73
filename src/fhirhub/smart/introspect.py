"""``/auth/introspect``: what a token is good for. RFC 7662, SMART App Launch 2.2 "Token introspection".

For clients that show who they are, and for bearers of a good token; those without a secret, and those that registered
themselves, learn about their own tokens only. Whatever is not good is ``{"active": false}`` and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from fhirhub.smart.address import fhir_base
from fhirhub.smart.client_auth import proven
from fhirhub.smart.context import Smart
from fhirhub.smart.oauth import OAuthError, endpoint, invalid_request
from fhirhub.smart.storage import tokens
from fhirhub.smart.storage.authorizations import digest
from fhirhub.smart.web import origin_of

PATH = "/auth/introspect"
LONGEST = 16_384
_SECOND = 1_000_000
INACTIVE: Mapping[str, Any] = {"active": False}


def router(smart: Smart) -> APIRouter:
    """The introspection endpoint."""
    routes = APIRouter()

    async def introspect(request: Request, fields: Mapping[str, str]) -> Mapping[str, Any]:
        asker = await _asker(smart, request, fields)
        token = fields.get("token", "")
        if not token:
            raise invalid_request("token is missing.")
        row = await _row(smart, token)
        if row is None or asker not in (None, row["client"]):
            return INACTIVE
        return _told(smart, origin_of(request, smart.settings), row)

    routes.add_route(PATH, endpoint(smart, introspect), ["POST", "OPTIONS"])
    return routes


async def _asker(smart: Smart, request: Request, fields: Mapping[str, str]) -> str | None:
    """The client whose tokens the caller may ask about; None: those of all. Raises OAuthError."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        row = await _row(smart, token)
        if row is None:
            challenge = 'Bearer realm="fhirhub", error="invalid_token"'
            raise OAuthError(
                "invalid_token", "The bearer token is not good.", 401, {"WWW-Authenticate": challenge}
            )
        return str(row["client"])
    client = await proven(smart, request, fields, PATH)
    return client.id if client.kind == "public" or client.unchecked else None


async def _row(smart: Smart, token: str) -> Any | None:
    if not token or len(token) > LONGEST:
        return None
    now = smart.clock()
    idle_since = now - int(smart.settings.session_idle * _SECOND)
    return await tokens.details(smart.lane, digest(token), now, idle_since)


def _told(smart: Smart, origin: str, row: Any) -> dict[str, Any]:
    issuer = smart.issuer(origin)
    words = row["scopes"].split()
    body: dict[str, Any] = {
        "active": True,
        "scope": row["scopes"],
        "client_id": row["client"],
        "token_type": "Bearer",
        "exp": row["expires"] // _SECOND,
        "iat": row["created"] // _SECOND,
        "aud": fhir_base(issuer),
    }
    body |= {name: row[name] for name in ("patient", "encounter") if row[name] is not None}
    if context := json.loads(row["fhir_context"]):
        body["fhirContext"] = context
    if "openid" in words:
        body |= {"iss": issuer, "sub": row["account"]}
        if "fhirUser" in words and row["fhir_user"]:
            body["fhirUser"] = f"{fhir_base(issuer)}/{row['fhir_user']}"
    return body
