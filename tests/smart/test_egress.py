"""What the server can be talked into fetching: nothing that is not on the public internet, and little of that."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart import egress, jose
from fhirhub.smart.context import smart
from fhirhub.smart.egress import MAX_BODY, Egress, Refused
from fhirhub.smart.jwks import KeySets, lifetime
from fhirhub.store.engine import Lane
from support.smart import Signer

PUBLIC = "93.184.215.14"
NAMES = {
    "good.example": [PUBLIC],
    "six.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "both.example": [PUBLIC, "2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "inside.example": ["10.0.0.5"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": [PUBLIC, "192.168.1.1"],
    "mixed6.example": [PUBLIC, "fd00::1"],
    "loop.example": ["127.0.0.1"],
    "loop6.example": ["::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "tunnel.example": ["2002:a00:1::"],
    "scoped.example": ["fe80::1%eth0"],
    "nothing.example": [],
    "odd.example": ["not an address"],
    "localhost": ["127.0.0.1"],
}


async def resolve(name: str, port: int) -> Sequence[str]:
    if name not in NAMES:
        raise OSError("no such name")
    return NAMES[name]


ADDRESSES = """
0.0.0.0 0.0.0.1 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 127.255.255.255
169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.168.0.1 192.168.255.255
198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
[::] [::1] [::2] [::7f00:1] [::a00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
[::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::1] [100::1] [2001::1] [2001:10::1] [2001:20::1]
[2001:db8::1] [2002:7f00:1::] [2002:a9fe:a9fe::] [3fff::1] [5f00::1] [fc00::1] [fd00::1] [fd00:ec2::254] [fe80::1]
[fec0::1] [ff02::1] [ff0e::1]
""".split()
SPELLINGS = """
127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 0x7f.1 0x7f000001 2130706433 017700000001 127.0.0.01 127.000.000.001 1 0 0x0
10.1 0xa.0.0.1 3232235521 2852039166 0xa9fe a9fe.0xa9fe 169.254.43518 1.2.3.4.5 256.0.0.1 1.2.3 93.184.215.014
[::1%25lo] [fe80::1%25eth0] [0:0:0:0:0:0:0:1] [2606:2800:021f:cb07:6820:80da:af6b:8b2c] [::FFFF:93.184.215.14]
[::1]] [[::1] [::1 ::1] localhost localhost. good.example. .good.example good..example -good.example good-.example
GOOD.example good.exam_ple! good.example%2f intranet metadata a%2eb.example 127.0.0.1.nip ｇood.example ①27.0.0.1
127。0。0。1 good.example\u00ad
""".split()
RESOLVING = [
    name for name in NAMES if name not in ("good.example", "six.example", "both.example", "localhost")
]
URLS = [
    "", "https:", "https://", "https:///", "https:///path", "//good.example/", "/good.example", "good.example",
    "http://good.example/", "HTTPS://good.example/", "ftp://good.example/", "file:///etc/passwd", "gopher://good.example/",
    "data:,x", "javascript:alert(1)", "https:good.example", "https:/good.example", "https:\\\\good.example",
    "https://user@good.example/", "https://user:pw@good.example/", "https://@good.example/", "https://good.example@inside.example/",
    "https://good.example#@inside.example/", "https://good.example\\@inside.example/", "https://good.example/#x",
    "https://good.example:0/", "https://good.example:65536/", "https://good.example:-1/", "https://good.example:x/",
    "https://good.example:/", "https://good.example:0443/", "https://good.example:443:80/", " https://good.example/",
    "https://good.example/ ", "https://good.example/\r\nHost: inside", "https://good.example/\n", "https://good.example/\x00",
    "https://good.example/ä", "https://good.example/[x]", "https://good.example/" + "x" * 2048, "https://unknown.example/",
    "https://good.example/\"", "https://good.example/{x}", "https://good.example/<x>", "https://good.exa\tmple/",
    "https://good.example,inside.example/", "https://good.example;inside.example/", "https://good.example inside/",
]  # fmt: skip
TARGETS = [*(f"https://{host}/" for host in [*ADDRESSES, *SPELLINGS, *RESOLVING]), *URLS]


@pytest.mark.parametrize("url", TARGETS, ids=[str(n) for n in range(len(TARGETS))])
async def test_a_target_that_is_refused(url: str) -> None:
    with pytest.raises(Refused) as caught:
        await Egress(resolve=resolve).check(url)
    assert "10.0.0" not in str(caught.value) and "192.168" not in str(caught.value)


def test_there_are_as_many_targets_as_were_asked_for() -> None:
    assert len(TARGETS) >= 100


@pytest.mark.parametrize(
    ("url", "address", "port", "path"),
    [
        ("https://good.example/", PUBLIC, 443, "/"),
        ("https://good.example", PUBLIC, 443, "/"),
        ("https://good.example:8443/a/b?c=d&e=%20f", PUBLIC, 8443, "/a/b?c=d&e=%20f"),
        ("https://both.example/jwks.json", PUBLIC, 443, "/jwks.json"),
        ("https://six.example/", NAMES["six.example"][0], 443, "/"),
        (f"https://{PUBLIC}/", PUBLIC, 443, "/"),
        (
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
            443,
            "/",
        ),
    ],
)
async def test_a_target_that_is_taken(url: str, address: str, port: int, path: str) -> None:
    target = await Egress(resolve=resolve).check(url)
    assert (target.address, target.port, target.path) == (address, port, path)


async def test_a_server_behind_a_proxy_on_its_machine_is_no_development_server() -> None:
    keys, lane = Keys(bytes(32)), Lane("postgresql://nobody@127.0.0.1:1/nothing", 1)
    await smart(Settings(), lane, keys).egress.check("https://127.0.0.1/jwks")
    with pytest.raises(Refused):
        await smart(Settings(base_url="https://hub.example"), lane, keys).egress.check(
            "https://127.0.0.1/jwks"
        )


async def test_loopback_is_for_development_and_for_nothing_but_loopback() -> None:
    developing = Egress(loopback=True, resolve=resolve)
    for url in ("http://127.0.0.1:9/", "http://localhost:9/", "https://127.0.0.1/"):
        assert (await developing.check(url)).address == "127.0.0.1"
    assert (await developing.check("http://[::1]:9/")).address == "::1"
    refused = [
        "http://good.example/",
        "https://loop.example/",
        "http://127.0.0.2/",
        "https://10.0.0.1/",
        "http://[::]/",
    ]
    for url in refused:
        with pytest.raises(Refused):
            await developing.check(url)


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    went: list[tuple[object, ...]] = []

    async def rebinding(name: str, port: int) -> Sequence[str]:
        return next(answers)

    async def connect(host: str, port: int, **how: object) -> None:
        went.append((host, port, how["server_hostname"], how["ssl"] is not None))
        raise OSError

    monkeypatch.setattr(asyncio, "open_connection", connect)
    with pytest.raises(Refused):
        await Egress(resolve=rebinding).get("https://good.example/")
    assert went == [(PUBLIC, 443, "good.example", True)]


Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback that answers each connection by ``serve``; its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(await reader.readuntil(b"\r\n\r\n"), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    finally:
        server.close()


def saying(text: bytes) -> Serve:
    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: https://good.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 500 Error\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        OK + b"Content-Length: 20\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        OK + b"Content-Length: -1\r\n\r\n{}",
        OK + b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}",
        OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1) + b"x" * (MAX_BODY + 1),
        OK + b"\r\n" + b"x" * (MAX_BODY * 2),
        OK + b"X-Filler: " + b"x" * (MAX_BODY + 1) + b"\r\n\r\n",
        OK + b"".join(b"X-%d: y\r\n" % n for n in range(60_000)) + b"\r\n",
    ],
    ids=str,
)
async def test_an_answer_that_is_refused(text: bytes) -> None:
    async with serving(saying(text)) as url:
        with pytest.raises(Refused):
            await Egress(loopback=True).get(url)


async def test_a_host_that_dawdles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "SECONDS", 0.3)

    async def drip(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(drip) as url:
        with pytest.raises(Refused, match="within"):
            await Egress(loopback=True).get(url)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(request)

    async with serving(serve, _own_certificate(tmp_path)) as url:
        with pytest.raises(Refused, match="certificate"):
            await Egress(loopback=True).get(url.replace("http:", "https:"))
    assert not asked


def _own_certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    begins = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + timedelta(days=9))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "own.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


async def test_what_is_sent_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    seen: list[bytes] = []

    async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(request)
        writer.write(OK + b"Content-Length: 2\r\n\r\n{}")

    async with serving(serve) as url:
        assert (await Egress(loopback=True).get(url + "?a=b")).body == b"{}"
    lines = seen[0].decode().splitlines()
    assert lines[0] == "GET /jwks?a=b HTTP/1.1"
    assert {line.partition(":")[0] for line in lines[1:] if line} == {
        "Host", "User-Agent", "Accept", "Accept-Encoding", "Connection",
    }  # fmt: skip


class Jwks:
    """A key set on loopback that can be changed, and counts who asks."""

    def __init__(self, control: str = "") -> None:
        self.keys = [Signer().public]
        self.control, self.asked, self.broken = control, 0, False

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        body = b"no" if self.broken else json.dumps({"keys": self.keys}).encode()
        control = f"Cache-Control: {self.control}\r\n" if self.control else ""
        writer.write(OK + control.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def test_a_key_set_is_kept_as_long_as_its_owner_allows_and_asked_for_a_new_key() -> None:
    clock = [0]
    served = Jwks("max-age=60")
    sets = KeySets(Egress(loopback=True), lambda: clock[0])
    async with serving(served) as url:
        kid = served.keys[0]["kid"]
        await asyncio.gather(*(sets.at(url, kid) for _ in range(10)))
        assert served.asked == 1, "those who come together share a fetch"
        clock[0] = 59_000_000
        await sets.at(url, kid)
        assert served.asked == 1
        clock[0] = 61_000_000
        await sets.at(url, kid)
        assert served.asked == 2
        served.keys = [Signer(kid="new").public]
        await sets.at(url, "new")
        assert served.asked == 2, "not again so soon for a key that is not there"
        clock[0] += 11_000_000
        assert [key.kid for key in await sets.at(url, "new")] == ["new"]
        served.broken = True
        clock[0] += 61_000_000
        for _ in range(3):
            with pytest.raises(jose.Invalid, match="no usable"):
                await sets.at(url, "new")
        assert served.asked == 4, "a broken one is not asked for by everybody"
    clock[0] += 11_000_000
    with pytest.raises(jose.Invalid, match="cannot be reached"):
        await sets.at(url, "new")


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("", 300), ("max-age=10", 10), ("public, max-age=0", 0), ("no-store", 0), ("no-cache, max-age=900", 0),
        ("max-age=99999999", 3600), ('max-age="20"', 20), ("MAX-AGE=30", 30), ("s-maxage=5", 300), ("max-age=x", 300),
    ],
)  # fmt: skip
def test_how_long_a_key_set_is_kept(control: str, seconds: int) -> None:
    assert lifetime(control) == seconds * 1_000_000
