"""Who may call a server that is open to everybody on this machine.

Such a server is safe from other machines, not from web pages: a page whose name is made to point to 127.0.0.1 (DNS
rebinding) is of the same origin as the server it calls. It is told by the name in ``Host``.
"""

from __future__ import annotations

from functools import lru_cache

from fhirhub.errors import FhirError, Issue
from fhirhub.http.errors import result_of
from fhirhub.http.request import App, Receive, Scope, Send, request_id
from fhirhub.http.response import PLAIN, send_result
from fhirhub.settings import is_loopback


@lru_cache(maxsize=256)
def is_local(host: bytes) -> bool:
    """Whether a ``Host`` header names this machine; no header at all is no browser."""
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        address, bracket, port = name.partition("]")
        return is_loopback(address + bracket) and port[:1] in ("", ":")
    return name == "" or is_loopback(name.partition(":")[0]) or name == "::1"


class Guard:
    """``inner`` for callers that know the server by a name of this machine; 421 for all others."""

    def __init__(self, inner: App) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if not is_local(host):
                return await _refuse(scope, send)
        await self._inner(scope, receive, send)
        return None


async def _refuse(scope: Scope, send: Send) -> None:
    id = request_id(dict(scope["headers"]))
    text = "This server is for callers on its own machine: call it by http://127.0.0.1, or start it with --base-url."
    result = result_of(FhirError(Issue("security", text), status=421), id.decode())
    await send_result(send, result, result.body, PLAIN, [(b"x-request-id", id)])
