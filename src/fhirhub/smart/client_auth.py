"""Which client sends a request, and the proof of it: RFC 6749 §2.3, RFC 7523 §3, SMART App Launch 2.2.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html#authenticating-to-the-token-endpoint
One way at a time: none (public apps), a secret by Basic or in the form, or a signed assertion. Whatever is wrong, the
answer is ``invalid_client``.
"""

from __future__ import annotations

import base64
import re
from binascii import Error
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote_plus

from starlette.requests import Request

from fhirhub.settings import is_loopback
from fhirhub.smart import jose
from fhirhub.smart.context import Smart
from fhirhub.smart.oauth import OAuthError, invalid_grant, invalid_request
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.clients import SIGNING, Client
from fhirhub.smart.web import origin_of

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN = "/auth/token"
ALGORITHMS = ("RS384", "ES384")
LONGEST = 300
"""Seconds that an assertion may be good for."""
SKEW = 30
"""Seconds that a client's clock may be off."""
_ID = re.compile(r"[ -~]{1,256}")
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Proof:
    """A client that has shown who it is. An assertion counts once its ``jti`` is spent, which the caller sees to."""

    client: Client
    jti: bytes | None = None
    """SHA-256 of the assertion's jti."""
    expires: int = 0
    """Until when the jti has to be remembered, microseconds."""


async def authenticate(smart: Smart, request: Request, fields: Mapping[str, str], path: str) -> Proof:
    """The client of a request to the endpoint ``path``. Raises OAuthError."""
    basic = request.headers.get("authorization")
    ways = [
        basic is not None,
        "client_secret" in fields,
        "client_assertion" in fields or "client_assertion_type" in fields,
    ]
    if sum(ways) > 1:
        raise invalid_request("A client shows who it is in one way, not several.")
    if len(request.headers.getlist("authorization")) > 1:
        raise invalid_request("There is more than one Authorization header.")
    if basic is not None:
        return await _by_secret(smart, *_basic(basic, fields), basic=True)
    if ways[1]:
        return await _by_secret(smart, fields.get("client_id", ""), fields["client_secret"], basic=False)
    if ways[2]:
        return await _by_assertion(smart, request, fields, path)
    client = await _named(smart, fields.get("client_id", "") or await _implied(smart, fields, path))
    if client is None or client.kind != "public":
        raise wrong("The client is unknown, or did not show who it is.")
    return Proof(client)


async def proven(smart: Smart, request: Request, fields: Mapping[str, str], path: str) -> Client:
    """The client of a request, its assertion spent. Raises OAuthError."""
    proof = await authenticate(smart, request, fields, path)
    if proof.jti is not None and not await grants.spend_jti(
        smart.lane, proof.client.id, proof.jti, proof.expires
    ):
        raise replayed()
    return proof.client


def wrong(description: str, *, basic: bool = False) -> OAuthError:
    """401 invalid_client; with the challenge that RFC 6749 §5.2 asks for when the client used the header."""
    headers = {"WWW-Authenticate": 'Basic realm="fhirhub", charset="UTF-8"'} if basic else {}
    return OAuthError("invalid_client", description, 401, headers)


def replayed() -> OAuthError:
    """An assertion came a second time."""
    return wrong("The assertion was used before; make a new one, with a new jti, for each request.")


async def _implied(smart: Smart, fields: Mapping[str, str], path: str) -> str:
    """The id of the client that holds the refresh token which is presented, when nothing else says who it is.

    A public app need not name itself to refresh (RFC 6749 §6; the SMART JavaScript library does not). The name of one
    proves nothing, the token does. Raises OAuthError for a token that is none.
    """
    handle = fields.get("refresh_token", "")
    if path != TOKEN or fields.get("grant_type") != "refresh_token" or not handle or "client_id" in fields:
        return ""
    found = await grants.client_of(smart.lane, handle)
    if found is None:
        raise invalid_grant("The refresh token is unknown, or was used, expired or revoked long ago.")
    return found


async def _named(smart: Smart, id: str) -> Client | None:
    client = await smart.clients.get(id) if _ID.fullmatch(id) else None
    return client if client is not None and client.active else None


async def _by_secret(smart: Smart, id: str, secret: str, *, basic: bool) -> Proof:
    client = await _named(smart, id)
    if client is None or client.kind != "symmetric" or len(secret) > 512 or not client.knows(secret):
        raise wrong("The client is unknown, or its secret is wrong.", basic=basic)
    return Proof(client)


