"""Accounts, clients and grants made straight in the store, and a token to send: for tests of what comes after."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fhirhub.errors import Conflict
from fhirhub.smart.people import now
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.accounts import Account, Accounts
from fhirhub.smart.storage.authorizations import Context, new_handle
from fhirhub.smart.storage.clients import Client, Clients
from fhirhub.smart.storage.grants import GrantRow
from fhirhub.store.engine import Lane

SECOND = 1_000_000
REDIRECT = "https://app.example/callback"
EVERY = "patient/*.cruds user/*.cruds launch launch/patient launch/encounter openid fhirUser offline_access online_access"


@asynccontextmanager
async def lane_to(dsn: str) -> AsyncIterator[Lane]:
    """A lane for a moment."""
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        yield lane
    finally:
        await lane.close()


async def issue(
    dsn: str,
    scopes: str = "user/*.cruds",
    *,
    patient: str | None = None,
    encounter: str | None = None,
    role: str = "practitioner",
    fhir_user: str | None = "Practitioner/1",
    username: str | None = None,
    client: str | None = None,
    client_id: str | None = None,
    policy: Mapping[str, Any] | None = None,
    reason: str = "",
    seconds: float = 3600,
    clock: Any = now,
) -> str:
    """An access token for ``scopes``: of a person, or of a backend system when they are ``system/`` ones.

    The account (``username``, else one for the role and person) is made if it is not there, and a new client with the
    name ``client`` unless ``client_id`` names one. Send the token by :func:`bearer`.
    """
    async with lane_to(dsn) as lane:
        system = "system/" in scopes
        if role == "patient" and (fhir_user or "").startswith("Practitioner"):
            fhir_user = f"Patient/{patient or '1'}"
        person = None if system else await account(lane, role, fhir_user, username)
        app = await Clients(lane, clock).named(client_id) if client_id else None
        app = app or await a_client(lane, client, "backend" if system else "public", policy)
        at = clock()
        until = at + int(seconds * SECOND)
        row = GrantRow(
            id=new_handle(), client=app.id, account=person.id if person else None, scopes=scopes,
            context=Context(patient=patient, encounter=encounter), access="none", session=None, reason=reason,
            nonce=None, signed_in=None, created=at, expires=until, reason_until=until if reason else 0,
        )  # fmt: skip
        await grants.create(lane, row)
        return (await grants.issue(lane, row.id, "access", at, until)).handle


def bearer(token: str) -> dict[str, str]:
    """The header that carries ``token``."""
    return {"Authorization": f"Bearer {token}"}


async def account(lane: Lane, role: str, fhir_user: str | None, username: str | None = None) -> Account:
    """The account ``username``, made if it is not there; it cannot sign in."""
    name = username or f"{role}-{(fhir_user or 'nobody').replace('/', '-').lower()}"
    accounts = Accounts(lane, now)
    found = await accounts.by_name(name)
    if found is None:
        try:
            found = await accounts.add(name, role, fhir_user, "-")
        except Conflict:
            found = await accounts.by_name(name)
    assert found is not None
    return found


async def a_client(
    lane: Lane, name: str | None = None, kind: str = "public", policy: Mapping[str, Any] | None = None
) -> Client:
    """A new client that may have everything; of the kind backend with a key that nobody has."""
    clients = Clients(lane, now)
    if kind == "backend":
        made, _ = await clients.add(
            name=name or "Some system", kind=kind, scopes="system/*.cruds", policy=policy, jwks=Signer().jwks
        )
    else:
        made, _ = await clients.add(
            name=name or "Some app", kind=kind, scopes=EVERY, redirect_uris=(REDIRECT,), policy=policy
        )
    return made


class Signer:
    """A client's key pair: ``pem`` signs, ``jwks`` is what it registers."""

    def __init__(self, algorithm: str = "ES384", kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = kid or secrets.token_hex(4)
        self.private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if algorithm.startswith("ES"):
            curve: ec.EllipticCurve = ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1()
            self.private = ec.generate_private_key(curve)
            numbers = self.private.public_key().public_numbers()
            size = (curve.key_size + 7) // 8
            self.public = {
                "kty": "EC", "crv": "P-384" if algorithm == "ES384" else "P-256", "kid": self.kid, "alg": algorithm,
                "use": "sig", "x": b64(numbers.x.to_bytes(size)), "y": b64(numbers.y.to_bytes(size)),
            }  # fmt: skip
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            parts = self.private.public_key().public_numbers()
            self.public = {
                "kty": "RSA", "kid": self.kid, "alg": algorithm, "use": "sig",
                "n": b64(parts.n.to_bytes(256)), "e": b64(parts.e.to_bytes(3)),
            }  # fmt: skip
        self.pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key set."""
        return {"keys": [self.public]}


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
