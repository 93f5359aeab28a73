"""Which web pages may call from a browser: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fhirhub.errors import FhirError

Pairs = list[tuple[bytes, bytes]]

_ALLOW = b"access-control-allow-origin"
_EXPOSED = (
    b"access-control-expose-headers",
    b"ETag, Location, Content-Location, Last-Modified, X-Request-Id, Retry-After, WWW-Authenticate",
)
_PREFLIGHT: Pairs = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Exist, If-None-Match, Prefer, "
        b"X-Provenance, X-Request-Id",
    ),
    (b"access-control-max-age", b"600"),
]
_LOOPBACK = re.compile(rb"https?://(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class Cors:
    """Answers by a list of origins; ``*`` lets every page call (never with cookies: none are taken here),
    ``loopback`` those that come from this machine. Pages of registered apps may call as well.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        self._loopback = "loopback" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self.registered: Callable[[str], Awaitable[bool]] | None = None
        """Whether an origin is that of a registered app; None where no apps are."""

    async def answer(self, headers: Mapping[bytes, bytes], public: bool = False) -> Pairs:
        """What an answer to a request with ``headers`` carries; ``public``: it is the same for everybody."""
        origin = headers[b"origin"]
        if self._all or public:
            return [(_ALLOW, b"*"), _EXPOSED]
        local = self._loopback and _LOOPBACK.fullmatch(origin) is not None
        if local or origin in self._origins or await self._is_registered(origin):
            return [(_ALLOW, origin), _EXPOSED]
        return []

    async def _is_registered(self, origin: bytes) -> bool:
        if self.registered is None:
            return False
        try:
            return await self.registered(origin.decode("latin-1"))
        except FhirError:  # the database is away; the request itself will be told so
            return False


def preflight_of(headers: Mapping[bytes, bytes]) -> Pairs:
    """What a preflight of a permitted page is told beside that; nothing when the request is none."""
    return _PREFLIGHT if b"access-control-request-method" in headers else []
