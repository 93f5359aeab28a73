"""``/admin``: the people who sign in. Only for administrators; apps, roles and the trail have pages of their own."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fhirhub.errors import FhirError
from fhirhub.pages.events import note
from fhirhub.pages.forms import Form, read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused, required
from fhirhub.smart.context import Smart
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.demo import check_public
from fhirhub.smart.passwords import one_time
from fhirhub.smart.people import reset_password
from fhirhub.smart.storage.accounts import ROLES, Account
from fhirhub.smart.storage.sessions import Session

HERE = "/admin"


def router(smart: Smart) -> APIRouter:
    """The list of people and what can be done about each."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(HERE)
    async def people(request: Request) -> Response:
        session = await required(smart, request, "admin")
        return await _page(smart, request, session)

    @made.post(HERE + "/users/add")
    async def add(request: Request) -> Response:
        return await _add(smart, request)

    @made.post(HERE + "/users/reset")
    async def reset(request: Request) -> Response:
        return await _reset(smart, request)

    @made.post(HERE + "/users/deactivate")
    async def deactivate(request: Request) -> Response:
        return await _deactivate(smart, request)

    @made.post(HERE + "/users/activate")
    async def activate(request: Request) -> Response:
        return await _activate(smart, request)

    return made


async def _page(
    smart: Smart,
    request: Request,
    session: Session,
    status: int = 200,
    *,
    problem: str = "",
    done: str = "",
    secret: str = "",
    typed: Form | None = None,
) -> Response:
    kept = {name: typed.one(name) if typed else "" for name in ("username", "role", "fhir_user")}
    accounts = await smart.people.accounts.all()
    return page(
        smart, request, "admin-users.html", session, status=status, problem=problem, done=done, secret=secret,
        accounts=accounts, roles=ROLES, typed=kept,
    )  # fmt: skip


async def _add(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    people, password = smart.people, one_time()
    try:
        made = await people.accounts.add(
            form.one("username"),
            form.one("role"),
            form.one("fhir_user").strip() or None,
            await people.passwords.hash(password),
            must_change=True,
        )
    except FhirError as error:
        return await _page(smart, request, session, error.status, problem=str(error), typed=form)
    await note(smart, request, "user-add", session.account, detail={"user": made.username, "role": made.role})
    done = f"Added {made.username} ({made.role})."
    return await _page(smart, request, session, done=done, secret=password)


async def _reset(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    account, password = await _other(smart, form, session), one_time()
    cut = await reset_password(smart.people, account, password)
    detail = {"user": account.username, "cut": cut}
    await note(smart, request, "user-reset", session.account, detail=detail)
    done = f"{account.username} has a new password, no second factor, is signed out everywhere, and apps are cut off."
    return await _page(smart, request, session, done=done, secret=password)


async def _deactivate(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    account = await _other(smart, form, session)
    cut = await smart.people.accounts.deactivate(account.id, CUTS)
    detail = {"user": account.username, "cut": cut or {}}
    await note(smart, request, "user-deactivate", session.account, detail=detail)
    told = ", ".join(f"{count} {what}" for what, count in (cut or {}).items() if count)
    done = f"{account.username} is deactivated. Cut: {told or 'nothing was open'}."
    return await _page(smart, request, session, done=done)


async def _activate(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    account = await _other(smart, form, session)
    try:
        check_public(smart.settings, account.username, account.demo)
    except FhirError as error:
        return await _page(smart, request, session, error.status, problem=str(error))
    changed = await smart.people.accounts.activate(account.id)
    detail = {"user": account.username, "changed": changed}
    await note(smart, request, "user-activate", session.account, detail=detail)
    done = (
        f"{account.username} may sign in again, with the password of before. Apps have to be connected anew."
    )
    return await _page(smart, request, session, done=done)


async def _other(smart: Smart, form: Form, session: Session) -> Account:
    """The account a form is about, which is not the administrator's own: one would lock oneself out."""
    account = await smart.people.accounts.by_id(form.one("account", 64))
    if account is None:
        raise Refused(404, "There is no such account", "Reload the list.", session)
    if account.id == session.account.id:
        text = "Your own account is for another administrator to change; your password is under Password and sign-in."
        raise Refused(409, "That is your own account", text, session)
    return account
