"""One worker process: ``python -m fhirhub.cli.worker LISTEN_FD CONTROL_FD``, started by the supervisor.

It loads the program while Postgres starts, waits for the supervisor's order (one line of JSON on the control
socket), serves, and answers ``ready``. When the supervisor is gone, the socket ends and the worker drains: no
worker outlives its supervisor.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from fhirhub import logs
from fhirhub.app import create_app
from fhirhub.cli.uvicorn_server import serve as serve_with_uvicorn
from fhirhub.http.dispatcher import Dispatcher
from fhirhub.http.guard import Guard
from fhirhub.http.metrics import Counters
from fhirhub.http.proxy import Proxied, networks
from fhirhub.http.request import App
from fhirhub.http.telemetry import Telemetry
from fhirhub.settings import Settings, load, override
from fhirhub.smart.demo import has_demo
from fhirhub.store import migrate
from fhirhub.store.engine import Lane
from fhirhub.store.programs import PostgresError

FATAL = 78
"""Exit code when starting again would not help (EX_CONFIG)."""

log = logging.getLogger("fhirhub.worker")


class Control:
    """The worker's end of the line to its supervisor."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)

    def order(self) -> dict[str, Any]:
        """Wait for the order to serve. Ends the process when the supervisor is gone."""
        with self._socket.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            raise SystemExit(0)
        return json.loads(line)

    def say(self, **message: Any) -> None:
        """Tell the supervisor something; nobody there any more is no reason to fail."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def watch(self) -> None:
        """Drain when the supervisor is gone."""

        def wait() -> None:
            try:
                while self._socket.recv(4096):
                    pass
            except OSError:
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()


async def prepare(dsn: str, settings: Settings) -> None:
    """Check that this Postgres may keep a record, and bring its schema up to date.

    Raises PostgresError when it may not, or when others can reach accounts whose passwords are shown at the start.
    """
    await migrate.verify(dsn)
    found = await migrate.ensure(dsn)
    if not settings.is_local:
        await _no_demo(dsn)
    if found.due:
        log.info("schema migrated", extra={"from": found.current, "to": found.expected})


async def _no_demo(dsn: str) -> None:
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        names = await has_demo(lane)
    finally:
        await lane.close()
    if names:
        raise PostgresError(
            f"The demo accounts {', '.join(names)} are active, and others can reach this server: deactivate each"
            " (fhirhub users deactivate NAME), or serve 127.0.0.1 only."
        )


def observed(app: App, settings: Settings, counters: Counters) -> Telemetry:
    """``app`` with what surrounds it; ready when its store answers."""
    if not isinstance(app, Dispatcher):
        return Telemetry(app, settings, counters)
    dispatcher = app

    async def store() -> None:
        if dispatcher.store is None:
            raise RuntimeError("the store is not open")
        await dispatcher.store.ping()

    def gauges() -> dict[str, float]:
        return {"fhirhub_db_pool_in_use": dispatcher.store.in_use} if dispatcher.store is not None else {}

    return Telemetry(app, settings, counters, {"store": store}, gauges)


def main(listen_fd: int, control_fd: int) -> int:
    """Serve on the inherited socket until SIGTERM; the exit code."""
    settings = load().settings
    logs.configure(settings.log_level, settings.log_format)
    control = Control(control_fd)
    order = control.order()
    settings = override(settings, database_url=order["dsn"])
    if order["prepare"]:
        try:
            asyncio.run(prepare(order["dsn"], settings))
        except PostgresError as error:
            control.say(fatal=str(error))
            return FATAL
    counters = Counters(Path(order["state"]), order["slot"])
    app = create_app(settings)
    telemetry = observed(app, settings, counters)
    if settings.is_local:
        telemetry.inner = Guard(app)
    if settings.trusted_proxies:
        telemetry.inner = Proxied(telemetry.inner, networks(settings.trusted_proxies))
    control.watch()
    # What is loaded by now stays: keep the collector from looking at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    listener = socket.socket(fileno=listen_fd)
    serve = serve_with_uvicorn
    if settings.http_server == "granian":
        # An optional package: loaded only where it was chosen.
        serve = importlib.import_module("fhirhub.cli.granian_server").serve
    return serve(telemetry, listener, settings, lambda: control.say(ready=True))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
