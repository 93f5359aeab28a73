"""Everything that is not FHIR: a FastAPI app, loaded when it is first asked for.

FastAPI takes a third of a second to import and 20 MB to keep, and no FHIR request needs it: a worker that only serves
the record starts without it. This is the one place outside ``cli`` where a module is loaded late.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fhirhub.capability import Capability
from fhirhub.definitions.tables import Definitions
from fhirhub.exchange import REQUEST_ID
from fhirhub.http.request import App, Message, Receive, Scope, Send, request_id

log = logging.getLogger("fhirhub.http")
Life = Callable[[], AbstractAsyncContextManager[None]]
"""Entered when the server starts, left when it stops."""


class Shell:
    """The ASGI app of what is not FHIR."""

    def __init__(self, capability: Capability, definitions: Definitions, version: str) -> None:
        self._arguments = (capability, definitions, version)
        self.smart: object | None = None
        """What the authorization server and its pages are made of; set before the first request."""
        self._app: App | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        id = request_id(dict(scope["headers"]))
        REQUEST_ID.set(id.decode())

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", id)]
            await send(message)

        await (self._app or await self._load())(scope, receive, with_id)

    async def _load(self) -> App:
        async with self._loading:
            if self._app is None:
                self._app = await asyncio.to_thread(self._make)
            return self._app

    def _make(self) -> App:
        made: App = importlib.import_module("fhirhub.site").make_app(*self._arguments, self.smart)
        return made


async def live(life: Life, receive: Receive, send: Send) -> None:
    """Answer the events of the ASGI lifespan (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""
    await receive()
    started = False
    try:
        async with life():
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        log.exception("the server cannot %s", "stop cleanly" if started else "start")
        await send({"type": f"lifespan.{'shutdown' if started else 'startup'}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
