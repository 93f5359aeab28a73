"""The FHIR routes as one ASGI callable in front of everything else.

A FastAPI route costs more than a whole read from the database, so nothing of a framework stands on this path:
scope -> FhirRequest -> handler -> FhirResult -> two messages. What is not below ``/fhir`` goes to ``inner``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from fhirhub.auth.access import Access
from fhirhub.errors import FhirError, Issue, MethodNotAllowed, NotAcceptable, Overloaded, UnsupportedMediaType
from fhirhub.exchange import Caller, FhirRequest, FhirResult, Origin, Preferences
from fhirhub.http import binary, negotiation
from fhirhub.http.budget import Budget, weight
from fhirhub.http.cors import Cors, preflight_of
from fhirhub.http.errors import result_of
from fhirhub.http.request import (
    App,
    Disconnected,
    Receive,
    Scope,
    Send,
    base_url,
    conditional_headers,
    read_body,
    request_id,
)
from fhirhub.http.response import HEAD, PLAIN, Pairs, Shape, rendered, send_result
from fhirhub.http.routes import Route, resolve
from fhirhub.http.shell import Life, live
from fhirhub.http.telemetry import ROUTE
from fhirhub.hub import Hub
from fhirhub.interactions.perform import is_recorded, perform
from fhirhub.interactions.query import parameters as query_parameters
from fhirhub.resource import json, xml
from fhirhub.search.sight import Sight
from fhirhub.store.audit.floods import Floods
from fhirhub.store.audit.trail import Entry, event, outcome_of
from fhirhub.store.store import Store

Headers = Mapping[bytes, bytes]
Parameters = tuple[tuple[str, str], ...]

_DEFAULT = Preferences()
OPEN = frozenset({"metadata"})
"""Paths that need no token: whoever wants to connect has to know how."""
NOBODY = Access(Sight())
"""What somebody without a token may do there: reach nothing of the record."""
_BODY = frozenset(
    {"create", "update", "conditional-update", "patch", "conditional-patch", "bundle", "operation"}
)
_FORM = frozenset({"search-type", "search-system", "search-compartment"})
_LIKE_SEARCHES = frozenset({"explain"})
"""Operations whose parameters may come in a form."""
_PATCH = frozenset({"patch", "conditional-patch"})
_BODILESS = frozenset({"GET", "HEAD"})
_QUICK = frozenset({"read", "vread", "capabilities"})
"""Interactions so short that a timer for each would be felt; the store gives up by itself."""
_TRUE = ("true", "", "1")
_LOOK = 0.02
"""Seconds between two looks whether the requests of a former hub are answered."""


class Gate(Protocol):
    """Tells who asks."""

    async def access(self, headers: Headers) -> Access:
        """What the caller may do. Raises Unauthorized for a missing or bad token."""


class Epoch:
    """Counts the requests that are being answered by one hub."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = 0