def _basic(header: str, fields: Mapping[str, str]) -> tuple[str, str]:
    """Id and secret of a Basic header: each form-encoded, then joined, then base64 (RFC 6749 §2.3.1)."""
    scheme, _, packed = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        pair = base64.b64decode(packed.encode("ascii"), validate=True).decode("utf-8")
        id, colon, secret = pair.partition(":")
        if not colon:
            raise ValueError
        id, secret = (unquote_plus(part, errors="strict") for part in (id, secret))
    except (ValueError, Error):
        raise wrong("The Authorization header is no Basic one.", basic=True) from None
    if fields.get("client_id", id) != id:
        raise invalid_request("client_id and the Authorization header name different clients.")
    return id, secret


async def _by_assertion(smart: Smart, request: Request, fields: Mapping[str, str], path: str) -> Proof:
    if fields.get("client_assertion_type") != ASSERTION_TYPE:
        raise wrong(f"client_assertion_type must be {ASSERTION_TYPE}.")
    try:
        token = jose.parse(fields.get("client_assertion", ""))
        id = jose.text(token.claims, "iss", 256)
        if jose.text(token.claims, "sub", 256) != id:
            raise jose.Invalid("iss and sub must both be the client_id")
        if fields.get("client_id", id) != id:
            raise jose.Invalid("client_id is another client than that of the assertion")
        # Who gets a token for it is held against what is stored then; see Remembered.
        known = smart.remembered.get(id) if fields.get("grant_type") == "client_credentials" else None
        if known is not None and path == TOKEN:
            try:
                return await _signed(smart, request, token, known, path)
            except jose.Invalid:
                pass
        client = await smart.remembered.look_up(id) if _ID.fullmatch(id) else None
        if client is None or not client.active or client.kind not in SIGNING:
            raise jose.Invalid("the client is unknown, or is not one that signs")
        return await _signed(smart, request, token, client, path)
    except jose.Invalid as error:
        raise wrong(f"The client assertion is not accepted: {error}.") from None


async def _signed(smart: Smart, request: Request, token: jose.Unverified, client: Client, path: str) -> Proof:
    """The proof that ``client`` has made the assertion ``token``. Raises jose.Invalid."""
    _check_header(token, client)
    expires = _check_times(token, smart.clock() / _SECOND)
    issuer = _issuer(smart, request)
    if not {f"{issuer}{TOKEN}", f"{issuer}{path}"} & set(jose.audiences(token.claims)):
        raise jose.Invalid(f"aud must be {issuer}{TOKEN}")
    jti = jose.text(token.claims, "jti")
    jose.verify(token, await _keys(smart, client, token), ALGORITHMS)
    hashed = sha256(jti.encode("utf-8", "surrogatepass")).digest()
    return Proof(client, hashed, int(expires * _SECOND) + SKEW * _SECOND)


def _issuer(smart: Smart, request: Request) -> str:
    """Where we are, for ``aud``: never as a mere Host header says.

    Whoever runs another server that the client uses could otherwise send its assertion on to us, under their own name.
    """
    if smart.settings.base_url is None:
        server = request.scope.get("server") or ("",)
        host = request.url.hostname or ""
        if not (is_loopback(host) or host in (server[0], smart.settings.host)):
            raise jose.Invalid(
                "this server does not know its address; its operator has to set FHIRHUB_BASE_URL"
            )
    return smart.issuer(origin_of(request, smart.settings))


def _check_header(token: jose.Unverified, client: Client) -> None:
    if token.header.get("typ", "JWT").upper() != "JWT":
        raise jose.Invalid("typ in the header must be JWT")
    # The key set is the registered one; a header that names another one is an attempt to bring one's own keys.
    if "jku" in token.header and token.header["jku"] != client.jwks_url:
        raise jose.Invalid("jku in the header is not the registered address of the client's key set")
    if {"x5u", "x5c"} & token.header.keys():
        raise jose.Invalid("certificates in the header are not taken; register keys")


def _check_times(token: jose.Unverified, now: float) -> float:
    """When the assertion expires, in seconds."""
    expires = jose.moment(token.claims, "exp")
    if expires is None:
        raise jose.Invalid("exp is missing")
    if expires <= now:
        raise jose.Invalid("it has expired (exp)")
    if expires > now + LONGEST + SKEW:
        raise jose.Invalid(f"exp is more than {LONGEST} seconds ahead")
    for name in ("iat", "nbf"):
        begins = jose.moment(token.claims, name)
        if begins is not None and begins > now + SKEW:
            raise jose.Invalid(f"{name} is in the future")
    return expires


async def _keys(smart: Smart, client: Client, token: jose.Unverified) -> tuple[jose.Key, ...]:
    if client.jwks_url is not None:
        return await smart.key_sets.at(client.jwks_url, token.kid)
    return smart.remembered.keys(client)
