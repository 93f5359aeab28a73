"""Our own signatures: id_tokens (OpenID Connect Core §2, RS256) and the key set they are checked with.

The private key stands sealed in the database, under a key derived from the master key, which does not: every worker
signs with the same key, and a copy of the database signs nothing.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fhirhub.errors import FhirError, Issue
from fhirhub.keys import Keys
from fhirhub.smart import jose
from fhirhub.smart.storage import signing
from fhirhub.smart.storage.signing import SigningKey
from fhirhub.store.engine import Lane

ALGORITHM = "RS256"
BITS = 2048
PUBLISHED_AFTER = 30 * 86_400 * 1_000_000
"""How long a retired key stays in the key set: longer than anything that it signed is good for."""


class Signing:
    """Signs with the current key, which is made when it is first needed."""

    def __init__(self, lane: Lane, keys: Keys, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._cipher = AESGCM(keys.derive("signing keys"))
        self._clock = clock
        self._opened: dict[str, str] = {}

    async def sign(self, claims: Mapping[str, Any]) -> str:
        """A JWT of ``claims``."""
        key = await signing.current(self._lane, ALGORITHM) or await self._make(unless_there=True)
        return await asyncio.to_thread(jose.sign, claims, self._open(key), algorithm=key.alg, kid=key.kid)

    async def public(self) -> dict[str, Any]:
        """The key set to publish (RFC 7517 §5): bare keys, no certificates."""
        if await signing.current(self._lane, ALGORITHM) is None:
            await self._make(unless_there=True)
        found = await signing.published(self._lane, self._clock() - PUBLISHED_AFTER)
        return {"keys": [dict(key.public) for key in found]}

    async def rotate(self) -> SigningKey:
        """Sign with a new key from now on; the old one stays published for a while."""
        return await self._make(unless_there=False)

    async def all(self) -> list[SigningKey]:
        """The keys that are published."""
        return await signing.published(self._lane, self._clock() - PUBLISHED_AFTER)

    async def _make(self, *, unless_there: bool) -> SigningKey:
        private = await asyncio.to_thread(rsa.generate_private_key, 65537, BITS)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        kid, nonce, numbers = (
            secrets.token_hex(8),
            secrets.token_bytes(12),
            private.public_key().public_numbers(),
        )
        public = {
            "kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": kid,
            "n": _number(numbers.n), "e": _number(numbers.e),
        }  # fmt: skip
        sealed = nonce + self._cipher.encrypt(nonce, pem, kid.encode())
        key = SigningKey(kid, ALGORITHM, public, sealed, self._clock(), None)
        return await signing.replace(self._lane, key, unless_there=unless_there)

    def _open(self, key: SigningKey) -> str:
        found = self._opened.get(key.kid)
        if found is None:
            try:
                pem = self._cipher.decrypt(key.private[:12], key.private[12:], key.kid.encode())
            except InvalidTag:
                text = "The signing key was sealed with another master key; restore that, or 'fhirhub keys rotate'."
                raise FhirError(Issue("exception", text)) from None
            found = self._opened[key.kid] = pem.decode()
        return found


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()
