"""Apps that register themselves: RFC 7591. Off unless FHIRHUB_REGISTRATION=on.

Nobody has looked at such an app, so it may ask for a patient's own record only (``patient/`` scopes and sign-in), it is
told apart on the consent page, and an address may register a few an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhirhub.errors import BadRequest
from fhirhub.smart import asked
from fhirhub.smart.context import Smart
from fhirhub.smart.lockout import network
from fhirhub.smart.redirects import problem
from fhirhub.smart.storage.clients import UNCHECKED
from fhirhub.smart.web import NO_STORE, FormError, body_of, json_answer, oauth_error

DEFAULT_SCOPE = "openid fhirUser launch/patient offline_access patient/*.rs"
KINDS = {
    "none": "public",
    "client_secret_basic": "symmetric",
    "client_secret_post": "symmetric",
    "private_key_jwt": "asymmetric",
}
"""token_endpoint_auth_method -> kind of client."""
MAX_URIS = 20
LIMIT = (20, 3600, 86_400)
"""Registrations of an address that are free, seconds of the first pause, seconds of the longest."""
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]{1,80}")
"""No control characters, and none that are invisible or turn the direction of writing round."""


class _Bad(Exception):
    """Metadata that cannot be taken: RFC 7591 §3.2.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


def router(smart: Smart) -> APIRouter:
    """``/auth/register``, if it is switched on."""
    routes = APIRouter()
    if not smart.settings.registration:
        return routes

    async def register(request: Request) -> Response:
        try:
            return await _register(smart, request)
        except _Bad as bad:
            return oauth_error(bad.error, bad.description)

    routes.add_route("/auth/register", register, ["POST"])
    return routes


async def _register(smart: Smart, request: Request) -> Response:
    address = request.client.host if request.client else ""
    wait = await smart.people.sessions.charge({f"register {network(address)}": LIMIT})
    if wait:
        refused = oauth_error(
            "temporarily_unavailable", "Too many registrations from here; try again later.", 429
        )
        refused.headers["Retry-After"] = str(wait)
        return refused
    given = await _metadata(request)
    method = given.get("token_endpoint_auth_method", "client_secret_basic")
    if not isinstance(method, str) or method not in KINDS:
        raise _invalid(f"token_endpoint_auth_method is one of {', '.join(KINDS)}.")
    _check_flow(given)
    name, uris, scopes, (jwks, jwks_url) = (
        _name(given),
        _redirect_uris(given),
        _scope(given),
        _keys(given, method),
    )
    try:
        client, secret = await smart.clients.add(
            name=name, kind=KINDS[method], scopes=scopes, redirect_uris=uris, jwks=jwks, jwks_url=jwks_url,
            publisher=UNCHECKED,
        )  # fmt: skip
    except BadRequest as error:
        raise _invalid(str(error)) from None
    body = {
        "client_id": client.id,
        "client_id_issued_at": smart.clock() // 1_000_000,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": client.scopes,
        "token_endpoint_auth_method": method,
    }
    if secret is not None:
        body |= {"client_secret": secret, "client_secret_expires_at": 0}
    return json_answer(body, 201, NO_STORE)


async def _metadata(request: Request) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _invalid("Send the metadata as application/json.")
    try:
        given = orjson.loads(await body_of(request))
    except (orjson.JSONDecodeError, FormError):
        raise _invalid("The body is no JSON, or too large.") from None
    if not isinstance(given, dict):
        raise _invalid("The metadata is a JSON object.")
    return given


def _check_flow(given: Mapping[str, Any]) -> None:
    grants = given.get("grant_types", ["authorization_code"])
    if (
        not isinstance(grants, list)
        or not grants
        or not _within(grants, ("authorization_code", "refresh_token"))
    ):
        raise _invalid("grant_types may hold authorization_code and refresh_token.")
    if given.get("response_types", ["code"]) != ["code"]:
        raise _invalid("response_types may hold code only.")


def _within(given: list[Any], known: tuple[str, ...]) -> bool:
    return all(isinstance(one, str) and one in known for one in given)


def _name(given: Mapping[str, Any]) -> str:
    name = given.get("client_name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.strip() or not name.strip():
        raise _invalid("client_name is needed: 1 to 80 visible characters, as people are to read it.")
    return name


def _redirect_uris(given: Mapping[str, Any]) -> list[str]:
    uris = given.get("redirect_uris")
    if not isinstance(uris, list) or not 0 < len(uris) <= MAX_URIS:
        raise _Bad("invalid_redirect_uri", f"redirect_uris is a list of 1 to {MAX_URIS} URIs.")
    for uri in uris:
        why = problem(uri) if isinstance(uri, str) else "A redirect URI is a string."
        if why:
            raise _Bad("invalid_redirect_uri", why)
    return list(dict.fromkeys(uris))


def _scope(given: Mapping[str, Any]) -> str:
    text = given.get("scope", DEFAULT_SCOPE)
    if not isinstance(text, str) or len(text) > 4096:
        raise _invalid("scope is a string of at most 4096 characters.")
    kept = [word for word in asked.words(text) if asked.means_something(word) and not word.startswith(_STAFF)]
    if not any(asked.opens(word) for word in kept):
        raise _invalid(
            "scope names nothing that an app can register itself for: patient/ scopes, openid and the like."
        )
    return " ".join(kept)


_STAFF = ("user/", "system/")


def _keys(given: Mapping[str, Any], method: str) -> tuple[Mapping[str, Any] | None, str | None]:
    """``jwks`` and ``jwks_uri`` of an app that signs: one of them; none of any other."""
    jwks, uri = given.get("jwks"), given.get("jwks_uri")
    if method != "private_key_jwt":
        if jwks is not None or uri is not None:
            raise _invalid("jwks and jwks_uri go with token_endpoint_auth_method private_key_jwt only.")
        return None, None
    if (jwks is None) == (uri is None):
        raise _invalid("private_key_jwt needs jwks or jwks_uri, one of them.")
    if uri is not None:
        if not isinstance(uri, str) or problem(uri) or urlsplit(uri).scheme != "https":
            raise _invalid("jwks_uri is an https URL.")
        return None, uri
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise _invalid("jwks is a JSON Web Key Set.")
    return jwks, None


def _invalid(description: str) -> _Bad:
    return _Bad("invalid_client_metadata", description)
