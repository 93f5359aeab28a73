"""Who looks at a page: the cookie of the sign-in session, and the proof that a form is one of ours.

The session cookie is HttpOnly and SameSite=Lax; on https it is Secure and carries the ``__Host-`` prefix, so that no other
host and no http page can set it. A form carries an HMAC of the cookie (a second, meaningless cookie before sign-in):
a page of another site can send the cookie but not say the HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlencode

from fastapi import Request, Response

from fhirhub.pages.answers import Answer, see_other
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.sessions import Session

SIGN_IN = "/auth/sign-in"
RESUME = "/auth/authorize/resume"
"""Where an app's authorization request goes on after sign-in, with its id as ``request``."""
HOME = "/account/apps"
PLACES = (HOME, "/account/access", "/account/security", "/account/break-glass", "/launch", "/admin")
"""Pages that sign-in may lead back to."""
_REQUEST = re.compile(r"[A-Za-z0-9_-]{20,128}")
_LANDING = {"admin": "/admin", "practitioner": "/launch", "frontdesk": "/launch"}


def is_https(smart: Smart, request: Request) -> bool:
    """Whether the browser speaks https, to this server or to what stands before it."""
    return request.url.scheme == "https" or (smart.settings.base_url or "").startswith("https:")


def cookie_name(smart: Smart, request: Request, kind: str) -> str:
    """The name of the cookie ``kind``: ``session`` or ``visit``."""
    return f"{'__Host-' if is_https(smart, request) else ''}fhirhub-{kind}"


def set_cookie(smart: Smart, request: Request, response: Response, kind: str, value: str) -> None:
    """Set the cookie ``kind``, which ends with the browser at the latest; an empty value removes it."""
    response.set_cookie(
        cookie_name(smart, request, kind),
        value,
        max_age=0 if not value else None,
        path="/",
        secure=is_https(smart, request),
        httponly=True,
        samesite="lax",
    )


async def any_stage(smart: Smart, request: Request) -> Session | None:
    """The browser's session, perhaps with a code or a new password still to come."""
    value = request.cookies.get(cookie_name(smart, request, "session"), "")
    return await smart.people.sessions.current(value) if value else None


async def current(smart: Smart, request: Request) -> Session | None:
    """The session of somebody who is fully signed in."""
    session = await any_stage(smart, request)
    return session if session is not None and session.stage == "complete" else None


async def required(smart: Smart, request: Request, *roles: str) -> Session:
    """The session of somebody signed in, in one of ``roles`` when given; else raises the answer to give instead."""
    session = await current(smart, request)
    if session is None:
        path = request.url.path
        raise Answer(see_other(sign_in_url(path if path in PLACES else "")))
    if roles and session.account.role not in roles:
        raise Refused(403, "This page is not for your role", f"It is for: {', '.join(roles)}.", session)
    return session


class Refused(Exception):
    """A page that says why not: HTTP status, a heading, a sentence, and who is signed in."""

    def __init__(self, status: int, heading: str, text: str, session: Session | None = None) -> None:
        super().__init__(heading)
        self.status, self.heading, self.text, self.session = status, heading, text, session


def sign_in_url(to: str = "", *, again: bool = False) -> str:
    """The sign-in page, leading on to a place or an authorization request; ``again``: even for who is signed in."""
    query = {name: value for name, value in (("next", to), ("again", "1" if again else "")) if value}
    return f"{SIGN_IN}?{urlencode(query)}" if query else SIGN_IN


def destination(to: str, session: Session) -> str:
    """Where to go after sign-in: a page of ours, or the request that waits. Never an address somebody gave."""
    if to in PLACES:
        return to
    if _REQUEST.fullmatch(to):
        return f"{RESUME}?{urlencode({'request': to})}"
    return _LANDING.get(session.account.role, HOME)


def checked_next(text: str | None) -> str:
    """``next`` as it came, if it can mean something, else ''."""
    return text if text and (text in PLACES or _REQUEST.fullmatch(text)) else ""


def bond(smart: Smart, request: Request) -> tuple[str, str]:
    """The value of the cookie that a form is bound to, and, when there was none yet, a fresh one to be set."""
    value = request.cookies.get(cookie_name(smart, request, "session")) or request.cookies.get(
        cookie_name(smart, request, "visit")
    )
    if value:
        return value, ""
    fresh = secrets.token_urlsafe(24)
    return fresh, fresh


def csrf_token(smart: Smart, value: str) -> str:
    """What a form has to say, for a cookie value."""
    key = smart.keys.derive("csrf")
    return hmac.new(key, value.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def forged(smart: Smart, request: Request, token: str) -> bool:
    """Whether a form did not come from a page that this browser got from us."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    value, fresh = bond(smart, request)
    return bool(fresh) or not hmac.compare_digest(csrf_token(smart, value).encode(), token.encode())


def address(request: Request) -> str:
    """The network address the request came from."""
    return request.client.host if request.client else ""
