"""The apps that may act for somebody, in words for people, and the way to cut one off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fhirhub.smart import asked
from fhirhub.smart.storage import grants
from fhirhub.store.engine import Lane


@dataclass(frozen=True, slots=True)
class Connection:
    """One app, as the page of connected apps shows it."""

    grant: str
    client: str
    name: str
    publisher: str
    allowed: tuple[str, ...]
    """What it may do, in plain words."""
    patient: str | None
    created: int
    expires: int


class Connections:
    """What an account has let in."""

    def __init__(self, lane: Lane, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._clock = clock

    async def of_account(self, account: str) -> list[Connection]:
        """The apps that may act for ``account``, those let in last first."""
        return [
            Connection(
                one.grant,
                one.client,
                one.name,
                one.publisher,
                tuple(dict.fromkeys(asked.plain(word) for word in one.scopes.split())),
                one.patient,
                one.created,
                one.expires,
            )
            for one in await grants.of_account(self._lane, account, self._clock())
        ]

    async def revoke(self, account: str, grant: str) -> bool:
        """Cut off an app of ``account``; False when there is no such grant (any more)."""
        return await grants.revoke(self._lane, grant, self._clock(), account=account)
