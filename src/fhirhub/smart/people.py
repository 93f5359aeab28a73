"""Everything about people who sign in, in one value: what the pages, the command line and the demo need."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fhirhub.errors import Conflict, Issue
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.passwords import Passwords
from fhirhub.smart.storage.accounts import Account, Accounts
from fhirhub.smart.storage.sessions import Sessions
from fhirhub.smart.totp import Totp
from fhirhub.store.engine import Lane


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class People:
    """Accounts, their sessions, and what proves who they are."""

    accounts: Accounts
    sessions: Sessions
    passwords: Passwords
    totp: Totp
    clock: Callable[[], int]


def people(settings: Settings, lane: Lane, keys: Keys, clock: Callable[[], int] = now) -> People:
    """The people of the store that ``lane`` leads to."""
    return People(
        Accounts(lane, clock),
        Sessions(lane, clock, idle=settings.session_idle, absolute=settings.session_absolute),
        Passwords(),
        Totp(keys),
        clock,
    )


async def reset_password(found: People, account: Account, password: str) -> dict[str, int]:
    """Make ``password`` good for one sign-in of an active account, its second factor off; what ended by that.

    Apps end, too: nobody knows whether it was the owner who connected them.
    """
    if not account.active:
        text = f"{account.username} is deactivated; a new password would be of no use."
        raise Conflict(Issue("conflict", text, "username"))
    return await found.accounts.recover(account.id, await found.passwords.hash(password), CUTS)
