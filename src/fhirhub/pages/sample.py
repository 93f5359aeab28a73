"""``/sample/``: the app "Vitals over time", with which the demo practice shows a whole SMART launch.

A page of our own origin could do all that our pages can; it is served on this machine only, while the demo client is
active, under a policy that lets it run its own files and talk to this server, nothing else.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import SAFE
from fhirhub.pages.render import refusal, route_class
from fhirhub.settings import Settings
from fhirhub.smart.context import Smart
from fhirhub.smart.demo import APP, APP_PATH, has_app

_FOLDER = Path(__file__).with_name("static") / "sample"
_SCRIPT, _PAGE = "text/javascript; charset=utf-8", "text/html; charset=utf-8"
_FILES = {
    "index.html": _PAGE,
    "launch.html": _PAGE,
    "vitals.js": _SCRIPT,
    "chart.js": _SCRIPT,
    "launch.js": _SCRIPT,
    "oauth.js": _SCRIPT,
    "sample.css": "text/css; charset=utf-8",
}
_HEADERS = {
    **SAFE,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
_ABSENT = (
    "The sample app belongs to the demo practice (fhirhub import --demo), is served on this machine only, over plain "
    f"http, and while the client {APP} is active."
)


def router(smart: Smart) -> APIRouter:
    """The pages and files of the app."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(APP_PATH)
    async def start(request: Request) -> Response:
        return await _answer(smart, request, "index.html")

    @made.get(APP_PATH + "{name}")
    async def file(request: Request, name: str) -> Response:
        return await _answer(smart, request, name)

    return made


async def _answer(smart: Smart, request: Request, name: str) -> Response:
    if name not in _FILES or not offered(smart.settings, request) or not await has_app(smart.clients):
        return refusal(smart, request, 404, "There is nothing here", _ABSENT)
    if request.url.hostname == "localhost":
        # The app is registered by the address: names may lead elsewhere (RFC 8252 §8.3).
        to = str(request.url.replace(hostname="127.0.0.1"))
        return Response(status_code=307, headers={**SAFE, "Location": to})
    body, tag = _content(name)
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=_FILES[name], headers=headers)


def offered(settings: Settings, request: Request) -> bool:
    """Whether the app would work for who asks: it is registered for http on this machine."""
    return settings.bind_is_loopback and settings.base_url is None and request.url.scheme == "http"


@cache
def _content(name: str) -> tuple[bytes, str]:
    body = (_FOLDER / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'
