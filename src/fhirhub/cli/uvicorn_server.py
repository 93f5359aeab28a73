"""Serve with uvicorn (httptools, uvloop): https://www.uvicorn.org/settings/."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fhirhub.http.telemetry import Telemetry
from fhirhub.settings import Settings

_KEEP_ALIVE = 75


class _Joined:
    """A transport that sends what is written in one turn of the event loop with one system call.

    uvicorn writes the head and the body of a response apart; on a read from the store, the second call into the
    kernel costs a sixth of the whole request.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._soon = asyncio.get_running_loop().call_soon

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._transport.write(b"".join(pieces))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        joined: Any = _Joined(transport)
        super().connection_made(joined)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, telemetry: Telemetry, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._telemetry = telemetry
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends; neither is raised again afterwards, as uvicorn would."""
        self._telemetry.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    telemetry: Telemetry, listener: socket.socket, settings: Settings, ready: Callable[[], None]
) -> int:
    """Serve on ``listener`` until SIGTERM, then let requests in hand finish; the exit code."""
    config = uvicorn.Config(
        telemetry,
        http=_Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.drain_timeout),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    server = _Server(config, telemetry, ready)
    server.run(sockets=[listener])
    return 0 if server.started else 1
