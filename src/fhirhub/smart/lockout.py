"""Sign-in by password: the same answer and the same work whatever was wrong, and longer and longer waits.

Failures are counted for the username, existing or not, and for the network address; a username that is locked says
nothing about whether there is such an account.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fhirhub.smart.passwords import Passwords
from fhirhub.smart.storage.accounts import Account, Accounts, normalised
from fhirhub.smart.storage.sessions import Limit, Sessions, hashed
from fhirhub.smart.totp import Totp

PER_NAME = Limit(5, 30, 900)
PER_ADDRESS = Limit(30, 30, 900, drain=60)
"""Many people may share an address, and their slips must not add up over a day."""
PER_CODE = Limit(5, 30, 3600)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an attempt: an account, or None; then ``wait`` is the seconds of a lock, 0 without one."""

    account: Account | None
    wait: int = 0
    tried: Account | None = None
    """Whose username was given, for the audit trail only: no answer may tell."""


def network(address: str) -> str:
    """What failures are counted for: the IPv4 address, the /64 of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


async def by_password(
    accounts: Accounts, sessions: Sessions, passwords: Passwords, username: str, password: str, address: str
) -> Verdict:
    """Who signs in with these, if they are right and the account is active."""
    name = normalised(username)
    # Typed text may be a password in the wrong field: what is counted for is stored as a hash.
    own, net = f"name:{hashed(name).hex()}", f"net:{network(address)}"
    wait = await sessions.charge({net: PER_ADDRESS, own: PER_NAME})
    if wait:
        return Verdict(None, wait)
    account = await accounts.by_name(name) if name else None
    right = await passwords.verify(account.password if account else None, password)
    if account is None or not right or not account.active:
        return Verdict(None, tried=account)
    await sessions.acquit(own, net)
    if passwords.outdated(account.password):
        await accounts.rehash(account.id, account.password, await passwords.hash(password))
    return Verdict(account)


async def by_code(
    accounts: Accounts, sessions: Sessions, totp: Totp, account: Account, code: str, address: str, now: int
) -> Verdict:
    """Whether ``code`` is a good second factor of ``account``."""
    own, net = f"code:{account.id}", f"net:{network(address)}"
    wait = await sessions.charge({net: PER_ADDRESS, own: PER_CODE})
    if wait:
        return Verdict(None, wait)
    if not await totp.spend(accounts, account, code, now):
        return Verdict(None)
    await sessions.acquit(own, net)
    return Verdict(account)