class Dispatcher:
    """Everything below ``/fhir``; the rest goes to ``inner``.

    ``life`` is entered when the server starts; it sets ``hub``, and takes it away when the server stops.
    """

    def __init__(
        self,
        inner: App,
        life: Life,
        *,
        offered: Mapping[str | None, frozenset[str]],
        origins: tuple[str, ...],
        max_in_flight: int,
        timeout: float,
        base: str | None,
    ) -> None:
        self._inner = inner
        self._life = life
        self._offered = offered
        self.cors = Cors(origins)
        self._max_in_flight = max_in_flight
        self._timeout = timeout
        self._base = f"{base}/fhir" if base else None
        self.hub: Hub | None = None
        self.store: Store | None = None
        """To look at, not to read from: handlers have only what the hub gives them."""
        self.budget: Budget | None = None
        """What each caller may spend; None for no limit."""
        self.gate: Gate | None = None
        """Who asks, and what may they do; without one the hub is for everybody."""
        self.floods: Floods | None = None
        """Where failures go that anybody can cause without end; None where there is no trail."""
        self.in_flight = 0
        self._epoch = Epoch()

    async def exchange(self, hub: Hub) -> None:
        """Answer by ``hub`` from now on; returns when no request goes by the former one any more."""
        before, self._epoch = self._epoch, Epoch()
        self.hub = hub
        while before.inside:
            await asyncio.sleep(_LOOK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path[:6] == "/fhir/" and path[6:18] != ".well-known/":
                return await self._serve(scope, path[6:], receive, send)
            if path == "/fhir":
                return await self._serve(scope, "", receive, send)
            return await self._inner(scope, receive, send)
        if scope["type"] == "lifespan":
            return await live(self._life, receive, send)
        raise ValueError(f"{scope['type']} is not served")

    async def _serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        headers: Headers = dict(scope["headers"])
        id = request_id(headers)
        crossing = await self.cors.answer(headers, path in OPEN) if b"origin" in headers else ()
        extra: Pairs = [(b"x-request-id", id), *crossing]
        method = scope["method"]
        shape = HEAD if method == "HEAD" else PLAIN
        self.in_flight += 1
        epoch = self._epoch
        epoch.inside += 1
        access: Access | None = None
        try:
            try:
                hub = self._ready()
                if method == "OPTIONS":
                    result = self._options(path, headers, extra, hub)
                else:
                    query = scope["query_string"]
                    parameters = query_parameters(query) if query else ()
                    shape = _shape(method, path, parameters, headers)
                    if self.is_guarded:
                        address = _address(scope)
                        access = hub.access if self.gate is None else NOBODY
                        if self.gate is not None and path not in OPEN:
                            access = await self.gate.access(headers)
                        if self.budget is not None and path not in OPEN:
                            self.budget.admit(_key(access, address))
                        base = self._base_of(scope, headers)
                        hub = hub.seen_by(access, Origin(base, address, id.decode(), self._base is not None))
                    result, final = await self._answer(scope, path, parameters, receive, headers, hub)
                    if self.budget is not None:
                        extra += self._charged(self.budget, scope, hub)
                    if final is not parameters:
                        # A form may say, too, how it wants to be answered.
                        shape = _shape(method, path, final, headers)
                    if shape.format == negotiation.CONTENT:
                        result = binary.content(scope[ROUTE], result, headers[b"accept"])
                body = rendered(result, shape, hub.definitions)
            except Disconnected:
                return
            except Exception as error:  # noqa: BLE001  whatever it is, the caller gets an outcome
                result = await self._told(scope, path, id, error, access)
                shape, body = _error_body(result, shape, self.hub)
            await send_result(send, result, body, shape, extra)
        finally:
            self.in_flight -= 1
            epoch.inside -= 1

    async def _told(
        self, scope: Scope, path: str, id: bytes, error: Exception, access: Access | None
    ) -> FhirResult:
        """The answer to a request that ended with ``error``, which the audit trail knows of before it leaves.

        ``access`` is that of the caller, if it was told by then who that is.
        """
        result = result_of(error, id.decode())
        audit = self.hub.store.audit if self.hub is not None else None
        if audit is None or is_recorded(error):
            return result
        caller = replace(access.caller if access is not None else Caller(), address=_address(scope))
        entry = _failure(scope["method"], path, caller, result.status, id.decode(), error)
        try:
            if result.status == 401 and self.floods is not None:
                await self.floods.record((caller.address, ""), entry)
            else:
                await audit.record([entry])
        except FhirError as unheard:
            return result_of(unheard, id.decode())
        return result

    def _ready(self) -> Hub:
        if self.hub is None:
            raise Overloaded(
                Issue("transient", "The server is starting or stopping."), headers={"Retry-After": "1"}
            )
        if self.in_flight > self._max_in_flight:
            text = "The server has too many requests in hand; try again shortly."
            raise Overloaded(Issue("throttled", text), headers={"Retry-After": "1"})
        return self.hub

    @property
    def is_guarded(self) -> bool:
        """Whether every request gets a hub of its own."""
        audited = self.hub is not None and self.hub.store.audit is not None
        return self.gate is not None or self.budget is not None or audited

    def _charged(self, budget: Budget, scope: Scope, hub: Hub) -> Pairs:
        """Take what the answer cost from the caller's budget; the headers that tell what is left."""
        route = scope.get(ROUTE)
        cost = weight(route.interaction if route is not None else "", hub.store.spent)
        told = budget.charge(_key(hub.access, hub.store.origin.address), cost)
        return [(name.lower().encode(), value.encode()) for name, value in told.items()]

    def _base_of(self, scope: Scope, headers: Headers) -> str:
        return self._base or base_url(scope["scheme"], headers.get(b"host", b""), scope.get("server"))

    def _options(self, path: str, headers: Headers, extra: Pairs, hub: Hub) -> FhirResult:
        if len(extra) > 1 and (preflight := preflight_of(headers)):
            extra[2:] = preflight
            return FhirResult(204)
        try:
            resolve("OPTIONS", path, hub.definitions.type_number)
        except MethodNotAllowed as offered:
            return FhirResult(204, b"", offered.headers)
        return FhirResult(204)

    async def _answer(
        self,
        scope: Scope,
        path: str,
        parameters: Parameters,
        receive: Receive,
        headers: Headers,
        hub: Hub,
    ) -> tuple[FhirResult, Parameters]:
        """What the interaction answers, and its parameters with those of a form."""
        route = resolve(scope["method"], path, hub.definitions.type_number)
        scope[ROUTE] = route
        if route.interaction not in self._offered[route.type]:
            raise _not_claimed(route)
        if route.interaction in _QUICK:
            request = self._request(scope, route, parameters, headers)
            return await perform(hub, request), parameters
        try:
            async with asyncio.timeout(self._timeout):
                request = await self._with_body(scope, route, parameters, receive, headers, hub)
                return await perform(hub, request), request.parameters
        except TimeoutError:
            text = (
                f"The request took longer than {self._timeout:g} seconds and was given up; make it smaller."
            )
            raise FhirError(Issue("timeout", text), status=503, headers={"Retry-After": "5"}) from None

    async def _with_body(
        self, scope: Scope, route: Route, parameters: Parameters, receive: Receive, headers: Headers, hub: Hub
    ) -> FhirRequest:
        """The request with its body, when its interaction has one, as JSON."""
        interaction = route.interaction
        has_form = interaction in _FORM and scope["method"] == "POST"
        if not has_form and (interaction not in _BODY or scope["method"] in _BODILESS):
            return self._request(scope, route, parameters, headers)
        body = await read_body(receive, headers, hub.limits.body)
        if not body and (has_form or interaction == "operation"):
            return self._request(scope, route, parameters, headers, content_type="form" if has_form else "")
        content = binary.wrapped(route, headers, body)
        if content is not None:
            return self._request(
                scope, route, parameters, headers, content_type=negotiation.JSON, body=content
            )
        format = negotiation.body_format(headers.get(b"content-type", b""))
        has_form = has_form or (format == negotiation.FORM and route.operation in _LIKE_SEARCHES)
        if (format == negotiation.FORM) != has_form or (
            format == negotiation.JSON_PATCH and interaction not in _PATCH
        ):
            expected = "application/x-www-form-urlencoded" if has_form else "application/fhir+json"
            text = f"This Content-Type does not go with {scope['method']} here; send {expected}."
            raise UnsupportedMediaType(Issue("not-supported", text))
        if has_form:
            parameters += query_parameters(body)
            body = b""
        elif format == negotiation.XML:
            body = json.dumps(xml.from_xml(body, hub.definitions))
        return self._request(scope, route, parameters, headers, content_type=format, body=body)

    def _request(
        self,
        scope: Scope,
        route: Route,
        parameters: Parameters,
        headers: Headers,
        content_type: str = "",
        body: bytes = b"",
    ) -> FhirRequest:
        prefer = headers.get(b"prefer")
        return FhirRequest(
            route.interaction,
            route.type,
            route.id,
            route.version,
            parameters,
            body,
            content_type,
            conditional_headers(headers),
            _DEFAULT if prefer is None else negotiation.preferences(prefer),
            self._base_of(scope, headers),
            route.operation,
        )


def _failure(method: str, path: str, caller: Caller, status: int, request: str, error: Exception) -> Entry:
    """What the audit trail is told of a request that did not come as far as its interaction."""
    steps = path.split("/")
    return event(
        "rest", "refused", caller, outcome=outcome_of(status), status=status, request=request,
        type=steps[0], id=steps[1] if len(steps) > 1 else "",
        more={"method": method, "why": str(error) if isinstance(error, FhirError) else type(error).__name__},
    )  # fmt: skip


def _address(scope: Scope) -> str:
    """The network address of the caller, as far as the server knows it."""
    client = scope.get("client")
    return client[0] if client else ""


def _key(access: Access, address: str) -> str:
    """Whose budget a request is paid from: that of the app and user, or of the address where nobody is known."""
    caller = access.caller
    return f"{caller.client} {caller.user}" if caller.client or caller.user else address


def _accepted(method: str, path: str, accept: bytes) -> str:
    try:
        return negotiation.accepted(accept)
    except NotAcceptable:
        if binary.may_be_content(method, path):
            return negotiation.CONTENT
        raise


def _error_body(result: FhirResult, shape: Shape, hub: Hub | None) -> tuple[Shape, bytes]:
    """The outcome in the format asked for; as JSON when that is what failed."""
    if hub is not None and shape.format == negotiation.XML:
        with suppress(Exception):
            return shape, rendered(result, shape, hub.definitions)
    return replace(shape, format=negotiation.JSON, pretty=False), result.body


def _not_claimed(route: Route) -> MethodNotAllowed:
    text = f"The interaction {route.interaction} is not offered on {route.type or 'the system'}."
    return MethodNotAllowed(Issue("not-supported", text), headers={"Allow": "GET, HEAD, OPTIONS"})


def _shape(method: str, path: str, parameters: Parameters, headers: Headers) -> Shape:
    """The form of the answer: by ``_format`` before ``Accept``, ``_pretty`` and ``Accept-Encoding``."""
    pretty, format = False, None
    for name, value in parameters:
        if name == "_format":
            format = negotiation.format_parameter(value)
        elif name == "_pretty":
            pretty = value in _TRUE
    if format is None:
        accept = headers.get(b"accept")
        format = negotiation.JSON if accept is None else _accepted(method, path, accept)
    encoding = headers.get(b"accept-encoding")
    return Shape(
        format, pretty, encoding is not None and negotiation.gzip_accepted(encoding), method == "HEAD"
    )
