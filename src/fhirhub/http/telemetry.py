"""What surrounds every request: timing, counting, the access log, and the addresses that tell how the server is.

``/livez`` says that the process runs, ``/readyz`` that it can serve (not while it drains), ``/health`` the same in
the form of draft-inadarei-api-health-check, ``/metrics`` the counters. They stand before everything else, so that
they answer when the server is overloaded.
"""

from __future__ import annotations

import asyncio
import hmac
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from fhirhub import logs
from fhirhub.http.metrics import Counters
from fhirhub.http.request import App, Receive, Scope, Send, request_id
from fhirhub.settings import Settings, is_loopback

Check = Callable[[], Awaitable[None]]
"""Returns when the part is well, raises when it is not."""

ROUTE = "fhirhub.route"
"""Key of the ASGI scope where a dispatcher leaves what it resolved: an object with interaction and type."""

_CHECK_TIMEOUT = 3.0
_CHECKED_FOR = 0.25
_SHARE_AFTER = 1.0
_FLUSH_AFTER = 0.2
_FLUSH_FROM = 200
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_JSON = b"application/health+json"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """The ASGI app ``inner`` with what surrounds it.

    ``checks`` are the parts that must be well for the server to be ready; ``gauges`` gives further numbers for the
    metrics. ``draining`` is set when the server is about to stop, ``started`` when the app has started.
    """

    def __init__(
        self,
        inner: App,
        settings: Settings,
        counters: Counters,
        checks: Mapping[str, Check] | None = None,
        gauges: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.inner = inner
        self.draining = False
        self.started = asyncio.Event()
        self._counters = counters
        self._checks = dict(checks or {})
        self._gauges = gauges
        self._token = settings.metrics_token
        self._access = _AccessLog(logs.is_json(settings.log_format)) if settings.access_log else None
        self._active = 0
        self._share_due = False
        self._checked = (-1.0, dict[str, str]())
        self._own = {"/livez": self._livez, "/readyz": self._readyz, "/health": self._health,
                     "/metrics": self._metrics}  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            return await self.inner(scope, receive, self._until_started(send))
        own = self._own.get(scope["path"])
        if own is not None:
            return await self._answer(own, scope, send)
        started = time.perf_counter()
        head: Any = None

        def watched(message: Any) -> Awaitable[None]:
            nonlocal head
            if head is None:
                head = message
            return send(message)

        self._active += 1
        try:
            await self.inner(scope, receive, watched)
        finally:
            self._active -= 1
            self._finished(scope, head, time.perf_counter() - started)
        return None

    def _until_started(self, send: Send) -> Send:
        """``send`` that notices when the app has started."""

        async def noticed(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self.started.set()

        return noticed

    def _finished(self, scope: Scope, head: Any, seconds: float) -> None:
        status = head["status"] if head is not None else 499
        route = scope.get(ROUTE)
        method = scope["method"]
        self._counters.record(
            (
                method if method in _METHODS else "_OTHER",
                "other" if route is None else route.interaction,
                "" if route is None else route.type or "",
                status,
            ),
            seconds,
        )
        if not self._share_due:
            self._share_due = True
            asyncio.get_running_loop().call_later(_SHARE_AFTER, self._share)
        if self._access is not None:
            self._access.write(method, route, status, seconds, head)

    def _share(self) -> None:
        self._share_due = False
        self._measure()
        self._counters.share()

    def _measure(self) -> None:
        self._counters.gauges = {
            "http_server_active_requests": self._active,
            **(self._gauges() if self._gauges else {}),
        }

    # --- the server's own addresses

    async def _answer(self, own: Callable[[Scope], Awaitable[_Answer]], scope: Scope, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            status, media, body = await own(scope)
        else:
            status, media, body = 405, b"text/plain", b"Only GET and HEAD are offered here.\n"
        headers = [
            (b"content-type", media),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id(dict(scope["headers"]))),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="metrics"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _livez(self, _: Scope) -> _Answer:
        return 200, _JSON, b'{"status":"pass"}\n'

    async def _readyz(self, _: Scope) -> _Answer:
        failing = await self._failing()
        body = {"status": "fail" if failing else "pass"} | ({"failing": sorted(failing)} if failing else {})
        return 503 if failing else 200, _JSON, orjson.dumps(body) + b"\n"

    async def _health(self, _: Scope) -> _Answer:
        failing = await self._failing()
        checks = {
            name: [{"status": "fail" if name in failing else "pass", "time": logs.stamp(time.time())}]
            for name in [*self._checks, "serving"]
        }
        body = {"status": "fail" if failing else "pass", "checks": checks}
        return 503 if failing else 200, _JSON, orjson.dumps(body) + b"\n"

    async def _failing(self) -> dict[str, str]:
        """The parts that are not well, with the reason; asked for at most four times a second."""
        if time.monotonic() - self._checked[0] > _CHECKED_FOR:
            names = list(self._checks)
            results = await asyncio.gather(*[_checked(self._checks[name]) for name in names])
            found = {name: reason for name, reason in zip(names, results, strict=True) if reason}
            self._checked = (time.monotonic(), found)
        serving = "draining" if self.draining else "" if self.started.is_set() else "starting"
        return self._checked[1] | ({"serving": serving} if serving else {})

    async def _metrics(self, scope: Scope) -> _Answer:
        if not self._may_see_metrics(scope):
            return 401 if self._token else 403, b"text/plain", b"Metrics are not for everybody.\n"
        self._measure()
        return 200, _TEXT, self._counters.exposition()

    def _may_see_metrics(self, scope: Scope) -> bool:
        """With a token set, whoever has it; else callers on this machine, if no proxy speaks for others."""
        headers = dict(scope["headers"])
        if self._token:
            given = headers.get(b"authorization", b"")
            return hmac.compare_digest(given, b"Bearer " + self._token.encode())
        peer = scope.get("client")
        forwarded = b"x-forwarded-for" in headers or b"forwarded" in headers
        return peer is not None and is_loopback(peer[0]) and not forwarded


_Answer = tuple[int, bytes, bytes]


async def _checked(check: Check) -> str:
    """The reason why a part is not well; empty when it is."""
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            await check()
    except Exception as error:  # whatever it is, the part is not well
        return str(error) or type(error).__name__
    return ""


class _AccessLog:
    """One line per request, gathered and written a few times a second.

    It has the route, not the path: paths and queries name people.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lines: list[str] = []

    def write(self, method: str, route: Any, status: int, seconds: float, head: Any) -> None:
        id = b""
        for name, value in head["headers"] if head is not None else ():
            if name == b"x-request-id":
                id = value
                break
        interaction = "other" if route is None else route.interaction
        type = "" if route is None else route.type or ""
        now, ms = logs.stamp(time.time()), seconds * 1000
        if self._as_json:
            line = (
                f'{{"time":"{now}","level":"info","event":"request","request":"{id.decode()}",'
                f'"method":"{method}","interaction":"{interaction}","type":"{type}","status":{status},"ms":{ms:.2f}}}\n'
            )
        else:
            line = (
                f"{now[11:23]} info     {status} {method} {interaction} {type} {ms:.2f} ms  {id.decode()}\n"
            )
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_AFTER, self._flush)
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_FROM:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()
