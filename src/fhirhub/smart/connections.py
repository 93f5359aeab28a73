"""The apps that may act for somebody, in words for people, and the way to cut one off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fhirhub.smart import asked
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.grants import Connected
from fhirhub.store.engine import Lane


@dataclass(frozen=True, slots=True)
class Connection:
    """One app, as the page of connected apps shows it; however often it was let in."""

    grant: str
    """The latest grant: what names the app in a form."""
    client: str
    name: str
    publisher: str
    allowed: tuple[str, ...]
    """What it may do, in plain words."""
    patient: str | None
    """The one it is for, when that is one."""
    created: int
    expires: int


class Connections:
    """What an account has let in."""

    def __init__(self, lane: Lane, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._clock = clock

    async def of_account(self, account: str) -> list[Connection]:
        """The apps that may act for ``account``, those let in last first."""
        apps: dict[str, list[Connected]] = {}
        for one in await grants.of_account(self._lane, account, self._clock()):
            apps.setdefault(one.client, []).append(one)
        return [_connection(all_) for all_ in apps.values()]

    async def revoke(self, account: str, grant: str) -> bool:
        """Cut off the app that has ``grant``, whatever else it was granted; False when there is none (any more)."""
        return bool(await grants.revoke_app(self._lane, account, grant, self._clock()))


def _connection(granted: list[Connected]) -> Connection:
    """One app of its grants, the newest first."""
    newest = granted[0]
    words = [word for one in granted for word in one.scopes.split()]
    patients = {one.patient for one in granted}
    return Connection(
        grant=newest.grant,
        client=newest.client,
        name=newest.name,
        publisher=newest.publisher,
        allowed=tuple(dict.fromkeys(asked.plain(word) for word in words)),
        patient=newest.patient if len(patients) == 1 else None,
        created=min(one.created for one in granted),
        expires=max(one.expires for one in granted),
    )
