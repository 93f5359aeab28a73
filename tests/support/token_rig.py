"""An authorization server with one client of each kind, and ways to its token endpoint."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
from fastapi import FastAPI

from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart import jose, routes
from fhirhub.smart.client_auth import ASSERTION_TYPE
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.grants.authorization_code import challenge_of
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import CodeRow, Context, new_handle
from fhirhub.smart.storage.clients import Client
from support.smart import EVERY, REDIRECT, Signer

ORIGIN = "http://testserver"
TOKEN = f"{ORIGIN}/auth/token"
SECOND = 1_000_000
SCOPES = "launch/patient openid fhirUser offline_access patient/Observation.rs patient/Patient.r"
VERIFIER = "v" * 43


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.micro = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.micro

    def pass_(self, seconds: float) -> None:
        self.micro += int(seconds * SECOND)


@dataclass
class TokenRig:
    """What a test of tokens needs."""

    smart: Smart
    http: httpx.AsyncClient
    clock: Clock
    doctor: Account
    patient: Account
    public: Client
    symmetric: Client
    secret: str
    asymmetric: Client
    backend: Client
    es: Signer
    rs: Signer
    events: list[Any] = field(default_factory=list)

    async def post(
        self, path: str, fields: Mapping[str, str | None], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A form; fields that are None are left out."""
        pairs = {name: value for name, value in fields.items() if value is not None}
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await self.http.post(path, content=urlencode(pairs), headers=kind | dict(headers or {}))

    async def token(
        self, fields: Mapping[str, str | None], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """A request to the token endpoint."""
        return await self.post("/auth/token", fields, headers)

    async def code(self, client: Client | None = None, **changed: Any) -> str:
        """A code for :data:`VERIFIER`, as if somebody had allowed :data:`SCOPES`."""
        account = changed.pop("of", self.doctor)
        good = {
            "client": (client or self.public).id,
            "redirect_uri": REDIRECT,
            "challenge": challenge_of(VERIFIER),
            "grant": new_handle(),
            "account": account.id,
            "fhir_user": account.fhir_user,
            "role": account.role,
            "scope": SCOPES,
            "context": Context(patient="p1"),
            "nonce": None,
            "session": None,
            "reason": "",
            "reason_until": 0,
            "signed_in": self.clock(),
        }
        return await authorizations.add_code(self.smart.lane, CodeRow(**(good | changed)), self.clock())

    async def exchanged(self, client: Client | None = None, **changed: Any) -> dict[str, Any]:
        """The tokens of a public client, straight away."""
        answer = await self.token(exchange(await self.code(client, **changed), client or self.public))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def assertion(self, client: Client, signer: Signer, **changed: Any) -> str:
        """A good assertion, except for ``changed`` claims; None leaves one out."""
        now = self.clock() // SECOND
        good = {
            "iss": client.id, "sub": client.id, "aud": TOKEN, "exp": now + 240, "iat": now,
            "jti": secrets.token_hex(8),
        }  # fmt: skip
        claims = {name: value for name, value in (good | changed).items() if value is not None}
        return jose.sign(claims, signer.pem, algorithm=signer.algorithm, kid=signer.kid)

    def signed(self, **changed: Any) -> dict[str, str]:
        """A good request of the backend service, except for ``changed`` claims."""
        return credentials(self.assertion(self.backend, self.es, **changed))

    async def usable(self, token: str) -> bool:
        """Whether an access token is good, as the introspection endpoint says."""
        answer = await self.post("/auth/introspect", {"token": token}, basic(self.symmetric.id, self.secret))
        return bool(answer.json()["active"])


def exchange(code: str, client: Client | None = None, **changed: str | None) -> dict[str, str | None]:
    """The fields of a good exchange of a code."""
    good = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
        "client_id": client.id if client else None,
    }  # fmt: skip
    return good | changed


def credentials(assertion: str, scope: str | None = "system/*.rs") -> dict[str, Any]:
    """The fields of a backend service's request."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": scope,
    }


def basic(id: str, secret: str) -> dict[str, str]:
    """Client id and secret as a Basic header."""
    pair = f"{quote_plus(id)}:{quote_plus(secret)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


@asynccontextmanager
async def token_rig(dsn: str, **changed: Any) -> AsyncIterator[TokenRig]:
    """The rig on an empty database."""
    clock, events = Clock(), list[Any]()

    async def audit(*event: Any) -> None:
        events.append(event)

    settings = Settings(database_url=dsn, **changed)
    smart = await open_smart(settings, keys=Keys(bytes(32)), clock=clock, hooks={"audit": audit})
    es, rs = Signer("ES384"), Signer("RS384")
    jwks = {"keys": [es.public, rs.public]}
    accounts, clients = smart.people.accounts, smart.clients
    web = {"redirect_uris": [REDIRECT], "scopes": EVERY}
    symmetric, secret = await clients.add(name="Symmetric", kind="symmetric", **web)
    assert secret is not None
    public, _ = await clients.add(name="Public", kind="public", **web)
    asymmetric, _ = await clients.add(name="Asymmetric", kind="asymmetric", jwks=jwks, **web)
    backend, _ = await clients.add(name="Backend", kind="backend", jwks=jwks, scopes="system/*.rs")
    app = FastAPI()
    app.include_router(routes.router(smart))
    doctor = await accounts.add("doc", "practitioner", "Practitioner/d1", "-")
    patient = await accounts.add("ada", "patient", "Patient/p1", "-")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN) as http:
        yield TokenRig(
            smart,
            http,
            clock,
            doctor,
            patient,
            public,
            symmetric,
            secret,
            asymmetric,
            backend,
            es,
            rs,
            events,
        )
    await smart.close()
