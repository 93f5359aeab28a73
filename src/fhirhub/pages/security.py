"""``/account/security``: the password and the second factor; ``/account/break-glass``: access in an emergency."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import see_other
from fhirhub.pages.events import note
from fhirhub.pages.forms import Form, read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused, address, required, set_cookie
from fhirhub.pages.signin import new_password_problem
from fhirhub.smart import totp
from fhirhub.smart.context import Smart
from fhirhub.smart.lockout import by_password
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.sessions import Session

HERE = "/account/security"
GLASS = "/account/break-glass"
GLASS_SECONDS = 1800
ISSUER = "fhirhub"
_DONE = {
    "password": "The password is changed. Other browsers you were signed in with are signed out.",
    "off": "The second factor is off.",
}
_SHORTEST_REASON, _LONGEST_REASON = 10, 300


def router(smart: Smart) -> APIRouter:
    """The routes of both pages."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(HERE)
    async def security(request: Request) -> Response:
        session = await required(smart, request)
        return await _page(smart, request, session, done=_DONE.get(request.query_params.get("done", ""), ""))

    @made.post(HERE + "/password")
    async def password(request: Request) -> Response:
        return await _password(smart, request)

    @made.post(HERE + "/factor")
    async def factor(request: Request) -> Response:
        return await _factor(smart, request)

    @made.post(HERE + "/factor/confirm")
    async def confirm(request: Request) -> Response:
        return await _confirm(smart, request)

    @made.get(GLASS)
    async def glass(request: Request) -> Response:
        session = await required(smart, request, "practitioner")
        return page(smart, request, "break-glass.html", session, problem="", until=session.reason_until)

    @made.post(GLASS)
    async def break_glass(request: Request) -> Response:
        return await _break_glass(smart, request)

    return made


async def _page(
    smart: Smart, request: Request, session: Session, status: int = 200, *, problem: str = "", done: str = ""
) -> Response:
    left = await smart.people.accounts.codes_left(session.account.id)
    return page(
        smart, request, "security.html", session, status=status, problem=problem, done=done, codes_left=left
    )


async def _proven(smart: Smart, request: Request, session: Session, form: Form) -> str:
    """What is wrong with the present password in a form, '' if it is right: a found browser changes nothing."""
    people = smart.people
    verdict = await by_password(
        people.accounts,
        people.sessions,
        people.passwords,
        session.account.username,
        form.one("current", 1024),
        address(request),
    )
    if verdict.wait:
        return f"There were too many wrong attempts. Try again in {verdict.wait} seconds."
    return "" if verdict.account is not None else "Your present password is wrong."


async def _password(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request)
    people, account = smart.people, session.account
    problem = await _proven(smart, request, session, form) or await new_password_problem(smart, account, form)
    if problem:
        return await _page(smart, request, session, 400, problem=problem)
    stored = await people.passwords.hash(form.one("password", 1024))
    await people.accounts.set_password(account.id, stored, must_change=False, keep=session.id)
    await note(smart, request, "password", account)
    return await _renewed(smart, request, session, f"{HERE}?done=password")


async def _factor(smart: Smart, request: Request) -> Response:
    """Begin to turn the second factor on, or turn it off."""
    form = await read(smart, request)
    session = await required(smart, request)
    account = session.account
    problem = await _proven(smart, request, session, form)
    if problem:
        return await _page(smart, request, session, 400, problem=problem)
    if account.totp is None:
        return _factor_page(smart, request, session, totp.new_secret())
    await smart.people.accounts.set_totp(account.id, None, 0)
    await note(smart, request, "second-factor", account, detail={"on": False})
    return await _renewed(smart, request, session, f"{HERE}?done=off")


async def _confirm(smart: Smart, request: Request) -> Response:
    """Turn the second factor on, when a code shows that the secret has arrived in the authenticator app."""
    form = await read(smart, request)
    session = await required(smart, request)
    people, account = smart.people, session.account
    try:
        pending = people.totp.unseal(_pending(account), urlsafe_b64decode(form.one("pending").encode()))
    except (Error, ValueError):
        pending = None
    if pending is None or account.totp is not None:
        return await _page(smart, request, session, 400, problem="Begin again: that form is out of date.")
    typed = "".join(form.one("code", 32).split())
    step = totp.matching_step(pending, typed, people.clock()) if typed.isascii() else None
    if step is None:
        problem = "That code is not the one of now. Wait for the next one, and check the clock of your phone."
        return _factor_page(smart, request, session, pending, problem)
    shown, stored = totp.recovery_codes()
    await people.accounts.set_totp(account.id, people.totp.seal(account.id, pending), step, stored)
    await note(smart, request, "second-factor", account, detail={"on": True})
    cookie = await people.sessions.advance(session.id, "complete")
    return page(smart, request, "recovery-codes.html", session, cookie=cookie or "", codes=shown)


def _factor_page(
    smart: Smart, request: Request, session: Session, secret: str, problem: str = ""
) -> Response:
    sealed = smart.people.totp.seal(_pending(session.account), secret)
    return page(
        smart,
        request,
        "second-factor.html",
        session,
        status=400 if problem else 200,
        problem=problem,
        secret=" ".join(secret[place : place + 4] for place in range(0, len(secret), 4)),
        picture=totp.picture(totp.address(secret, session.account.username, ISSUER)),
        pending=urlsafe_b64encode(sealed).decode(),
    )


def _pending(account: Account) -> str:
    """What a secret that is not confirmed yet is bound to: it cannot be stored as a confirmed one."""
    return f"pending {account.id} {account.version}"


async def _renewed(smart: Smart, request: Request, session: Session, to: str) -> Response:
    """On to ``to`` with a new cookie value: what changes who one is, changes the session."""
    response = see_other(to)
    value = await smart.people.sessions.advance(session.id, "complete")
    if value:
        set_cookie(smart, request, response, "session", value)
    return response


async def _break_glass(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "practitioner")
    reason = " ".join(form.one("reason", 2000).split())
    off = form.one("off") == "1"
    if not off and not _SHORTEST_REASON <= len(reason) <= _LONGEST_REASON:
        problem = f"Say why in {_SHORTEST_REASON} to {_LONGEST_REASON} characters."
        return page(smart, request, "break-glass.html", session, status=400, problem=problem, until=0)
    if not reason.isprintable():
        raise Refused(400, "That form is not right", "The reason has control characters in it.", session)
    await smart.people.sessions.break_glass(session.id, "" if off else reason, GLASS_SECONDS)
    if off:
        async with smart.lane.use() as connection, connection.raw.transaction():
            await grants.mend(connection, session.id)
    await note(
        smart, request, "break-glass", session.account, reason=session.reason if off else reason, detail={"on": not off}
    )  # fmt: skip
    return see_other(GLASS)
