"""An ASGI app on a real port, in a thread with an event loop of its own, for a browser to look at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

import uvicorn

T = TypeVar("T")


class Live:
    """Where it listens, and a way to do something in its loop."""

    def __init__(self, base: str, loop: asyncio.AbstractEventLoop, made: Any) -> None:
        self.base, self.made, self._loop = base, made, loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns, done beside the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def serving(opened: Callable[[], AbstractAsyncContextManager[Any]]) -> Iterator[Live]:
    """Serve ``made.app`` of what ``opened`` makes, until the ``with`` ends."""
    ready: list[Live] = []
    failed: list[BaseException] = []
    started = threading.Event()
    server: list[uvicorn.Server] = []

    async def work() -> None:
        async with opened() as made:
            config = uvicorn.Config(made.app, port=0, log_level="warning", lifespan="off")
            server.append(uvicorn.Server(config))
            task = asyncio.create_task(server[0].serve())
            while not server[0].started:
                await asyncio.sleep(0.01)
                if task.done():
                    task.result()
            port = server[0].servers[0].sockets[0].getsockname()[1]
            ready.append(Live(f"http://127.0.0.1:{port}", asyncio.get_running_loop(), made))
            started.set()
            await task

    def thread() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            failed.append(error)
            started.set()

    runner = threading.Thread(target=thread, daemon=True)
    runner.start()
    started.wait(60)
    if not ready:
        raise RuntimeError("the app was not served") from (failed[0] if failed else None)
    try:
        yield ready[0]
    finally:
        server[0].should_exit = True
        runner.join(30)
