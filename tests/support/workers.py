"""Connections to a particular worker of a server: all accept on one socket, so one looks who has taken a connection."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import psutil

from support.process import Server

PATIENCE = 30.0
ONE = httpx.Limits(max_connections=1)


def one_to_each(server: Server, stack: ExitStack) -> list[httpx.Client]:
    """A client for each of two workers, which keeps to its one connection; paths are below the FHIR base.

    ``stack`` closes them.
    """
    found: dict[int, httpx.Client] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < 2:
        assert time.monotonic() < deadline, f"only {len(found)} workers take connections"
        client = httpx.Client(base_url=server.base, timeout=30.0, trust_env=False, limits=ONE)
        with client.stream("GET", server.base.removesuffix("/fhir") + "/livez") as answer:
            answer.read()
            worker = _taken_by(server, _port(answer))
        if worker is None or worker in found:
            client.close()
            continue
        stack.callback(client.close)
        found[worker] = client
    return list(found.values())


async def pairs(server: Server, stack: AsyncExitStack, count: int) -> list[list[httpx.AsyncClient]]:
    """``count`` times a client for each of two workers; as :func:`one_to_each`."""
    found: dict[int, list[httpx.AsyncClient]] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < 2 or min(map(len, found.values())) < count:
        assert time.monotonic() < deadline, f"{len(found)} workers take connections"
        client = httpx.AsyncClient(base_url=server.base, timeout=30.0, trust_env=False, limits=ONE)
        async with client.stream("GET", server.base.removesuffix("/fhir") + "/livez") as answer:
            await answer.aread()
            worker = _taken_by(server, _port(answer))
        if worker is None or len(found.setdefault(worker, [])) == count:
            await client.aclose()
            continue
        stack.push_async_callback(client.aclose)
        found[worker].append(client)
    return [list(pair) for pair in zip(*found.values(), strict=True)]


def _port(answer: httpx.Response) -> Any:
    """The port of our end of the connection."""
    return answer.extensions["network_stream"].get_extra_info("client_addr")[1]


def _taken_by(server: Server, port: int) -> int | None:
    """The worker that has the other end."""
    for pid in server.workers():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port:
                return pid
    return None
