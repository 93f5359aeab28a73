"""The people who sign in: accounts, their second factor, and how one is cut off. All times are microseconds UTC."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from fhirhub.errors import BadRequest, Conflict, Issue, NotFound
from fhirhub.store.engine import Connection, Lane

ROLES = ("admin", "practitioner", "frontdesk", "biller", "patient")
STANDS_FOR = {"practitioner": ("Practitioner", "PractitionerRole"), "patient": ("Patient",)}
"""Role -> the types that may stand for somebody in it; the others may be practitioners (or nobody) in the record."""

Cut = Callable[[Connection, str, int], Awaitable[Mapping[str, int]]]
"""``(connection, account id, now) -> what was cut``: takes from an account what was given to it, in the caller's
transaction."""

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_FHIR_USER = re.compile(r"(Practitioner|PractitionerRole|Patient|RelatedPerson|Person)/[A-Za-z0-9.-]{1,64}")
_COLUMNS = (
    "id, username, role, fhir_user, password, must_change, totp, totp_step, active, demo, created, version"
)


@dataclass(frozen=True, slots=True)
class Account:
    """One row of ``account``."""

    id: str
    username: str
    role: str
    fhir_user: str | None
    must_change: bool
    active: bool
    demo: bool
    created: int
    version: int
    password: str = field(repr=False)
    totp: bytes | None = field(repr=False)
    totp_step: int = 0

    @property
    def patient(self) -> str | None:
        """The logical id of the person's own Patient resource."""
        type_, _, id = (self.fhir_user or "").partition("/")
        return id if type_ == "Patient" else None

    def as_json(self) -> dict[str, Any]:
        """What may be shown to those who administer accounts."""
        return {
            "id": self.id,
            "username": self.username,
            "role": self.role,
            "fhirUser": self.fhir_user,
            "active": self.active,
            "totp": self.totp is not None,
            "mustChangePassword": self.must_change,
            "demo": self.demo,
        }


def normalised(username: str) -> str:
    """The form a username is stored and compared in; '' for what can be none."""
    if len(username) > 256:
        return ""
    name = unicodedata.normalize("NFKC", username).strip().casefold()
    return name if _USERNAME.fullmatch(name) else ""


def checked(username: str, role: str, fhir_user: str | None) -> str:
    """The normalised username of an account to be added; BadRequest says what is wrong with which value."""
    name = normalised(username)
    if not name:
        raise BadRequest(
            Issue(
                "value",
                f"username {username[:80]!r}: use 1 to 64 of a-z, 0-9 and . _ @ + -, beginning with a letter or digit.",
                "username",
            )
        )
    if role not in ROLES:
        raise BadRequest(Issue("value", f"role {role[:80]!r} is none of {', '.join(ROLES)}.", "role"))
    if fhir_user is not None and not _FHIR_USER.fullmatch(fhir_user):
        text = f"fhirUser {fhir_user[:80]!r}: use Practitioner/ID or Patient/ID."
        raise BadRequest(Issue("value", text, "fhirUser"))
    types = STANDS_FOR.get(role)
    if types and (fhir_user is None or fhir_user.partition("/")[0] not in types):
        text = f"The role {role} needs the resource that stands for the person: {types[0]}/ID as fhirUser."
        raise BadRequest(Issue("required", text, "fhirUser"))
    if role != "patient" and fhir_user is not None and fhir_user.startswith("Patient/"):
        text = (
            f"fhirUser {fhir_user}: only the role patient is a Patient; {role} takes Practitioner/ID or none."
        )
        raise BadRequest(Issue("value", text, "fhirUser"))
    return name


