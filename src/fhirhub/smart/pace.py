"""How fast somebody may do what costs us something and takes no proof of who they are: a bucket for each address.

In memory, each worker for itself: to count in the database would be the very cost that this saves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fhirhub.smart.lockout import network

KEPT = 10_000
"""Networks that are remembered; the one longest unheard of goes."""
_SECOND = 1_000_000


class Pace:
    """``free`` at once, then one each ``seconds``; ``clock`` gives microseconds."""

    def __init__(self, clock: Callable[[], int], *, free: int, seconds: float) -> None:
        self._clock = clock
        self._step = int(seconds * _SECOND)
        self._ahead = free * self._step
        self._due: OrderedDict[str, int] = OrderedDict()

    def wait(self, address: str) -> int:
        """Count one for the network of ``address``: 0, or how many seconds to wait because it is one too many."""
        key, now = network(address), self._clock()
        due = max(self._due.get(key, now), now)
        late = due + self._step - now - self._ahead
        if late > 0:
            return -(-late // _SECOND)
        self._due[key] = due + self._step
        self._due.move_to_end(key)
        if len(self._due) > KEPT:
            self._due.popitem(last=False)
        return 0
