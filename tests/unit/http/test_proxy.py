"""The caller's address behind proxies: believed as far as our own proxies wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.http.proxy import Proxied, networks


async def seen(header: str | None, peer: str, trusted: tuple[str, ...] = ("10.0.0.0/8", "::1")) -> str:
    """The address that the app is told."""
    told: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        told.append(scope["client"][0])

    headers = [(b"x-forwarded-for", header.encode())] if header is not None else []
    scope = {"type": "http", "client": (peer, 1234), "headers": headers}
    nothing: Any = None
    await Proxied(app, networks(trusted))(scope, nothing, nothing)
    return told[0]


@pytest.mark.parametrize(
    ("header", "peer", "expected"),
    [
        (None, "10.0.0.1", "10.0.0.1"),
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.7", "198.51.100.7"),  # somebody else's header
        ("1.1.1.1, 203.0.113.9", "10.0.0.1", "203.0.113.9"),  # what the caller claimed itself
        ("203.0.113.9, 10.2.3.4", "10.0.0.1", "203.0.113.9"),  # two proxies of ours
        ("10.9.9.9, 10.2.3.4", "10.0.0.1", "10.9.9.9"),
        ("nonsense", "10.0.0.1", "10.0.0.1"),
        ("203.0.113.9, nonsense", "10.0.0.1", "10.0.0.1"),
        ("nonsense, 203.0.113.9", "10.0.0.1", "203.0.113.9"),
        ("2001:db8::7", "::1", "2001:db8::7"),
        ("", "10.0.0.1", "10.0.0.1"),
        (",".join(["10.0.0.2"] * 500), "10.0.0.1", "10.0.0.2"),
    ],
)
async def test_the_address_behind_our_proxies(header: str | None, peer: str, expected: str) -> None:
    assert await seen(header, peer) == expected


def test_a_proxy_is_an_address() -> None:
    with pytest.raises(ValueError, match="proxy.test"):
        networks(["proxy.test"])
