"""What the token, introspection and revocation endpoints share: errors, answers, and pages that may call them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fhirhub.errors import FhirError
from fhirhub.exchange import Caller
from fhirhub.smart.context import Smart
from fhirhub.smart.origins import ORIGIN
from fhirhub.smart.web import NO_STORE, FormError, form, json_answer, single

_LOOPBACK = re.compile(r"https?://(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
_UNPRINTABLE = re.compile(r"[^ !#-\[\]-~]")
"""What error_description must not hold: RFC 6749 §5.2."""
Handler = Callable[[Request, Mapping[str, str]], Awaitable[Mapping[str, Any]]]


class OAuthError(Exception):
    """A refusal: RFC 6749 §5.2. ``about`` is for the audit trail (the client that was named, if it is known)."""

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer to the client."""
        body = {"error": self.error, "error_description": _UNPRINTABLE.sub("'", self.description)}
        return json_answer(body, self.status, NO_STORE | self.headers)


def invalid_grant(description: str) -> OAuthError:
    """The code or refresh token is not good (any more)."""
    return OAuthError("invalid_grant", description)


def invalid_request(description: str) -> OAuthError:
    """The request itself is malformed."""
    return OAuthError("invalid_request", description)


def endpoint(smart: Smart, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A route that takes a form by POST and answers JSON that nobody keeps; preflights of registered pages, too."""

    async def route(request: Request) -> Response:
        if request.method == "OPTIONS":
            response = Response(status_code=204)
        else:
            response = await _answered(request, handle)
        response.headers.update(await crossing(smart, request))
        return response

    return route


async def _answered(request: Request, handle: Handler) -> Response:
    try:
        try:
            fields = single(await form(request))
        except FormError as error:
            raise invalid_request(str(error)) from None
        return json_answer(await handle(request, fields), headers=NO_STORE)
    except OAuthError as error:
        return error.response()
    except FhirError as error:
        code = "temporarily_unavailable" if error.status == 503 else "server_error"
        return OAuthError(code, "This cannot be done at the moment.", error.status, error.headers).response()


async def crossing(smart: Smart, request: Request) -> dict[str, str]:
    """CORS headers for the pages that may call: those of the settings, and of registered apps. Cookies never count."""
    origin = request.headers.get("origin", "")
    if not ORIGIN.fullmatch(origin):
        return {}
    origins = smart.settings.cors_origins
    known = "*" in origins or origin in origins or ("loopback" in origins and _LOOPBACK.fullmatch(origin))
    if not known and not await smart.origins.registered(origin):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept, X-Request-Id",
        "Access-Control-Expose-Headers": "WWW-Authenticate, X-Request-Id, Retry-After",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


async def note(
    smart: Smart, request: Request, event: str, outcome: int, who: Caller, detail: Mapping[str, Any]
) -> None:
    """Put ``event`` on record; ``outcome`` 0 done, 4 refused."""
    if smart.audit is not None:
        await smart.audit(event, who, outcome, dict(detail))


def address(request: Request) -> str:
    """The network address the request came from."""
    return request.client.host if request.client else ""
