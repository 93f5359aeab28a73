"""Serve with granian, in this process and on a socket that exists: https://github.com/emmett-framework/granian.

Granian's own supervisor is not used: ours binds the socket, watches workers and Postgres, and drains.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.net import SocketHolder
from granian.server.embed import Server

from fhirhub.http.telemetry import Telemetry
from fhirhub.settings import Settings

_BACKLOG = 2048
_HEADER_TIMEOUT = 30_000


class _Server(Server):
    def __init__(self, listener: socket.socket, telemetry: Telemetry, settings: Settings) -> None:
        super().__init__(
            telemetry,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT),
            backlog=_BACKLOG,
            # Never more in Python than the dispatcher refuses by itself, so that a 503 has its OperationOutcome.
            backpressure=settings.max_in_flight * 2,
            log_enabled=False,
            ssl_cert=settings.tls_cert,
            ssl_key=settings.tls_key,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        # The stub of granian declares neither; its own server.common does the same with a socket it has bound.
        holder: Any = SocketHolder
        vars(self).update(_ssp=None, _shd=holder(self._listener.fileno(), False, _BACKLOG))


async def _serve(
    telemetry: Telemetry, listener: socket.socket, settings: Settings, ready: Callable[[], None]
) -> None:
    server = _Server(listener, telemetry, settings)
    loop = asyncio.get_running_loop()

    def drain() -> None:
        telemetry.draining = True
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    serving = asyncio.create_task(server.serve())
    await asyncio.wait(
        {serving, asyncio.create_task(telemetry.started.wait())}, return_when="FIRST_COMPLETED"
    )
    if not serving.done():
        ready()
    await serving


def serve(
    telemetry: Telemetry, listener: socket.socket, settings: Settings, ready: Callable[[], None]
) -> int:
    """Serve on ``listener`` until SIGTERM; the exit code."""
    uvloop.run(_serve(telemetry, listener, settings, ready))
    return 0 if telemetry.started.is_set() else 1
