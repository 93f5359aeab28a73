"""Pages from templates, with the headers that keep them ours: strict CSP, no framing, no storing, no referrer."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fhirhub.errors import FhirError
from fhirhub.pages.answers import SAFE, Answer
from fhirhub.pages.events import note
from fhirhub.pages.session import Refused, bond, csrf_token, is_https, set_cookie
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.sessions import Session

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_NAVIGATION = (
    ("/launch", "Start an app", ("admin", "practitioner", "frontdesk", "biller")),
    ("/account/apps", "Connected apps", ()),
    ("/account/access", "Who looked at my record", ("patient",)),
    ("/account/break-glass", "Emergency access", ("practitioner",)),
    ("/account/security", "Password and sign-in", ()),
    ("/admin", "Administration", ("admin",)),
)
"""Path, label, roles (none: everybody)."""


def moment(micro: int) -> str:
    """A time as people read it: ``2 Nov 2026, 08:00 UTC``."""
    when = datetime.fromtimestamp(micro / 1_000_000, UTC)
    return f"{when.day} {when:%b %Y, %H:%M} UTC"


_TEMPLATES.filters["moment"] = moment


def page(
    smart: Smart,
    request: Request,
    template: str,
    session: Session | None = None,
    *,
    status: int = 200,
    form_targets: Iterable[str] = (),
    cookie: str = "",
    **values: Any,
) -> Response:
    """The page of ``templates/<template>``; it knows ``csrf``, ``account``, ``navigation``, ``path`` and ``values``.

    ``form_targets``: addresses outside that a form of the page may end at by redirection, such as an app's redirect
    URI: browsers hold the whole way of a form against ``form-action``. ``cookie``: a new value of the session cookie,
    which is set, and which the forms of the page are bound to.
    """
    value, fresh = (cookie, "") if cookie else bond(smart, request)
    role = session.account.role if session is not None else ""
    html = _TEMPLATES.get_template(template).render(
        csrf=csrf_token(smart, value),
        account=session.account if session is not None else None,
        reason=session.reason if session is not None else "",
        navigation=[(to, label) for to, label, roles in _NAVIGATION if role and (not roles or role in roles)],
        path=request.url.path,
        **values,
    )
    response = Response(html, status, media_type="text/html", headers=_headers(form_targets))
    if is_https(smart, request):
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if fresh:
        set_cookie(smart, request, response, "visit", fresh)
    if cookie:
        set_cookie(smart, request, response, "session", cookie)
    return response


def refusal(
    smart: Smart, request: Request, status: int, heading: str, text: str, session: Session | None = None
) -> Response:
    """A page that says what went wrong and what to do."""
    return page(smart, request, "refusal.html", session, status=status, heading=heading, text=text)


def route_class(smart: Smart) -> type[APIRoute]:
    """The class of routes that answer pages: what a handler raises becomes a page, too."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    return await inner(request)
                except Answer as answer:
                    return answer.response
                except Refused as why:
                    if why.status == 403 and why.session is not None:
                        account, path = why.session.account, request.url.path
                        await note(smart, request, "refused", account, outcome=4, detail={"page": path})
                    return refusal(smart, request, why.status, why.heading, why.text, why.session)
                except FhirError as error:
                    answer_ = refusal(smart, request, error.status, "That did not work", str(error))
                    answer_.headers.update(error.headers)
                    return answer_

            return handle

    return PageRoute


def _headers(form_targets: Iterable[str]) -> dict[str, str]:
    targets = " ".join(sorted({_source(one) for one in form_targets}))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action 'self'{' ' + targets if targets else ''}; frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        **SAFE,
        "Content-Security-Policy": policy,
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    }


def _source(address: str) -> str:
    """The source expression of CSP for an address: its origin; its scheme for an app's own one, and for an IPv6 host,
    which the grammar of host sources has no place for."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", parts.netloc):
        return f"{parts.scheme}://{parts.netloc}"
    return f"{parts.scheme}:"
