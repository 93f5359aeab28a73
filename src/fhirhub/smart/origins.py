"""The origins of registered apps: their pages may call the token endpoint and the FHIR endpoints from a browser.

Whether a page may call is no secret and no protection of the record, which the token is: what was found is kept for a
minute, so that this costs nothing on most requests. https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

from fhirhub.store.engine import Lane

KEPT = 1024
"""Origins that are remembered; anybody may send any."""
FOR = 60 * 1_000_000
"""How long, in microseconds."""
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.\[\]:-]{1,260}")
_NATIVE = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\])):[0-9]{1,5}")
# A native app registers a loopback address without a port, and may take any: RFC 8252 §7.3.
_REGISTERED = """
select 1 from client c where c.active and exists (
    select from unnest(c.redirect_uris) as u
    where u = $1 or starts_with(u, $1 || '/') or (c.kind = 'public' and (u = $2 or starts_with(u, $2 || '/'))))
limit 1
"""


class Origins:
    """What active clients have registered, by the origins of their redirect URIs."""

    def __init__(self, lane: Lane, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._clock = clock
        self._known: OrderedDict[str, tuple[bool, int]] = OrderedDict()

    async def registered(self, origin: str) -> bool:
        """Whether ``origin`` (as browsers write it) is that of an active client."""
        if not ORIGIN.fullmatch(origin):
            return False
        now = self._clock()
        kept = self._known.get(origin)
        if kept is not None and now < kept[1]:
            return kept[0]
        native = _NATIVE.fullmatch(origin)
        found = bool(await self._lane.fetch(_REGISTERED, origin, native[1] if native else None))
        # What is not registered may be in a moment, and somebody is waiting for it to work: asked anew each time.
        if found:
            self._known[origin] = (True, now + FOR)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found
