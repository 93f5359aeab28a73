"""``/.well-known/jwks.json``: the keys our id_tokens are checked with. RFC 7517 §5."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhirhub.smart.context import Smart
from fhirhub.smart.web import ANYONE, json_answer, publish

PATH = "/.well-known/jwks.json"
HEADERS = {**ANYONE, "Cache-Control": "public, max-age=300"}


def router(smart: Smart) -> APIRouter:
    """The key set."""
    routes = APIRouter()

    async def keys(request: Request) -> Response:
        return json_answer(await smart.signing.public(), headers=HEADERS)

    publish(routes, PATH, keys)
    return routes
