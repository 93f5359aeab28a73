"""Signing in and out: password, then a code where the account has a second factor, then a new password where one is due."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from fhirhub.errors import BadRequest
from fhirhub.pages.answers import Answer, see_other
from fhirhub.pages.events import note
from fhirhub.pages.forms import Form, read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import (
    SIGN_IN,
    address,
    any_stage,
    checked_next,
    destination,
    set_cookie,
    sign_in_url,
)
from fhirhub.smart.context import Smart
from fhirhub.smart.lockout import Verdict, by_code, by_password
from fhirhub.smart.passwords import check
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.sessions import Session

WRONG = "The username or the password is wrong."
WRONG_CODE = "That code is wrong, too old, or used already. Wait for the next one."
_PATHS = {"totp": "/auth/totp", "change": "/auth/change-password"}


def router(smart: Smart) -> APIRouter:
    """``/auth/sign-in``, ``/auth/totp``, ``/auth/change-password``, ``/auth/sign-out``."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(SIGN_IN)
    async def sign_in_page(request: Request) -> Response:
        return await _sign_in_page(smart, request)

    @made.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        return await _sign_in(smart, request)

    @made.get("/auth/totp")
    async def code_page(request: Request) -> Response:
        await _at(smart, request, "totp")
        return page(smart, request, "totp.html", problem="", next=_next(request))

    @made.post("/auth/totp")
    async def code(request: Request) -> Response:
        return await _code(smart, request)

    @made.get("/auth/change-password")
    async def change_page(request: Request) -> Response:
        await _at(smart, request, "change")
        return page(smart, request, "change-password.html", problem="", next=_next(request))

    @made.post("/auth/change-password")
    async def change(request: Request) -> Response:
        return await _change(smart, request)

    @made.post("/auth/sign-out")
    async def sign_out(request: Request) -> Response:
        return await _sign_out(smart, request)

    return made


def _next(request: Request) -> str:
    return checked_next(request.query_params.get("next"))


async def _sign_in_page(smart: Smart, request: Request) -> Response:
    to = _next(request)
    session = await any_stage(smart, request)
    if session is not None and "again" not in request.query_params:
        return _onward(session, to)
    return page(smart, request, "sign-in.html", problem="", username="", next=to)


async def _sign_in(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    people = smart.people
    username = form.one("username")
    verdict = await by_password(
        people.accounts,
        people.sessions,
        people.passwords,
        username,
        form.one("password", 1024),
        address(request),
    )
    to = checked_next(form.one("next"))
    if verdict.account is None:
        await note(smart, request, "lockout" if verdict.wait else "login", verdict.tried, outcome=4)
        return _again(smart, request, verdict, WRONG, "sign-in.html", username=username[:256], next=to)
    before = await any_stage(smart, request)
    if before is not None:
        await people.sessions.end(before.id)
    account = verdict.account
    stage = "totp" if account.totp is not None else _after_code(account)
    _, value = await people.sessions.start(account.id, stage, address(request), account.version)
    session = await _session(smart, value)
    await note(smart, request, "login", account, detail={"stage": stage})
    return _with_cookie(smart, request, session, value, to)


async def _code(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await _at(smart, request, "totp")
    people, account, to = smart.people, session.account, checked_next(form.one("next"))
    verdict = await by_code(
        people.accounts, people.sessions, people.totp, account, form.one("code"), address(request), people.clock()
    )  # fmt: skip
    if verdict.account is None:
        await note(smart, request, "login", account, outcome=4, detail={"stage": "code"})
        return _again(smart, request, verdict, WRONG_CODE, "totp.html", next=to)
    value = await people.sessions.advance(session.id, _after_code(account))
    await note(smart, request, "login", account, detail={"stage": "code"})
    return _with_cookie(smart, request, await _session(smart, value or ""), value or "", to)


async def _change(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await _at(smart, request, "change")
    people, account, to = smart.people, session.account, checked_next(form.one("next"))
    problem = await new_password_problem(smart, account, form)
    if problem:
        return page(smart, request, "change-password.html", status=400, problem=problem, next=to)
    stored = await people.passwords.hash(form.one("password", 1024))
    await people.accounts.set_password(account.id, stored, must_change=False, keep=session.id)
    value = await people.sessions.advance(session.id, "complete")
    await note(smart, request, "password", account)
    return _with_cookie(smart, request, await _session(smart, value or ""), value or "", to)


async def new_password_problem(smart: Smart, account: Account, form: Form) -> str:
    """What is wrong with the new password of a form (fields ``password`` and ``again``), '' if nothing."""
    password = form.one("password", 1024)
    if password != form.one("again", 1024):
        return "The two passwords are not the same; type the new one twice."
    try:
        check(password, account.username)
    except BadRequest as error:
        return str(error)
    if await smart.people.passwords.verify(account.password, password):
        return "That is the password you have; choose another."
    return ""


async def _sign_out(smart: Smart, request: Request) -> Response:
    await read(smart, request)
    session = await any_stage(smart, request)
    if session is not None:
        await smart.people.sessions.end(session.id)
        await note(smart, request, "logout", session.account)
    response = see_other(SIGN_IN)
    set_cookie(smart, request, response, "session", "")
    return response


def _after_code(account: Account) -> str:
    return "change" if account.must_change else "complete"


async def _at(smart: Smart, request: Request, stage: str) -> Session:
    """The session if it stands at ``stage``; else raises the way to where it stands."""
    session = await any_stage(smart, request)
    if session is None:
        raise Answer(see_other(sign_in_url(_next(request))))
    if session.stage != stage:
        raise Answer(_onward(session, _next(request)))
    return session


async def _session(smart: Smart, value: str) -> Session:
    """The session of a cookie value that was made just now; it may have ended already, by deactivation."""
    session = await smart.people.sessions.current(value)
    if session is None:
        raise Answer(see_other(SIGN_IN))
    return session


def _onward(session: Session, to: str) -> Response:
    if session.stage == "complete":
        return see_other(destination(to, session))
    return see_other(_PATHS[session.stage] + (f"?next={to}" if to else ""))


def _with_cookie(smart: Smart, request: Request, session: Session, value: str, to: str) -> Response:
    response = _onward(session, to)
    set_cookie(smart, request, response, "session", value)
    return response


def _again(
    smart: Smart, request: Request, verdict: Verdict, problem: str, template: str, **values: Any
) -> Response:
    """The form once more: 429 and how long to wait when locked."""
    if not verdict.wait:
        return page(smart, request, template, status=400, problem=problem, **values)
    text = f"There were too many wrong attempts. Try again in {_spoken(verdict.wait)}."
    response = page(smart, request, template, status=429, problem=text, **values)
    response.headers["Retry-After"] = str(verdict.wait)
    return response


def _spoken(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
