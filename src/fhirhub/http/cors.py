"""Which web pages may call from a browser: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Pairs = list[tuple[bytes, bytes]]

_EXPOSED = b"ETag, Location, Content-Location, Last-Modified, X-Request-Id, Retry-After, WWW-Authenticate"
_REQUEST_HEADERS = (
    b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Exist, If-None-Match, Prefer, "
    b"X-Provenance, X-Request-Id"
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_NONE: Pairs = []


_LOOPBACK = re.compile(rb"https?://(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class Cors:
    """Answers by a list of origins; ``*`` lets every page call (never with cookies: none are taken here),
    ``loopback`` those that come from this machine.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        self._loopback = "loopback" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, headers: Mapping[bytes, bytes]) -> Pairs:
        """What an answer to a request with ``headers`` carries."""
        origin = headers.get(b"origin")
        if origin is None:
            return _NONE
        local = self._loopback and _LOOPBACK.fullmatch(origin) is not None
        if not (self._all or local or origin in self._origins):
            return _NONE
        allowed = b"*" if self._all else origin
        return [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _EXPOSED)]

    def preflight(self, headers: Mapping[bytes, bytes]) -> Pairs | None:
        """What a preflight is answered with; None when the request is no preflight of a permitted page."""
        if b"access-control-request-method" not in headers:
            return None
        pairs = self.headers(headers)
        if not pairs:
            return None
        return [
            pairs[0],
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"600"),
        ]
