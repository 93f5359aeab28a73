"""Access tokens of another provider that the practice trusts: JWTs (RFC 9068), verified with its published keys.

This server is then its resource server. What the token says of the person is an account of ours, which has to be there
and active: role, person in the record and the right to be here are decided here, with every request.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fhirhub.auth.grant import Grant
from fhirhub.auth.scope import Scope, ScopeError, known
from fhirhub.settings import SettingsError
from fhirhub.smart import jose
from fhirhub.smart.address import fhir_base
from fhirhub.smart.bearer import refused
from fhirhub.smart.context import Smart
from fhirhub.smart.egress import Egress, Refused
from fhirhub.smart.jwks import KeySets
from fhirhub.smart.storage import tokens
from fhirhub.smart.storage.accounts import normalised
from fhirhub.store.engine import Lane

ALGORITHMS = ("RS256", "RS384", "ES256", "ES384")
TYPES = ("", "JWT", "AT+JWT", "APPLICATION/AT+JWT")
SKEW = 30.0
KEPT = 2048
DISCOVERY = 3600 * 1_000_000
"""How long the address of the provider's keys is kept, microseconds."""
AGAIN = 10 * 1_000_000
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verified token says; good until ``expires`` (seconds)."""

    id: str
    username: str
    client: str
    scopes: tuple[Scope, ...]
    patient: str | None
    expires: float


class Trusted:
    """The tokens of ``issuer`` that are meant for ``audience``; ``claim`` holds the username of the account."""

    def __init__(
        self,
        lane: Lane,
        egress: Egress,
        key_sets: KeySets,
        clock: Callable[[], int],
        *,
        issuer: str,
        audience: str,
        claim: str = "sub",
    ) -> None:
        self._lane = lane
        self._egress = egress
        self._key_sets = key_sets
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._claim = claim
        self._kept: OrderedDict[bytes, Verified] = OrderedDict()
        self._keys_at = ""
        self._asked = 0

    def is_foreign(self, token: str) -> bool:
        """Whether a token is a JWT: our own ones have no dots."""
        return "." in token

    async def grant(self, token: str) -> Grant:
        """What the token stands for now. Raises Unauthorized."""
        try:
            found = await self._verified(token)
        except jose.Invalid as error:
            raise refused(f"The access token is not accepted: {error}.") from None
        row = await tokens.account(self._lane, found.username, found.client)
        if row is None or row["client_active"] is False:
            raise refused("The access token is of nobody who is let in here.")
        return Grant(
            id=found.id,
            kind="user",
            scopes=found.scopes,
            client=found.client,
            client_name=row["client_name"] or found.client,
            user=row["username"],
            fhir_user=row["fhir_user"],
            role=row["role"],
            patient=found.patient,
            issuer=self._issuer,
            client_policy=json.loads(row["policy"]) if row["policy"] else None,
            stamp=(row["version"] + row["client_version"], row["consents"]),
        )

    async def _verified(self, token: str) -> Verified:
        now, key = self._clock() / _SECOND, sha256(token.encode()).digest()
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = await self._verify(token, key, now)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        if found.expires <= now:
            raise jose.Invalid("it has expired (exp)")
        return found

    async def _verify(self, token: str, key: bytes, now: float) -> Verified:
        """The token, its signature checked: RFC 9068 §4."""
        parsed = jose.parse(token)
        claims = parsed.claims
        if jose.text(claims, "iss") != self._issuer:
            raise jose.Invalid("it is of an issuer that is not trusted")
        if parsed.header.get("typ", "").upper() not in TYPES:
            raise jose.Invalid("typ in the header is that of another kind of token")
        if self._audience not in jose.audiences(claims):
            raise jose.Invalid("it is meant for another server (aud)")
        expires = jose.moment(claims, "exp")
        if expires is None:
            raise jose.Invalid("exp is missing")
        for name in ("nbf", "iat"):
            if (begins := jose.moment(claims, name)) is not None and begins > now + SKEW:
                raise jose.Invalid(f"{name} is in the future")
        jose.verify(parsed, await self._key_sets.at(await self._key_url(), parsed.kid), ALGORITHMS)
        return Verified(
            id=f"jwt-{key.hex()[:32]}",
            username=_username(claims, self._claim),
            client=jose.text(claims, "client_id" if "client_id" in claims else "azp", 256),
            scopes=_scopes(claims),
            patient=jose.text(claims, "patient", 64) if "patient" in claims else None,
            expires=expires,
        )

    async def _key_url(self) -> str:
        """Where the issuer publishes its keys: OpenID Connect Discovery §4."""
        now = self._clock()
        if not self._keys_at or now > self._asked + DISCOVERY:
            if self._asked and now < self._asked + AGAIN:
                raise jose.Invalid("the keys of its issuer cannot be had at the moment")
            self._asked = now
            self._keys_at = await self._discovered()
        return self._keys_at

    async def _discovered(self) -> str:
        try:
            answer = await self._egress.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            document = json.loads(answer.body)
        except (Refused, ValueError, RecursionError):
            raise jose.Invalid("the configuration of its issuer cannot be had") from None
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise jose.Invalid("the configuration of its issuer is another one's")
        return jose.text(document, "jwks_uri", 2048)


def trusted(smart: Smart) -> Trusted | None:
    """What the settings say of a trusted provider; None when there is none. Raises SettingsError."""
    settings = smart.settings
    if settings.trusted_issuer is None:
        return None
    audience = settings.trusted_audience or (settings.base_url and fhir_base(settings.base_url))
    if not audience:
        text = "FHIRHUB_TRUSTED_ISSUER needs FHIRHUB_TRUSTED_AUDIENCE or FHIRHUB_BASE_URL: what its tokens have in aud."
        raise SettingsError(text)
    return Trusted(
        smart.lane, smart.egress, smart.key_sets, smart.clock,
        issuer=settings.trusted_issuer, audience=audience, claim=settings.trusted_claim,
    )  # fmt: skip


def _username(claims: Mapping[str, Any], name: str) -> str:
    """The username in the claim ``name``.

    Letters that only look like, or are made into, those of a username are no way to somebody else's account: to the
    provider they name another person. Nor is an address of e-mail that it has not verified.
    """
    told = jose.text(claims, name, 256)
    if not told.isascii() or told != told.strip():
        raise jose.Invalid(f"{name} holds characters that no username has")
    if name == "email" and claims.get("email_verified") is not True:
        raise jose.Invalid("email is not verified (email_verified)")
    return normalised(told)


def _scopes(claims: Mapping[str, Any]) -> tuple[Scope, ...]:
    """``scope`` as a text (RFC 9068 §2.2.3) or, as some providers have it, ``scp`` as a list. system/ counts not here."""
    told = claims.get("scope", claims.get("scp", ""))
    text = " ".join(told) if isinstance(told, list) and all(isinstance(one, str) for one in told) else told
    if not isinstance(text, str):
        raise jose.Invalid("scope is no text")
    try:
        scopes, _ = known(text)
    except ScopeError:
        raise jose.Invalid("scope is longer than is taken") from None
    return tuple(scope for scope in scopes if scope.level != "system")
