"""Serve with uvicorn (httptools, uvloop): https://www.uvicorn.org/settings/."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from fhirhub.http.telemetry import Telemetry
from fhirhub.settings import Settings

_KEEP_ALIVE = 75


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
        http="httptools",
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
