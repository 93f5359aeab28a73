"""Key sets by URL: fetched through the guard, kept as long as their owner allows, and asked for anew for a new key.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html#registering-a-client-communicating-public-keys:
a set is cached no longer than its Cache-Control says.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fhirhub.smart import jose
from fhirhub.smart.egress import Egress, Refused

SECOND = 1_000_000
USUAL = 300 * SECOND
"""How long a set is kept whose owner says nothing."""
LONGEST = 3600 * SECOND
AGAIN = 10 * SECOND
"""A set is not fetched again within this time for a key that it did not have, or after it could not be had."""
KEPT = 500
"""Sets that are kept at most; the one longest unused goes."""
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?([0-9]{1,10})")


@dataclass(slots=True)
class _Kept:
    keys: tuple[jose.Key, ...]
    problem: str
    fetched: int
    until: int


class KeySets:
    """The key sets of clients and issuers that have told an address."""

    def __init__(self, egress: Egress, clock: Callable[[], int]) -> None:
        self._egress = egress
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[_Kept]] = {}

    async def at(self, url: str, kid: str | None) -> tuple[jose.Key, ...]:
        """The keys at ``url``; fetched again when ``kid`` is not among those that are kept. Raises jose.Invalid."""
        now, kept = self._clock(), self._kept.get(url)
        if kept is not None:
            fresh = now < kept.until and any(key.kid == kid for key in kept.keys)
            if not fresh and (now >= kept.fetched + AGAIN or (now >= kept.until and not kept.problem)):
                kept = None
        if kept is None:
            kept = await self._fetch(url)
        else:
            self._kept.move_to_end(url)
        if kept.problem:
            raise jose.Invalid(f"the key set cannot be had: {kept.problem}")
        return kept.keys

    async def _fetch(self, url: str) -> _Kept:
        """Those who need the same set wait for the same fetch, which no one of them can cancel."""
        task = self._fetching.get(url)
        if task is None:
            task = self._fetching[url] = asyncio.get_running_loop().create_task(self._fetched(url))
            task.add_done_callback(lambda _: self._fetching.pop(url, None))
        return await asyncio.shield(task)

    async def _fetched(self, url: str) -> _Kept:
        now = self._clock()
        try:
            answer = await self._egress.get(url)
            keys = jose.key_set(json.loads(answer.body))
            kept = _Kept(keys, "", now, now + lifetime(answer.headers.get("cache-control", "")))
        except Refused as error:
            kept = _Kept((), str(error), now, now)
        except (jose.Invalid, ValueError, RecursionError):
            kept = _Kept((), "what is at its address is no usable JSON Web Key Set", now, now)
        self._kept[url] = kept
        self._kept.move_to_end(url)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return kept


def lifetime(cache_control: str) -> int:
    """Microseconds that an answer with this Cache-Control is kept."""
    words = cache_control.lower()
    if "no-store" in words or "no-cache" in words:
        return 0
    found = _MAX_AGE.search(words)
    return min(int(found[1]) * SECOND, LONGEST) if found else USUAL
