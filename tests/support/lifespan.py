"""Start and stop an ASGI app in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """The app between its ASGI lifespan events startup and shutdown; a failed startup is raised."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "state": {}}, inbox.get, outbox.put))
    await _exchange(task, inbox, outbox, "startup")
    try:
        yield app
    finally:
        await _exchange(task, inbox, outbox, "shutdown")
        await task


async def _exchange(task: asyncio.Task[None], inbox: Any, outbox: Any, event: str) -> None:
    await inbox.put({"type": f"lifespan.{event}"})
    answer = asyncio.create_task(outbox.get())
    await asyncio.wait({task, answer}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        task.result()
        raise RuntimeError(f"the app ended during {event}")
    message = answer.result()
    if message["type"].endswith(".failed"):
        raise RuntimeError(message.get("message") or f"{event} failed")
