"""The page ``/docs`` and what it shows, ``/openapi.json``: from local files only, so that it works without the internet."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI, Request, Response

from fhirhub.capability import Capability
from fhirhub.definitions.tables import Definitions
from fhirhub.http.negotiation import gzip_accepted
from fhirhub.http.openapi import description
from fhirhub.resource import json

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # The page library sets styles by itself and has its icons as data URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}


def install(app: FastAPI, capability: Capability, definitions: Definitions, version: str) -> None:
    """Add the docs routes to ``app``."""

    @lru_cache(maxsize=1)
    def document() -> bytes:
        return json.dumps(description(capability, definitions, version))

    async def openapi(request: Request) -> Response:
        return Response(document(), media_type="application/json")

    async def page(request: Request) -> Response:
        return Response((_STATIC / "docs.html").read_bytes(), media_type="text/html", headers=_HEADERS)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            return Response(status_code=404)
        return _file(name, gzip_accepted(request.headers.get("accept-encoding", "").encode()))

    app.add_route("/openapi.json", openapi)
    app.add_route("/docs", page)
    app.add_route("/docs/{name}", file)


def _file(name: str, gzip_wanted: bool) -> Response:
    """A file of the page; the large ones are kept compressed."""
    headers = {**_HEADERS, "Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
    packed = _STATIC / f"{name}.gz"
    if not packed.exists():
        return Response((_STATIC / name).read_bytes(), media_type=_FILES[name], headers=headers)
    body = packed.read_bytes()
    if gzip_wanted:
        headers["Content-Encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, media_type=_FILES[name], headers=headers)
