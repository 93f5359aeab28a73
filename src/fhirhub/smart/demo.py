"""People and apps of the demo practice: one login for each role, an app and a system, so that a first look needs no
setting up.

Their passwords come from the installation's master key: they can be shown again at each start, and are not the same
everywhere. A server that others can reach must not start while such an account is active; see :func:`has_demo`.
"""

from __future__ import annotations

import re
from base64 import b32encode, urlsafe_b64encode
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from fhirhub.errors import Conflict, Issue
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.people import People, now
from fhirhub.smart.storage.accounts import Accounts
from fhirhub.smart.storage.clients import Client, Clients
from fhirhub.store.engine import Lane

LOGINS = (
    ("demo-clinician", "practitioner", "Practitioner/demo-dr-hale"),
    ("demo-frontdesk", "frontdesk", None),
    ("demo-biller", "biller", None),
    ("demo-patient", "patient", "Patient/demo-patient-01"),
    ("demo-admin", "admin", None),
)
"""Username, role, and who of the demo practice it is."""
APP, SYSTEM = "demo-app", "demo-lab"
"""``client_id`` of the sample app, which runs in the browser, and of a laboratory's system."""
APP_PATH = "/sample/"
"""Where the sample app lies on this server: its redirect URI, and below it ``launch.html``."""
APP_SCOPES = "launch launch/patient openid fhirUser offline_access online_access patient/*.rs user/Patient.rs user/Observation.rs"
SYSTEM_SCOPES = (
    "system/Patient.rs system/ServiceRequest.rs system/Observation.crus system/DiagnosticReport.crus"
)
_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
"""Of the group of P-384 (SEC 2 v2 §2.5.1)."""


@dataclass(frozen=True, slots=True)
class Login:
    """A demo login that works."""

    username: str
    role: str
    password: str


def password(keys: Keys, username: str) -> str:
    """The password of a demo account: 80 bits, the same at every start of this installation."""
    letters = b32encode(keys.derive(f"demo login {username}")[:10]).decode().lower()
    return "-".join(re.findall("....", letters))


async def ensure_people(people: People, keys: Keys) -> int:
    """Make the demo accounts that are not there yet; how many that were."""
    made = 0
    for username, role, fhir_user in LOGINS:
        if await people.accounts.by_name(username) is not None:
            continue
        stored = await people.passwords.hash(password(keys, username))
        try:
            await people.accounts.add(username, role, fhir_user, stored, demo=True)
        except Conflict:  # another process was faster
            continue
        made += 1
    return made


async def ensure_clients(clients: Clients, keys: Keys) -> int:
    """Register the sample app and the laboratory's system, if they are not there yet; how many that were."""
    made = 0
    if await clients.get(APP) is None:
        await clients.add(
            id=APP,
            name="Vitals over time",
            publisher="fhirhub demo",
            kind="public",
            # Without a port: an app on this machine may take any.
            redirect_uris=(f"http://127.0.0.1{APP_PATH}",),
            launch_url=f"http://127.0.0.1{APP_PATH}launch.html",
            scopes=APP_SCOPES,
            demo=True,
        )
        made += 1
    if await clients.get(SYSTEM) is None:
        public = {name: value for name, value in system_key(keys).items() if name != "d"}
        await clients.add(
            id=SYSTEM,
            name="Harbor Laboratory",
            publisher="fhirhub demo",
            kind="backend",
            jwks={"keys": [public]},
            scopes=SYSTEM_SCOPES,
            demo=True,
        )
        made += 1
    return made


def system_key(keys: Keys) -> dict[str, str]:
    """The private key of the laboratory's system (P-384, for ES384) as JWK; like the passwords, from the master key."""
    drawn = int.from_bytes(keys.derive("demo system key 1") + keys.derive("demo system key 2"), "big")
    # FIPS 186-5 A.2.1: 128 bits more than the order has, so that the remainder is as good as uniform.
    value = drawn % (_ORDER - 1) + 1
    point = ec.derive_private_key(value, ec.SECP384R1()).public_key().public_numbers()
    numbers = {"x": point.x, "y": point.y, "d": value}
    return {"kty": "EC", "crv": "P-384", "kid": SYSTEM, "alg": "ES384", "use": "sig"} | {
        name: urlsafe_b64encode(number.to_bytes(48, "big")).decode().rstrip("=")
        for name, number in numbers.items()
    }


async def has_app(clients: Clients) -> bool:
    """Whether the sample app is registered, and nobody has deactivated it."""
    client = await clients.get(APP)
    return client is not None and client.active and client.demo


def launch_url(client: Client, origin: str) -> str | None:
    """Where ``client`` is started from the record at ``origin``.

    The sample app lies on whatever port the server has now, not on the one it had when it was registered.
    """
    if client.demo and client.id == APP:
        return f"{origin}{APP_PATH}launch.html"
    return client.launch_url


async def has_demo(lane: Lane) -> list[str]:
    """Usernames of active accounts with a demo password."""
    return await Accounts(lane, now).demo_names()


def check_public(settings: Settings, name: str, is_demo: bool) -> None:
    """Raise Conflict for an account or app of the demo, where others can reach the server."""
    if is_demo and not settings.is_local:
        text = f"{name} is of the demo, and others can reach this server: it cannot be activated."
        raise Conflict(Issue("conflict", text))


async def logins(lane: Lane, keys: Keys) -> list[Login]:
    """The demo logins that work, to be shown on the machine itself only."""
    active = set(await has_demo(lane))
    return [Login(name, role, password(keys, name)) for name, role, _ in LOGINS if name in active]