class Accounts:
    """The table ``account`` and what hangs on it."""

    def __init__(self, lane: Lane, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._clock = clock

    async def add(
        self,
        username: str,
        role: str,
        fhir_user: str | None,
        password: str,
        *,
        must_change: bool = False,
        demo: bool = False,
    ) -> Account:
        """A new account; ``password`` is its argon2id hash. Conflict when the username is taken."""
        name = checked(username, role, fhir_user)
        try:
            rows = await self._lane.fetch(
                "insert into account (id, username, role, fhir_user, password, must_change, demo, created)"
                f" values ($1, $2, $3, $4, $5, $6, $7, $8) returning {_COLUMNS}",
                secrets.token_urlsafe(12), name, role, fhir_user, password, must_change, demo, self._clock(),
            )  # fmt: skip
        except asyncpg.UniqueViolationError:
            text = f"There is an account {name} already; usernames are given once, to one person."
            raise Conflict(Issue("duplicate", text, "username")) from None
        return Account(**rows[0])

    async def by_name(self, username: str) -> Account | None:
        """The account of a username, in any spelling."""
        name = normalised(username)
        rows = await self._lane.fetch(f"select {_COLUMNS} from account where username = $1", name)
        return Account(**rows[0]) if rows else None

    async def by_id(self, id: str) -> Account | None:
        """The account with the id ``id``."""
        rows = await self._lane.fetch(f"select {_COLUMNS} from account where id = $1", id)
        return Account(**rows[0]) if rows else None

    async def named(self, username: str) -> Account:
        """The account of a username; NotFound when there is none."""
        found = await self.by_name(username)
        if found is None:
            raise NotFound(Issue("not-found", f"There is no account {username[:80]!r}.", "username"))
        return found

    async def all(self) -> list[Account]:
        """All accounts, by username."""
        rows = await self._lane.fetch(f"select {_COLUMNS} from account order by username")
        return [Account(**row) for row in rows]

    async def demo_names(self) -> list[str]:
        """Usernames of the active accounts whose passwords are known to everybody."""
        rows = await self._lane.fetch("select username from account where demo and active order by username")
        return [row["username"] for row in rows]

    async def set_password(self, id: str, password: str, *, must_change: bool, keep: str = "") -> int:
        """Store a new hash and end the account's sessions except ``keep``; how many were ended."""
        async with self._lane.use() as connection, connection.raw.transaction():
            await connection.fetch(
                "update account set password = $2, must_change = $3, demo = false, version = version + 1"
                " where id = $1",
                id, password, must_change,
            )  # fmt: skip
            ended = await connection.fetch(
                "delete from session where account = $1 and id <> $2 returning id", id, keep
            )
        return len(ended)

    async def recover(self, id: str, password: str, cuts: Sequence[Cut] = ()) -> dict[str, int]:
        """Make ``password``, a hash, good for one sign-in in one transaction; what of the account was ended by that.

        That is its second factor, all its sessions and what ``cuts`` take: who had got hold of it has nothing left.
        """
        now = self._clock()
        async with self._lane.use() as connection, connection.raw.transaction():
            await connection.fetch(
                "update account set password = $2, must_change = true, demo = false, totp = null, totp_step = 0,"
                " version = version + 1 where id = $1",
                id, password,
            )  # fmt: skip
            await connection.fetch("delete from recovery_code where account = $1", id)
            ended = await connection.fetch("delete from session where account = $1 returning id", id)
            counts = {"sessions": len(ended)}
            for cut in cuts:
                counts |= await cut(connection, id, now)
        return counts

    async def rehash(self, id: str, old: str, new: str) -> None:
        """Replace a hash by one of the same password with today's parameters, unless it was changed meanwhile."""
        await self._lane.fetch(
            "update account set password = $3 where id = $1 and password = $2", id, old, new
        )

    async def set_totp(self, id: str, sealed: bytes | None, step: int, codes: Sequence[bytes] = ()) -> None:
        """Turn the second factor on with a sealed secret, or off with None; ``codes`` are hashed recovery codes."""
        async with self._lane.use() as connection, connection.raw.transaction():
            await connection.fetch(
                "update account set totp = $2, totp_step = $3, version = version + 1 where id = $1",
                id, sealed, step,
            )  # fmt: skip
            await connection.fetch("delete from recovery_code where account = $1", id)
            await connection.fetch(
                "insert into recovery_code (account, hash) select $1, unnest($2::bytea[])", id, list(codes)
            )

    async def spend_step(self, id: str, step: int) -> bool:
        """Use up a time step; False when it, or a later one, was used before."""
        rows = await self._lane.fetch(
            "update account set totp_step = $2 where id = $1 and totp_step < $2 returning id", id, step
        )
        return bool(rows)

    async def spend_code(self, id: str, hash: bytes) -> bool:
        """Use up a recovery code; False when it is none of this account's."""
        rows = await self._lane.fetch(
            "delete from recovery_code where account = $1 and hash = $2 returning account", id, hash
        )
        return bool(rows)

    async def codes_left(self, id: str) -> int:
        """How many recovery codes are unused."""
        rows = await self._lane.fetch("select count(*) as n from recovery_code where account = $1", id)
        return int(rows[0]["n"])

    async def deactivate(self, id: str, cuts: Sequence[Cut] = ()) -> dict[str, int] | None:
        """Cut an account off in one transaction: it, its sessions, and what ``cuts`` take; None if it was inactive.

        After the commit nothing that was given to it is accepted by any worker.
        """
        now = self._clock()
        async with self._lane.use() as connection, connection.raw.transaction():
            changed = await connection.fetch(
                "update account set active = false, version = version + 1 where id = $1 and active"
                " returning id",
                id,
            )
            if not changed:
                return None
            ended = await connection.fetch("delete from session where account = $1 returning id", id)
            counts = {"sessions": len(ended)}
            for cut in cuts:
                counts |= await cut(connection, id, now)
        return counts

    async def activate(self, id: str) -> bool:
        """Let somebody in again who was deactivated; False when they are active. What they had open has ended.

        Password and second factor are those of before; a reset makes others.
        """
        rows = await self._lane.fetch(
            "update account set active = true, version = version + 1 where id = $1 and not active returning id",
            id,
        )
        return bool(rows)
