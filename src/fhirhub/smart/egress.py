"""The one guard for what this server fetches from addresses that others chose: key sets of clients and of issuers.

Without it, whoever registers a client could make the server call machines that only the server can reach. So: https
only; the name is resolved once, every address it has must be a public one, and the connection goes to exactly that
address (a second resolution could answer differently); no redirects, no proxies, no credentials; caps on size and time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

MAX_URL = 2048
MAX_BODY = 256 * 1024
SECONDS = 5.0
"""For a whole fetch, name resolution included."""
PARALLEL = 8
_PLAIN = re.compile(r"[!$-;=?-\[\]_a-z~]+")
"""Printable ASCII without what has no place in a URL; # is missing, since a fragment is never sent."""
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")
_UNICAST = ipaddress.ip_network("2000::/3")
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20", "2620:4f:8000::/48")
)
"""Within the unicast space: protocols that carry an IPv4 address inside of an IPv6 one, and documentation."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""``(name, port) -> addresses`` as text."""


class Refused(ValueError):
    """A fetch that was not made, or gave nothing usable; the message says why and names no internal address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked address: where the connection goes, and what it says there."""

    scheme: str
    host: str
    port: int
    path: str
    address: str
    """The literal address that ``host`` was resolved to."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: the body, and headers by lower-case name."""

    body: bytes
    headers: Mapping[str, str]


async def resolved(name: str, port: int) -> Sequence[str]:
    """The addresses of ``name`` as the operating system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


class Egress:
    """Fetches. ``loopback``: this is a development server, and may call http and https on its own machine."""

    def __init__(self, *, loopback: bool = False, resolve: Resolve = resolved) -> None:
        self._loopback = loopback
        self._resolve = resolve
        self._free = asyncio.Semaphore(PARALLEL)
        self._context: ssl.SSLContext | None = None

    async def close(self) -> None:
        """Nothing is kept open between fetches."""

    async def check(self, url: str) -> Target:
        """Where a fetch of ``url`` goes. Raises Refused."""
        scheme, host, port, path = _split(url)
        local = self._loopback and host in _LOOPBACK_NAMES
        if scheme != "https" and not local:
            raise Refused("the address must be https")
        literal = _literal(host)
        if literal is not None:
            addresses = [literal]
        else:
            try:
                addresses = [_parsed(one) for one in await self._resolve(host, port)]
            except (OSError, UnicodeError):
                raise Refused("the name of the host cannot be resolved") from None
        allowed = (lambda one: one.is_loopback) if local else is_public
        if not addresses or not all(allowed(one) for one in addresses):
            raise Refused("the host is not on the public internet")
        return Target(scheme, host, port, path, str(addresses[0]))

    async def get(self, url: str) -> Fetched:
        """What is at ``url``, if it answers 200 within the limits. Raises Refused."""
        try:
            async with asyncio.timeout(SECONDS), self._free:
                return await self._get(await self.check(url))
        except TimeoutError:
            raise Refused(f"the host did not answer within {SECONDS:g} seconds") from None
        except (OSError, ssl.SSLError, httptools.HttpParserError, asyncio.IncompleteReadError):
            raise Refused("the host cannot be reached, has no valid certificate, or speaks no HTTP") from None

    async def _get(self, target: Target) -> Fetched:
        secure = target.scheme == "https"
        reader, writer = await asyncio.open_connection(
            target.address, target.port,
            ssl=self._tls() if secure else None, server_hostname=target.host if secure else None,
        )  # fmt: skip
        try:
            writer.write(_request(target))
            await writer.drain()
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.complete:
                data = await reader.read(16_384)
                if not data:
                    break
                parser.feed_data(data)
            return answer.result(parser.get_status_code() if answer.begun else 0)
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                writer.transport.abort()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._context


def is_public(address: Address) -> bool:
    """Whether an address is that of a machine on the public internet, and of nothing nearer."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    inside = address in _UNICAST and not any(address in network for network in _TUNNELS)
    return inside and address.is_global and address.scope_id is None


def _parsed(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Refused("the host resolves to no address") from None


def _split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path with query. One spelling only; whatever parsers could read differently is refused."""
    if len(url) > MAX_URL or not _PLAIN.fullmatch(url):
        raise Refused(f"the address is no URL of at most {MAX_URL} plain characters")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise Refused("the address is no URL") from None
    if parts.scheme not in ("http", "https") or not url.startswith(f"{parts.scheme}://") or not host:
        raise Refused("the address must be https")
    shown = f"[{host}]" if ":" in host else host
    if parts.netloc not in (shown, f"{shown}:{port}") or port == 0:
        raise Refused("the host must be a plain lower-case name or address, without user information")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.startswith("/") or "[" in path or "]" in path:
        raise Refused("the path of the address is none")
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path


def _literal(host: str) -> Address | None:
    """The address that ``host`` is; None for a name. Numbers in other spellings (0x7f.1, 2130706433) are neither."""
    if ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]):
        address = None
        with suppress(ValueError):
            address = ipaddress.ip_address(host)
        if address is None or str(address) != host:
            raise Refused("the host is no address in its plain form")
        return address
    if host != "localhost" and (not _NAME.fullmatch(host) or len(host) > 253):
        raise Refused("the host is no name of the public internet")
    return None


def _request(target: Target) -> bytes:
    default = 443 if target.scheme == "https" else 80
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == default else f":{target.port}"
    return (
        f"GET {target.path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: fhirhub\r\n"
        "Accept: application/json, application/jwk-set+json\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


class _Answer:
    """Collects one response for the parser; refuses what is too large as soon as it is."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.begun = self.complete = False
        self._body: list[bytes] = []
        self._size = 0

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_BODY:
            raise Refused(f"the answer is larger than {MAX_BODY} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, data: bytes) -> None:
        self._count(len(data))
        self._body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def result(self, status: int) -> Fetched:
        """The answer, if it is one that can be used."""
        framed = {"content-length", "transfer-encoding"} & self.headers.keys()
        if not self.begun or (framed and not self.complete):
            raise Refused("the answer ended before it was whole")
        if status != 200:
            raise Refused(f"the host answered {status}; redirects are not followed")
        if self.headers.get("content-encoding", "identity") != "identity":
            raise Refused("the answer is compressed, which was not asked for")
        return Fetched(b"".join(self._body), self.headers)
