"""Opaque, sealed values for links: readable only by this store, and free of patient data for everybody else."""

from __future__ import annotations

import base64
import binascii
import json
import os
import zlib
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhirhub.errors import BadRequest, Issue

MAX_LENGTH = 60_000
"""Characters of a sealed value: no link is longer than a query string may be."""
LARGE = 2000
"""Bytes from which on a value is compressed (JSON never begins with the ``x`` of zlib)."""
NONCE = 12
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Sealer:
    """AES-GCM under a key of the store."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: Any, purpose: str) -> str:
        """``value`` (JSON, infinities too) as URL-safe text; ``purpose`` must be named again to open it."""
        nonce = os.urandom(NONCE)
        text = _encode(value).encode()
        if len(text) > LARGE:
            text = zlib.compress(text)
        sealed = nonce + self._cipher.encrypt(nonce, text, purpose.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str, purpose: str) -> Any:
        """The sealed value. Raises BadRequest for anything this store did not seal for ``purpose``."""
        try:
            if len(text) > MAX_LENGTH:
                raise ValueError
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
            opened = self._cipher.decrypt(raw[:NONCE], raw[NONCE:], purpose.encode())
            return json.loads(zlib.decompress(opened) if opened[:1] == b"x" else opened)
        except (ValueError, UnicodeEncodeError, binascii.Error, InvalidTag):
            raise BadRequest(
                Issue("invalid", "The page link is not one of this server; start again from the first page.")
            ) from None
