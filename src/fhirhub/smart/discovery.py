"""What an app learns before anything else: https://hl7.org/fhir/smart-app-launch/conformance.html.

``capability/smart-configuration.json`` is the document as it is rendered for a server that takes registrations; a test
holds the two equal. Rewrite it by ``python -m fhirhub.smart.discovery`` and look at the difference.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhirhub.packaged import folder
from fhirhub.settings import Settings
from fhirhub.smart.brands import identifier
from fhirhub.smart.categories import CATEGORIES
from fhirhub.smart.context import Smart
from fhirhub.smart.web import ANYONE, json_answer, origin_of, publish

EXAMPLE = "https://example.org"
"""Stands in the golden document where the server's own address goes."""
FILE = "smart-configuration.json"

CAPABILITIES = (
    "launch-ehr", "launch-standalone", "authorize-post",
    "client-public", "client-confidential-symmetric", "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner", "context-style", "context-ehr-patient", "context-ehr-encounter", "context-standalone-patient",
    "permission-offline", "permission-online", "permission-patient", "permission-user",
    "permission-v1", "permission-v2",
)  # fmt: skip
_LAUNCH = ("openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter", "offline_access",
           "online_access")  # fmt: skip
_LEVELS = ("patient", "user", "system")
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION_ALGORITHMS = ("RS384", "ES384")

_DISCOVERY = {**ANYONE, "Cache-Control": "public, max-age=60"}
STYLE = {
    "color_background": "#ffffff",
    "color_error": "#a4262c",
    "color_highlight": "#0b5cad",
    "color_modal_backdrop": "#00000066",
    "color_success": "#1d6f42",
    "color_text": "#1b1b1f",
    "dim_border_radius": "6px",
    "dim_font_size": "16px",
    "dim_spacing_size": "16px",
    "font_family_body": "system-ui, sans-serif",
    "font_family_heading": "system-ui, sans-serif",
}
"""How an app looks at home here: https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#styling."""


def scopes() -> list[str]:
    """Scopes that are understood and can be granted; those of single types follow from the wildcards."""
    granular = [
        f"{level}/{type}.rs?{query}"
        for level in _LEVELS[:2]
        for type, parts in CATEGORIES.items()
        for query, _ in parts
    ]
    return [
        *_LAUNCH,
        *(f"{level}/*.{letters}" for level in _LEVELS for letters in ("cruds", "rs")),
        *(f"{level}/*.{word}" for level in _LEVELS for word in ("*", "read", "write")),
        *granular,
    ]


def configuration(origin: str, settings: Settings) -> dict[str, Any]:
    """The SMART configuration of the server at ``origin``."""
    document = {
        "issuer": origin,
        "jwks_uri": f"{origin}/.well-known/jwks.json",
        "authorization_endpoint": f"{origin}/auth/authorize",
        "token_endpoint": f"{origin}/auth/token",
        "introspection_endpoint": f"{origin}/auth/introspect",
        "revocation_endpoint": f"{origin}/auth/revoke",
        "management_endpoint": f"{origin}/auth/manage",
        "user_access_brand_bundle": f"{origin}/branding.json",
        "user_access_brand_identifier": identifier(settings, origin),
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        "scopes_supported": scopes(),
        "capabilities": list(CAPABILITIES),
    }
    if settings.registration:
        document["registration_endpoint"] = f"{origin}/auth/register"
    return document


def openid_configuration(origin: str, settings: Settings) -> dict[str, Any]:
    """The OpenID provider's configuration: OpenID Connect Discovery 1.0 §3."""
    smart = configuration(origin, settings)
    shared = ("issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "introspection_endpoint",
              "revocation_endpoint", "registration_endpoint", "response_types_supported", "scopes_supported",
              "code_challenge_methods_supported", "authorization_response_iss_parameter_supported",
              "token_endpoint_auth_methods_supported",
              "token_endpoint_auth_signing_alg_values_supported")  # fmt: skip
    return {name: smart[name] for name in shared if name in smart} | {
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "prompt_values_supported": ["none", "login", "consent"],
    }


def rendered() -> bytes:
    """The golden document."""
    document = configuration(EXAMPLE, Settings(registration=True))
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def router(smart: Smart) -> APIRouter:
    """The routes of discovery."""
    routes = APIRouter()

    async def smart_configuration(request: Request) -> Response:
        document = configuration(origin_of(request, smart.settings), smart.settings)
        return json_answer(document, headers=_DISCOVERY)

    async def openid(request: Request) -> Response:
        document = openid_configuration(origin_of(request, smart.settings), smart.settings)
        return json_answer(document, headers=_DISCOVERY)

    async def style(request: Request) -> Response:
        return json_answer(STYLE, headers=_DISCOVERY)

    publish(routes, "/fhir/.well-known/smart-configuration", smart_configuration)
    publish(routes, "/.well-known/openid-configuration", openid)
    # RFC 8414 §3: the same server under the name that plain OAuth clients look for.
    publish(routes, "/.well-known/oauth-authorization-server", openid)
    publish(routes, "/smart-style.json", style)
    return routes


if __name__ == "__main__":
    (folder("capability") / FILE).write_bytes(rendered())
