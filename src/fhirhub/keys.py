"""The master key of an installation, and the keys derived from it. It never stands in the database.

A copy of the database alone can therefore neither sign tokens, open wrapped signing keys, nor forge the audit chain.
"""

from __future__ import annotations

import os
import secrets
from binascii import Error, unhexlify
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fhirhub.settings import Settings, SettingsError

FILE = "master.key"
LENGTH = 32


class Keys:
    """Keys for separate purposes, all from one master key."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def derive(self, purpose: str) -> bytes:
        """32 bytes for ``purpose``; always the same ones, and of no use for any other purpose."""
        return HKDF(SHA256(), LENGTH, None, f"fhirhub {purpose}".encode()).derive(self._master)


def load(settings: Settings) -> Keys:
    """The keys of this installation: FHIRHUB_MASTER_KEY, else a file in the data directory, made when first needed.

    Any number of processes may ask at once. Raises SettingsError for a key that cannot be used.
    """
    if settings.master_key is not None:
        return Keys(_decoded(settings.master_key, "FHIRHUB_MASTER_KEY"))
    path = settings.data_dir / FILE
    try:
        if not path.exists():
            _make(path)
        return Keys(_decoded(path.read_text("ascii"), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The master key {path} cannot be read: {error}") from error


def _decoded(text: str, name: str) -> bytes:
    try:
        key = unhexlify(text.strip())
    except (Error, ValueError):
        key = b""
    if len(key) != LENGTH:
        raise SettingsError(
            f"{name} is not a key: {LENGTH * 2} hexadecimal digits, as of 'openssl rand -hex 32'."
        )
    return key


def _make(path: Path) -> None:
    """Write a new key beside and link it into place, so that of several processes one wins and none reads half."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(LENGTH) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink(missing_ok=True)
