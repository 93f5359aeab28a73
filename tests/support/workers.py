"""Connections to a particular worker of a server: all accept on one socket, so one looks who has taken a connection."""

from __future__ import annotations

import time
from contextlib import ExitStack

import httpx
import psutil

from support.process import Server


def one_to_each(server: Server, stack: ExitStack, timeout: float = 30.0) -> list[httpx.Client]:
    """A client for each worker, which keeps to its one connection; paths are below the FHIR base.

    ``stack`` closes them.
    """
    found: dict[int, httpx.Client] = {}
    deadline = time.monotonic() + timeout
    while len(found) < len(server.workers()) or len(found) < 2:
        assert time.monotonic() < deadline, f"only {len(found)} workers take connections"
        client = httpx.Client(
            base_url=server.base, timeout=30.0, trust_env=False, limits=httpx.Limits(max_connections=1)
        )
        worker = worker_of(server, client)
        if worker is None or worker in found:
            client.close()
            continue
        stack.callback(client.close)
        found[worker] = client
    return list(found.values())


def worker_of(server: Server, client: httpx.Client) -> int | None:
    """The process at the other end of the client's connection, which is made."""
    with client.stream("GET", server.base.removesuffix("/fhir") + "/livez") as answer:
        port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        for line in answer.iter_lines():
            assert line
    for pid in server.workers():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port:
                return pid
    return None
