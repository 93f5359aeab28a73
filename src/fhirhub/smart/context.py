"""What the routes of the authorization server and its pages are built from: one value, put together at start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fhirhub import keys as keyring
from fhirhub.exchange import Caller
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.connections import Connections
from fhirhub.smart.egress import Egress
from fhirhub.smart.hooks import CheckPolicy, Preview, SearchTrail
from fhirhub.smart.jwks import KeySets
from fhirhub.smart.origins import Origins
from fhirhub.smart.pace import Pace
from fhirhub.smart.people import People, now, people
from fhirhub.smart.remembered import Remembered
from fhirhub.smart.signing import Signing
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.clients import Clients
from fhirhub.store.engine import Lane

CONNECTIONS = 4
"""Database connections of one worker for people, clients and grants."""


class Found(Protocol):
    """A patient to choose."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def birth_date(self) -> str: ...


class Patients(Protocol):
    """The patients whom an account may see."""

    async def find(self, account: Account, text: str, count: int) -> Sequence[Found]:
        """At most ``count`` that ``text`` fits."""

    async def named(self, account: Account, id: str) -> Found | None:
        """The one with this id; None when there is none whom the account may see."""


Audit = Callable[[str, Caller, int, dict[str, Any]], Awaitable[None]]
"""``(event, who, outcome, detail)``: put on record; returns when it is. Outcome as in AuditEvent: 0 done, 4 refused."""
LookedAt = Callable[[str, str], Awaitable[tuple[Sequence[Any], str]]]
"""``(patient id, cursor) -> (who looked at that record, cursor of what is further back)``."""


async def nobody_looked(patient: str, cursor: str) -> tuple[Sequence[Any], str]:
    """Nobody, as far as is known here."""
    return (), ""


@dataclass(slots=True)
class Smart:
    """Settings, storage and collaborators; what the record's side gives is optional, and set when that has started."""

    settings: Settings
    lane: Lane
    keys: Keys
    clock: Callable[[], int]
    """Microseconds since 1970 UTC."""
    people: People
    clients: Clients
    remembered: Remembered
    connections: Connections
    origins: Origins
    signing: Signing
    egress: Egress
    key_sets: KeySets
    arrivals: Pace
    """Of authorization requests that nobody has signed in for yet; each is kept for a while."""
    audit: Audit | None = None
    patients: Patients | None = None
    looked_at: LookedAt = nobody_looked
    preview: Preview | None = None
    trail: SearchTrail | None = None
    check_policy: CheckPolicy | None = None

    def issuer(self, origin: str) -> str:
        """Who issues tokens here, where callers reach the server at ``origin``: RFC 9207, OpenID Connect Core §2."""
        return self.settings.base_url or origin

    async def close(self) -> None:
        """Give the connections back."""
        await self.egress.close()
        await self.lane.close()


async def open_smart(
    settings: Settings,
    dsn: str | None = None,
    *,
    keys: Keys | None = None,
    clock: Callable[[], int] = now,
    hooks: Mapping[str, Any] | None = None,
) -> Smart:
    """The authorization server on the store at ``dsn`` (default: that of the settings).

    ``hooks``: values for ``audit``, ``patients``, ``looked_at``, ``preview``, ``trail``, ``check_policy``.
    """
    lane = Lane(dsn or settings.database_url or "", CONNECTIONS)
    await lane.open()
    return smart(settings, lane, keys or keyring.load(settings), clock, hooks)


def smart(
    settings: Settings,
    lane: Lane,
    keys: Keys,
    clock: Callable[[], int] = now,
    hooks: Mapping[str, Any] | None = None,
) -> Smart:
    """The authorization server on an open lane."""
    egress = Egress(loopback=settings.is_local)
    clients = Clients(lane, clock)
    return Smart(
        settings=settings,
        lane=lane,
        keys=keys,
        clock=clock,
        people=people(settings, lane, keys, clock),
        clients=clients,
        remembered=Remembered(clients),
        connections=Connections(lane, clock),
        origins=Origins(lane, clock),
        signing=Signing(lane, keys, clock),
        egress=egress,
        key_sets=KeySets(egress, clock),
        arrivals=Pace(clock, free=600, seconds=1),
        **(hooks or {}),
    )
