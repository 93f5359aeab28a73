"""What the endpoints of the authorization server share: where they are, forms, answers of JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhirhub.settings import Settings

ANYONE = {"Access-Control-Allow-Origin": "*"}
"""For what is public and the same for everybody: pages of any origin may read it, without cookies."""
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
MAX_FORM = 64 * 1024
MAX_FIELDS = 400
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


_PREFLIGHT = {
    **ANYONE,
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}


class FormError(ValueError):
    """A form that cannot be read; the text says why."""


def publish(routes: APIRouter, path: str, handler: Callable[[Request], Awaitable[Response]]) -> None:
    """Let pages of any origin GET ``path``, those too that ask first: https://fetch.spec.whatwg.org/#http-cors-protocol."""

    async def preflight(request: Request) -> Response:
        return Response(status_code=204, headers=_PREFLIGHT)

    routes.add_route(path, handler, ["GET"])
    routes.add_route(path, preflight, ["OPTIONS"])


def origin_of(request: Request, settings: Settings) -> str:
    """Where this server is, without a trailing slash: the setting, else as the caller wrote it."""
    if settings.base_url:
        return settings.base_url
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = request.scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{request.url.scheme}://{host}"


def json_answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON, whatever was asked for."""
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def oauth_error(error: str, description: str, status: int = 400) -> Response:
    """An error of an OAuth endpoint: RFC 6749 §5.2."""
    body = {"error": error, "error_description": description}
    return json_answer(body, status, NO_STORE)


def pairs(text: str) -> list[tuple[str, str]]:
    """The fields of a query or urlencoded form, in order. Raises FormError."""
    if len(text) > MAX_FORM:
        raise FormError(f"The request is longer than {MAX_FORM} characters.")
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise FormError("The request is not a form of name=value pairs in UTF-8.") from None


async def form(request: Request) -> list[tuple[str, str]]:
    """The fields of the urlencoded form in the body. Raises FormError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormError("Send the form as application/x-www-form-urlencoded.")
    return pairs((await body_of(request)).decode("latin-1"))


async def body_of(request: Request) -> bytes:
    """The body of at most :data:`MAX_FORM` bytes. Raises FormError."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise FormError(f"The body is larger than {MAX_FORM} bytes.")
    return body


def single(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The fields by name. Raises FormError for one that is there twice (RFC 6749 §3.1)."""
    found: dict[str, str] = {}
    for name, value in fields:
        if name in found:
            raise FormError(f"The parameter {name[:40]!r} is there more than once.")
        found[name] = value
    return found
