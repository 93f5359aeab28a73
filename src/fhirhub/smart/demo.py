"""People and apps of the demo practice: one login for each role, so that a first look needs no setting up.

Their passwords come from the installation's master key: they can be shown again at each start, and are not the same
everywhere. A server that others can reach must not start while such an account is active; see :func:`has_demo`.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass

from fhirhub.errors import Conflict
from fhirhub.keys import Keys
from fhirhub.smart.people import People, now
from fhirhub.smart.storage.accounts import Accounts
from fhirhub.store.engine import Lane

LOGINS = (
    ("demo-clinician", "practitioner", "Practitioner/demo-dr-hale"),
    ("demo-frontdesk", "frontdesk", None),
    ("demo-biller", "biller", None),
    ("demo-patient", "patient", "Patient/demo-patient-01"),
    ("demo-admin", "admin", None),
)
"""Username, role, and who of the demo practice it is."""


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


async def has_demo(lane: Lane) -> list[str]:
    """Usernames of active accounts with a demo password."""
    return await Accounts(lane, now).demo_names()


async def logins(lane: Lane, keys: Keys) -> list[Login]:
    """The demo logins that work, to be shown on the machine itself only."""
    active = set(await has_demo(lane))
    return [Login(name, role, password(keys, name)) for name, role, _ in LOGINS if name in active]
