"""Hostile bytes on the wire, to a real server: never a 5xx, an OperationOutcome wherever the program itself answers.

What is no HTTP at all is refused by the HTTP server before the program sees it: a bare 400 and a closed connection.
``tests/interactions/test_hostile.py`` has the requests that are HTTP; here they come with broken framing, compressed
bombs, endless headers, and too many at once.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import shutil
import socket
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from support.process import Server

pytestmark = pytest.mark.process
REQUESTS = 600
SEED = 5
FHIR = re.compile(rb"[A-Z]+ /fhir[/? ]")
"""Requests for what lies below the FHIR base; elsewhere errors have other forms."""
JUNK = [
    b"\0",
    b"\xff\xfe",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b"%00",
    b"%2e%2e%2f",
    b"\x1b[2J",
    b"{",
    b"]",
    b"A" * 70_000,
    b"'--",
    b"\xf0\x9f\x98\x80",
]


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that takes little at a time."""
    home = Path(tempfile.mkdtemp(prefix="fhirhub-hostile-"))
    chosen = request.config.getoption("--postgres-bin")
    variables = {
        "FHIRHUB_SHARED_BUFFERS": "128MiB",
        "FHIRHUB_MAX_IN_FLIGHT": "6",
        "FHIRHUB_MAX_BODY": "4MiB",
    } | ({"FHIRHUB_POSTGRES_BIN": chosen} if chosen else {})
    try:
        with Server(home, "--workers", "1", "--no-auth", variables=variables) as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _exchange(server: Server, data: bytes, timeout: float = 5.0) -> bytes:
    """What comes back for ``data``, until the server closes or is silent."""
    place = urlsplit(server.base)
    with socket.create_connection((place.hostname, place.port or 80), timeout=timeout) as line:
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        try:
            while len(received) < 4_000_000 and (part := line.recv(65536)):
                received += part
        except OSError:
            pass
    return received


def _request(chance: random.Random) -> bytes:
    """A sound request with something broken in it, at any place."""
    body = json.dumps({"resourceType": "Patient", "name": [{"family": "x"}]}).encode()
    lines = [
        chance.choice([b"POST /fhir/Patient HTTP/1.1", b"GET /fhir/Patient?name=x HTTP/1.1", b"PUT /fhir/Patient/1 HTTP/1.1"]),
        b"Host: 127.0.0.1",
        b"Content-Type: application/fhir+json",
        b"Content-Length: " + chance.choice([b"%d" % len(body)] * 6 + [b"-1", b"99999999999999999999", b"abc", b"3", b""]),
        chance.choice([b"Accept: */*", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Content-Encoding: gzip", b"X: " + b"y" * 3000]),
        b"Connection: close",
    ]  # fmt: skip
    data = bytearray(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, 0, 1, 9))] = chance.choice(JUNK)
    return bytes(data[: chance.choice((len(data), len(data), len(data), chance.randrange(1, len(data))))])


def test_broken_bytes(small: Server) -> None:
    chance = random.Random(SEED)
    statuses: Counter[str] = Counter()
    for _ in range(REQUESTS):
        sent = _request(chance)
        answer = _exchange(small, sent)
        if not answer:
            statuses["closed"] += 1
            continue
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), (sent[:300], answer[:300])
        while head.startswith(b"HTTP/1.1 100"):
            head, _, body = body.partition(b"\r\n\r\n")
        status = head[9:12].decode()
        statuses[status] += 1
        assert status < "500", (sent[:300], answer[:500])
        if status >= "400" and b"json" in head.lower() and FHIR.match(sent):
            assert b"OperationOutcome" in body, (sent[:300], answer[:500])
        else:
            assert status in ("200", "201", "204", "400", "404", "405", "431"), (sent[:300], answer[:500])
    assert sum(statuses.values()) == REQUESTS
    with small.client() as client:
        assert client.get("Patient?_count=1").status_code == 200


def test_a_bomb_does_not_go_off(small: Server) -> None:
    """A gigabyte in a megabyte: refused by what comes out of it, not by what went in."""
    (worker,) = small.workers()
    before = psutil.Process(worker).memory_info().rss
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b" " * (1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    with small.client() as client:
        for encoding, body in (
            ("gzip", bomb),
            ("gzip", gzip.compress(bomb)),
            ("gzip", b"no gzip"),
            ("br", b"x"),
        ):
            headers = {"content-encoding": encoding, "content-type": "application/fhir+json"}
            answer = client.post("Patient", content=body, headers=headers)
            assert answer.status_code in (400, 413, 415), answer.text[:300]
            assert answer.json()["resourceType"] == "OperationOutcome"
        answer = client.post("Patient", content=zeros * 6, headers={"content-type": "application/fhir+json"})
        assert answer.status_code == 413
        assert answer.json()["resourceType"] == "OperationOutcome"
    assert psutil.Process(worker).memory_info().rss - before < 100 << 20


def test_endless_headers_and_urls(small: Server) -> None:
    for data in (
        b"GET /fhir/Patient?name=" + b"x" * 2_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /fhir/Patient HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 5_000_000 + b"\r\n\r\n",
        b"GET /fhir/Patient HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
    ):
        answer = _exchange(small, data)
        assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
    with small.client() as client:
        assert client.get("metadata").status_code == 200


def test_idle_connections_hold_nobody_up(small: Server) -> None:
    place = urlsplit(small.base)
    idle = [socket.create_connection((place.hostname, place.port or 80)) for _ in range(200)]
    try:
        for line in idle:
            line.sendall(b"POST /fhir/Patient HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-")
        with small.client() as client:
            began = time.monotonic()
            assert client.get("Patient?_count=1").status_code == 200
            assert time.monotonic() - began < 20
    finally:
        for line in idle:
            line.close()


def test_overload_is_told_and_health_answers(small: Server) -> None:
    """More than the server takes at a time: 503 with Retry-After for some, and /livez answers all the while."""
    patients = [
        {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}
    ] * 200
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": patients}).encode()
    health: list[tuple[int, float]] = []
    done = threading.Event()

    def watch() -> None:
        address = small.base.removesuffix("/fhir") + "/livez"
        while not done.is_set():
            began = time.monotonic()
            health.append(
                (httpx.get(address, timeout=20, trust_env=False).status_code, time.monotonic() - began)
            )
            time.sleep(0.05)

    async def rush() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(
            base_url=small.base, timeout=60, limits=limits, trust_env=False
        ) as client:
            headers = {"content-type": "application/fhir+json"}
            return await asyncio.gather(
                *(client.post("", content=bundle, headers=headers) for _ in range(64))
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers: list[Any] = asyncio.run(rush())
    done.set()
    watcher.join()
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}, statuses
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            assert answer.json()["resourceType"] == "OperationOutcome"
    assert {status for status, _ in health} == {200}
    assert max(spent for _, spent in health) < 15
