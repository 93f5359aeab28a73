"""The second factor: time-based codes of an authenticator app (RFC 6238), and recovery codes.

A secret is stored sealed under a key that is not in the database; a code is good once; recovery codes are stored as
hashes, which suffices for secrets of 80 random bits.
"""

from __future__ import annotations

import hmac
import io
import re
import secrets

import pyotp
import segno
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhirhub.keys import Keys
from fhirhub.smart.storage.accounts import Account, Accounts
from fhirhub.smart.storage.sessions import hashed

STEP = 30
"""Seconds a code lasts."""
DRIFT = 1
"""Steps a clock may be off, each way."""
CODES = 10
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_MICRO = 1_000_000


class Totp:
    """Secrets and their codes."""

    def __init__(self, keys: Keys) -> None:
        self._cipher = AESGCM(keys.derive("totp"))

    def seal(self, account: str, secret: str) -> bytes:
        """``secret`` as it is stored, bound to the account with this id."""
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), account.encode())

    def unseal(self, account: str, sealed: bytes) -> str | None:
        """The secret; None when it was sealed under another key or for another account."""
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], account.encode()).decode()
        except InvalidTag:
            return None

    async def spend(self, accounts: Accounts, account: Account, code: str, now: int) -> bool:
        """Whether ``code`` is a fresh one of the authenticator app or an unused recovery code; it is used up."""
        typed = re.sub(r"[\s-]", "", code[:64]).lower()
        if re.fullmatch(r"[0-9]{6}", typed):
            secret = self.unseal(account.id, account.totp) if account.totp else None
            step = matching_step(secret, typed, now) if secret else None
            return step is not None and await accounts.spend_step(account.id, step)
        if re.fullmatch(rf"[{_ALPHABET}]{{16}}", typed):
            return await accounts.spend_code(account.id, hashed(typed))
        return False


def new_secret() -> str:
    """A secret for an authenticator app, base32."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, now: int) -> int | None:
    """The time step (of microseconds ``now``) that ``code`` belongs to, within the drift; None when to none."""
    generator = pyotp.TOTP(secret, interval=STEP)
    current = now // (STEP * _MICRO)
    found = None
    for step in range(current - DRIFT, current + DRIFT + 1):
        if hmac.compare_digest(generator.at(step * STEP), code):
            found = step
    return found


def address(secret: str, username: str, issuer: str) -> str:
    """The ``otpauth:`` address an authenticator app reads from the picture."""
    return pyotp.TOTP(secret, interval=STEP).provisioning_uri(name=username, issuer_name=issuer)


def picture(text: str) -> str:
    """A QR code as SVG, to stand in a page."""
    made = io.BytesIO()
    segno.make(text, error="m").save(
        made, kind="svg", scale=4, xmldecl=False, svgns=True, dark="#000", light="#fff", title="QR code"
    )
    return made.getvalue().decode()


def recovery_codes() -> tuple[list[str], list[bytes]]:
    """Fresh recovery codes: as shown once, and as stored."""
    drawn = ["".join(secrets.choice(_ALPHABET) for _ in range(16)) for _ in range(CODES)]
    return ["-".join(re.findall("....", code)) for code in drawn], [hashed(code) for code in drawn]
