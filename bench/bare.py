"""Bare ASGI apps to compare with: ``python -m bench.bare LISTEN_FD uvicorn|granian KIND ARGUMENT``.

``bytes``  answers with a body of ARGUMENT bytes (limit L0: what the HTTP server can do)
``read``   answers with the content of a resource, by one prepared statement on the database ARGUMENT (limit L2)

They run on the same HTTP server, with the same settings, as fhirhub itself.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import sys
from collections import deque
from typing import Any

import asyncpg

from fhirhub.cli.uvicorn_server import serve as serve_with_uvicorn
from fhirhub.definitions.tables import load
from fhirhub.settings import Settings
from fhirhub.store.engine import SESSION

_CONNECTIONS = 8
_READ = "select content::text from resource where rt = $1 and id = $2"


class Bare:
    """What both apps share: the lifespan, and the attributes the HTTP servers expect of the outermost app."""

    def __init__(self) -> None:
        self.draining = False
        self.started = asyncio.Event()

    async def open(self) -> None:
        """Get ready."""

    async def body(self, path: str) -> bytes:
        """The body to answer with."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await receive()
            await self.open()
            self.started.set()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = await self.body(scope["path"])
        headers = [
            (b"content-type", b"application/fhir+json; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Constant(Bare):
    """The same bytes for everybody."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._body = b"x" * size

    async def body(self, path: str) -> bytes:
        """The bytes."""
        return self._body


class Reading(Bare):
    """One prepared read per request, over a plain list of connections: the stock pool takes twice the time."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._numbers = load().type_number
        self._free: list[Any] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._connections: list[Any] = []

    async def open(self) -> None:
        """Connect and prepare."""
        for _ in range(_CONNECTIONS):
            connection = await asyncpg.connect(self._dsn, server_settings=SESSION)
            self._connections.append(connection)
            self._free.append(await connection.prepare(_READ))

    async def body(self, path: str) -> bytes:
        """The content of ``/fhir/Type/id``."""
        _, _, type_, id_ = path.split("/")
        if self._free:
            statement = self._free.pop()
        else:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            statement = await waiter
        try:
            return (await statement.fetchval(self._numbers[type_], id_)).encode()
        finally:
            if self._waiting:
                self._waiting.popleft().set_result(statement)
            else:
                self._free.append(statement)


def main(listen_fd: int, http_server: str, kind: str, argument: str) -> int:
    """Serve one bare app on the inherited socket until SIGTERM."""
    app = Constant(int(argument)) if kind == "bytes" else Reading(argument)
    gc.collect()
    gc.freeze()
    serve = serve_with_uvicorn
    if http_server == "granian":
        # An optional package: loaded only where it was chosen.
        serve = importlib.import_module("fhirhub.cli.granian_server").serve

    def ready() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    return serve(app, socket.socket(fileno=listen_fd), Settings(), ready)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
