"""What each caller may spend: a token bucket a caller, filled steadily, emptied by what answers have cost.

What a request costs is known when it has been answered, so it is charged then: who is in debt waits until the bucket
has filled again. A single dear search is thereby possible, a hundred in a row are not. Buckets belong to one worker;
a caller who reaches several has one in each. Headers: RFC 9110 §10.2.3 (Retry-After) and
draft-ietf-httpapi-ratelimit-headers (RateLimit, RateLimit-Policy).
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from fhirhub.errors import Issue, TooManyRequests

WINDOW = 60.0
"""Seconds in which an empty bucket fills."""
CALLERS = 10_000
"""Buckets that are kept; the one longest unused makes room, and it is full by then or soon."""


class Budget:
    """Buckets of ``quota`` units, filled in a minute; 0 lets everybody spend what they like.

    ``clock`` gives seconds of any steady clock.
    """

    def __init__(self, quota: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Caller -> (units left, when that was)."""

    def admit(self, key: str) -> None:
        """Raise TooManyRequests, with how long to wait, when the caller ``key`` is in debt."""
        if not self._quota:
            return
        left = self._left(key)
        if left > 0:
            return
        wait = math.ceil((1 - left) * WINDOW / self._quota)
        text = (
            f"You have used up your budget of {self._quota:,.0f} units a minute; try again in {wait} seconds."
            " Searches cost by the index entries they look at: narrow them, and ask for smaller pages."
        )
        headers = {"Retry-After": str(wait), **self._told(left, wait)}
        raise TooManyRequests(Issue("throttled", text), headers=headers)

    def charge(self, key: str, cost: float) -> dict[str, str]:
        """Take ``cost`` units from the caller ``key``; the headers that tell what is left."""
        if not self._quota:
            return {}
        # However dear one answer was, nobody waits for longer than two windows.
        left = max(self._left(key) - cost, -self._quota)
        self._buckets[key] = left, self._clock()
        self._buckets.move_to_end(key)
        while len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        return self._told(left, math.ceil((self._quota - left) * WINDOW / self._quota))

    def _left(self, key: str) -> float:
        known = self._buckets.get(key)
        if known is None:
            return self._quota
        left, then = known
        return min(left + (self._clock() - then) * self._quota / WINDOW, self._quota)

    def _told(self, left: float, reset: int) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"caller";q={self._quota:.0f};w={WINDOW:.0f}',
            "RateLimit": f'"caller";r={max(math.floor(left), 0)};t={reset}',
        }


def weight(interaction: str, entries: float = 0.0) -> float:
    """Units of one interaction: 1, and 1 more for each 1,000 index ``entries`` that a search was expected to look at."""
    base = {"bundle": 5.0, "operation": 5.0}.get(interaction, 1.0)
    return base + entries / 1000.0
