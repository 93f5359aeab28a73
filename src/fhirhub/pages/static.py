"""``/static/…``: the files of the pages, from this package only."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "fhirhub.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "htmx.min.js": "text/javascript; charset=utf-8",
}


@lru_cache(maxsize=len(_FILES))
def _content(name: str) -> tuple[bytes, str]:
    """A file and its entity tag; the large ones are kept compressed."""
    packed = _STATIC / f"{name}.gz"
    body = gzip.decompress(packed.read_bytes()) if packed.exists() else (_STATIC / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def router() -> APIRouter:
    """The route of the files."""
    made = APIRouter()

    @made.get("/static/{name}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        if name not in _FILES:
            return Response(status_code=404)
        body, tag = _content(name)
        headers = {
            "Cache-Control": "public, max-age=3600",
            "ETag": tag,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        }
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=_FILES[name], headers=headers)

    return made
