"""Redirect URIs: what may be registered, and which address of a request is a registered one.

Comparison is that of strings (RFC 9700 §4.1.3): no prefixes, no wildcards, no normalising. The one exception is the port
of a native app on a loopback address (RFC 8252 §7.3).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import urlencode, urlsplit

LONGEST = 2048
_CLEAN = re.compile(r"[!#-;=?-\[\]_a-z~]+")
"""Printable ASCII without what has no place in a URI: spaces, quotes, <, >, \\, ^, `, {, |, }."""
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_NATIVE = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\])):([1-9][0-9]{0,4})(/[^#]*)?")
_OWN_SCHEME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+", re.ASCII)


def problem(uri: str) -> str:
    """Why ``uri`` cannot be registered, as a sentence; '' when it can."""
    if len(uri) > LONGEST or not _CLEAN.fullmatch(uri):
        return f"{uri[:80]!r} is not a URI of at most {LONGEST} printable ASCII characters."
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return f"{uri[:80]!r} is not a URI."
    if "#" in uri or "*" in uri:
        return f"{uri[:80]!r} has a fragment or a wildcard; redirect URIs have neither."
    if parts.scheme in ("http", "https"):
        return _web_problem(uri, parts.scheme, parts.netloc, port)
    if not _OWN_SCHEME.fullmatch(parts.scheme):
        return f"{uri[:80]!r}: use https, http on a loopback address, or an app's own scheme such as com.example.app."
    return ""


def _web_problem(uri: str, scheme: str, netloc: str, port: int | None) -> str:
    host = netloc.rsplit(":", 1)[0] if port is not None else netloc
    if (
        not host
        or "@" in netloc
        or netloc.endswith(":")
        or not re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]", host)
    ):
        return f"{uri[:80]!r}: the host must be a plain lower-case name or address, without user information."
    if scheme == "http" and host not in _LOOPBACK:
        return f"{uri[:80]!r}: http is for loopback addresses only; use https."
    if any(part in (".", "..") for part in urlsplit(uri).path.split("/")):
        return f"{uri[:80]!r}: the path must be free of dot segments."
    return ""


def registered(uris: Collection[str], given: str, *, native: bool) -> bool:
    """Whether ``given`` is one of the registered ``uris``.

    ``native``: the client has no secret. It may then take any port of a loopback address that it registered without one.
    """
    if given in uris:
        return True
    found = _NATIVE.fullmatch(given) if native and len(given) <= LONGEST and _CLEAN.fullmatch(given) else None
    return found is not None and int(found[2]) < 65_536 and f"{found[1]}{found[3] or ''}" in uris


def with_parameters(uri: str, parameters: Sequence[tuple[str, str | None]]) -> str:
    """``uri`` with parameters that are not None added to its query: RFC 6749 §3.1.2."""
    query = urlencode([(name, value) for name, value in parameters if value is not None])
    return f"{uri}{'&' if '?' in uri else '?'}{query}"
