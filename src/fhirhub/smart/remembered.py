"""Clients that sign in over and over, as they were when they were last looked up, with their keys ready to use.

What is remembered proves nothing by itself: the statement that makes a token of it holds its version against the one
that is stored (:func:`fhirhub.smart.storage.grants.issue_system`), so that what was changed or cut off a moment ago
counts with its commit. Whatever is refused is looked up anew first.
"""

from __future__ import annotations

from collections import OrderedDict

from fhirhub.smart import jose
from fhirhub.smart.storage.clients import Client, Clients

KEPT = 1000
"""Clients, and key sets, that are remembered; the one longest unused goes."""


class Remembered:
    """The clients of one process."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._known: OrderedDict[str, Client] = OrderedDict()
        self._keys: OrderedDict[tuple[str, int], tuple[jose.Key, ...]] = OrderedDict()

    def get(self, id: str) -> Client | None:
        """The client as it was; None when it is not remembered."""
        found = self._known.get(id)
        if found is not None:
            self._known.move_to_end(id)
        return found

    async def look_up(self, id: str) -> Client | None:
        """The client as it is, active or not."""
        found = await self._clients.get(id)
        self._known.pop(id, None)
        if found is not None and found.kind == "backend" and found.active:
            self._known[id] = found
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def keys(self, client: Client) -> tuple[jose.Key, ...]:
        """The keys that ``client`` has registered itself. Raises jose.Invalid."""
        name = (client.id, client.version)
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = jose.key_set(client.jwks)
            if len(self._keys) > KEPT:
                self._keys.popitem(last=False)
        return found

    def forget(self, id: str) -> None:
        """Have the client looked up again."""
        self._known.pop(id, None)
