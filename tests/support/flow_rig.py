"""A practice with people and apps, for tests of authorization: what :mod:`support.flow` talks to."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from fhirhub.smart.context import Smart
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.clients import Client
from support.hostile_redirects import NATIVE, WEB

SECOND = 1_000_000
SCOPES = (
    "launch launch/patient launch/encounter openid fhirUser offline_access online_access patient/Observation.rs "
    "patient/Patient.rs patient/Condition.r user/Observation.rs"
)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.micro = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.micro

    def pass_(self, seconds: float) -> None:
        self.micro += int(seconds * SECOND)


class Found(NamedTuple):
    """A patient as the picker shows one."""

    id: str
    name: str
    birth_date: str


class Patients:
    """The patients of the practice; p3 is one that nobody here may see."""

    known = (
        Found("p1", "Ada Adams", "1970-01-02"),
        Found("p2", "Bo Baker", "1980-03-04"),
        Found("p3", "Hidden Hugo", ""),
    )

    async def find(self, account: Account, text: str, count: int) -> Sequence[Found]:
        return [one for one in self.known[:2] if text.lower() in one.name.lower()][:count]

    async def named(self, account: Account, id: str) -> Found | None:
        return next((one for one in self.known[:2] if one.id == id), None)


@dataclass
class Rig:
    """People and apps; ``events`` is what was put on record."""

    smart: Smart
    app: FastAPI
    clock: Clock
    patient: Account
    other_patient: Account
    doctor: Account
    web: Client
    native: Client
    confidential: Client
    backend: Client
    ended: Client
    events: list[tuple[str, Any, int, dict[str, Any]]] = field(default_factory=list)

    @property
    def web_uri(self) -> str:
        return WEB[0]

    async def add_client(self, name: str, kind: str, uris: Sequence[str], **more: Any) -> Client:
        return await add_client(self.smart, name, kind, uris, **more)


async def add_client(smart: Smart, name: str, kind: str, uris: Sequence[str], **more: Any) -> Client:
    scopes = more.pop("scopes", SCOPES)
    client, _ = await smart.clients.add(
        name=name, kind=kind, redirect_uris=tuple(uris), scopes=scopes, **more
    )
    return client


async def furnish(smart: Smart, app: FastAPI, clock: Clock, events: list[Any]) -> Rig:
    """The practice."""
    accounts = smart.people.accounts
    ended = await add_client(smart, "Ended", "public", WEB)
    await smart.clients.deactivate(ended.id)
    jwks = {"keys": [public_key()]}
    return Rig(
        smart=smart,
        app=app,
        clock=clock,
        patient=await accounts.add("ada", "patient", "Patient/p1", "-"),
        other_patient=await accounts.add("bo", "patient", "Patient/p2", "-"),
        doctor=await accounts.add("doc", "practitioner", "Practitioner/d1", "-"),
        web=await add_client(smart, "Weight Watch", "public", WEB, launch_url="https://app.example/launch"),
        native=await add_client(
            smart,
            "Native",
            "public",
            NATIVE,
            scopes="patient/*.rs openid fhirUser offline_access launch/patient",
        ),
        confidential=await add_client(
            smart, "<script>alert(1)</script>", "symmetric", ["http://127.0.0.1/web"]
        ),
        backend=await add_client(smart, "Backend", "backend", [], scopes="system/*.rs", jwks=jwks),
        ended=ended,
        events=events,
    )


def public_key() -> dict[str, str]:
    """A new public key as a JWK."""
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    x, y = (
        urlsafe_b64encode(one.to_bytes(48, "big")).rstrip(b"=").decode() for one in (numbers.x, numbers.y)
    )
    return {"kty": "EC", "crv": "P-384", "kid": "1", "alg": "ES384", "use": "sig", "x": x, "y": y}
