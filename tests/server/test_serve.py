"""``fhirhub serve`` as a process: starts, answers, heals, drains."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.process import Server

pytestmark = pytest.mark.process
SMALL = {"FHIRHUB_SHARED_BUFFERS": "64MiB"}


@pytest.fixture
def home() -> Iterator[Path]:
    """A data directory with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def answers(server: Server) -> bool:
    try:
        with server.client() as client:
            return client.get("metadata").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("http_server", ["uvicorn", "granian"])
def test_it_serves_stops_and_serves_again(home: Path, http_server: str) -> None:
    variables = SMALL | {"FHIRHUB_HTTP_SERVER": http_server}
    patient = {"resourceType": "Patient", "id": "p1", "active": True}
    with Server(home, "--workers", "2", variables=variables) as server, server.client() as client:
        server.wait_ready()
        assert client.put("Patient/p1", json=patient).status_code == 201
        root = server.base.removesuffix("/fhir")
        assert httpx.get(root + "/livez", trust_env=False).json() == {"status": "pass"}
        until(lambda: len(server.workers()) == 2)
        assert server.stop() == 0
    assert not (home / "postgres" / "postmaster.pid").exists()
    with Server(home, variables=variables) as server, server.client() as client:
        assert client.get("Patient/p1").json()["active"] is True


def test_a_killed_worker_and_a_killed_postgres_come_back(server: Server) -> None:
    until(lambda: len(server.workers()) == 2)
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(server.workers()) == 2 and victim not in server.workers())
    postmaster = server.postmaster()
    os.kill(postmaster, signal.SIGKILL)
    until(lambda: (server.home / "postgres/postmaster.pid").exists() and server.postmaster() != postmaster)
    server.wait_ready()
    with server.client() as client:
        assert client.post("Patient", json={"resourceType": "Patient"}).status_code == 201


def test_requests_in_hand_finish_when_it_drains(home: Path) -> None:
    """A body that is still on its way when the signal comes is waited for."""
    with Server(home, "--workers", "1", variables=SMALL) as server:
        address = httpx.URL(server.base)
        body = b'{"resourceType":"Patient"}'
        head = (
            f"POST /fhir/Patient HTTP/1.1\r\nHost: {address.host}\r\nContent-Type: application/fhir+json\r\n"
        )
        with socket.create_connection((address.host, address.port), timeout=10) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            time.sleep(0.3)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            time.sleep(0.5)
            with pytest.raises(OSError):
                socket.create_connection((address.host, address.port), timeout=1).close()
            connection.sendall(body[5:])
            assert connection.recv(200).startswith(b"HTTP/1.1 201")
        stopping.join()
        assert server.stop() == 0


def test_workers_do_not_outlive_their_supervisor(home: Path) -> None:
    server = Server(home, "--workers", "1", variables=SMALL).start()
    (worker,) = server.workers()
    server.stop(signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{worker}"))
    with Server(home, "--workers", "1", variables=SMALL) as again:
        assert answers(again)


def test_two_servers_share_one_store(home: Path) -> None:
    with Server(home, "--workers", "1", variables=SMALL) as one:
        with Server(home, "--workers", "1", variables=SMALL) as two, two.client() as client:
            assert one.postmaster() == two.postmaster()
            assert (
                client.put("Patient/shared", json={"resourceType": "Patient", "id": "shared"}).status_code
                == 201
            )
        with one.client() as client:
            assert client.get("Patient/shared").status_code == 200


def test_a_taken_port_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(RuntimeError, match="cannot be listened on"):
            Server(home, "--port", port, variables=SMALL).start()
