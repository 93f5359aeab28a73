"""``/auth/revoke``: a client gives a token back. RFC 7009.

A refresh token takes its grant and all tokens of it along; so does the access token of a grant that has no other way on.
Tokens that are unknown, over or another client's are answered 200 as well (§2.2), and nothing happens to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from fhirhub.exchange import Caller
from fhirhub.smart.client_auth import proven
from fhirhub.smart.context import Smart
from fhirhub.smart.oauth import address, endpoint, invalid_request, note
from fhirhub.smart.storage import grants, tokens
from fhirhub.smart.storage.authorizations import digest

PATH = "/auth/revoke"


def router(smart: Smart) -> APIRouter:
    """The revocation endpoint."""
    routes = APIRouter()

    async def revoke(request: Request, fields: Mapping[str, str]) -> Mapping[str, Any]:
        client = await proven(smart, request, fields, PATH)
        token = fields.get("token", "")
        if not token:
            raise invalid_request("token is missing.")
        found = await tokens.held(smart.lane, digest(token), client.id)
        if found is None:
            return {}
        if found["kind"] == "refresh" or found["access"] == "none":
            done = await grants.revoke(smart.lane, found["grant"], smart.clock(), client=client.id)
        else:
            await grants.end_token(smart.lane, token, smart.clock())
            done = True
        who = Caller(
            client=client.id, client_name=client.name, grant=found["grant"], address=address(request)
        )
        await note(smart, request, "revoke", 0, who, {"grant": found["grant"], "ended": done})
        return {}

    routes.add_route(PATH, endpoint(smart, revoke), ["POST", "OPTIONS"])
    return routes
