"""Where callers really are, when they come through a proxy of ours: https://www.rfc-editor.org/rfc/rfc7239#section-8.1.

Anybody can send ``X-Forwarded-For``. It is believed only as far as proxies that are named in the settings wrote it:
read from the right, the first address that is not such a proxy is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from fhirhub.http.request import App, Receive, Scope, Send

MOST = 20
"""Addresses of one header that are looked at."""
Network = IPv4Network | IPv6Network


def networks(texts: Sequence[str]) -> list[Network]:
    """Addresses and networks (``10.0.0.0/8``) of proxies. Raises ValueError for what is none."""
    return [ip_network(text, strict=False) for text in texts]


class Proxied:
    """``inner``, told the address of the caller behind the proxies in ``trusted``."""

    def __init__(self, inner: App, trusted: Sequence[Network]) -> None:
        self._inner = inner
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, as from where it began."""
        client = scope.get("client")
        if client and self._is_ours(client[0]):
            given = [
                value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
            ]
            if given:
                scope = {**scope, "client": (self._caller(",".join(given), client[0]), 0)}
        await self._inner(scope, receive, send)

    def _caller(self, header: str, proxy: str) -> str:
        """The rightmost address that is no proxy of ours; what cannot be read ends the search."""
        found = proxy
        for text in reversed(header.split(",")[-MOST:]):
            try:
                address = str(ip_address(text.strip()))
            except ValueError:
                return found
            found = address
            if not self._is_ours(address):
                return found
        return found

    def _is_ours(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
