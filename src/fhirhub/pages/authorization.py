"""The way of a person through an app's authorization request: sign-in, choice of a patient, consent.

``/auth/authorize`` checks and keeps the request and leads to :data:`~fhirhub.pages.session.RESUME` with its id, which is no
secret: the first session that enters owns the request, and nobody else gets further. Each page looks where the request
stands before it shows anything, so that no step can be left out.
"""

from __future__ import annotations

import re
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import SAFE, Answer, see_other
from fhirhub.pages.events import note
from fhirhub.pages.render import page, refusal, route_class
from fhirhub.pages.session import RESUME, Refused, address, current, sign_in_url
from fhirhub.smart import asked, authorize
from fhirhub.smart.context import Smart
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.authorizations import RequestRow
from fhirhub.smart.storage.sessions import Session
from fhirhub.smart.web import FormError, form, origin_of, pairs

AUTHORIZE = "/auth/authorize"
CONSENT = "/auth/consent"
PICKER = "/auth/patient"
_ID = re.compile(r"[A-Za-z0-9_-]{20,128}")
_OVER = "It was answered already, or waited longer than half an hour. Go back to the app and start again."


def router(smart: Smart) -> APIRouter:
    """``/auth/authorize`` and ``/auth/authorize/resume``."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(AUTHORIZE)
    async def by_link(request: Request) -> Response:
        return await _begin(smart, request)

    @made.post(AUTHORIZE)
    async def by_form(request: Request) -> Response:
        return await _begin(smart, request)

    @made.get(RESUME)
    async def resume(request: Request) -> Response:
        row, session = await entered(smart, request, request.query_params.get("request", ""))
        return see_other(_url(PICKER if lacks_patient(row) else CONSENT, row.id))

    return made


async def _begin(smart: Smart, request: Request) -> Response:
    """Check the request of an app; GET and POST alike (OpenID Connect Core §3.1.2.1)."""
    origin = origin_of(request, smart.settings)
    try:
        given = await form(request) if request.method == "POST" else pairs(request.url.query)
        row = await authorize.begin(smart, origin, given, address(request))
    except FormError as error:
        return refusal(smart, request, 400, "This request cannot be read", str(error))
    except authorize.Unproven as error:
        return refusal(smart, request, 400, error.heading, error.text)
    except authorize.Crowded as error:
        text = f"Too many apps were started from here. Try again in {error.wait} seconds."
        answer = refusal(smart, request, 429, "There is too much at once", text)
        answer.headers["Retry-After"] = str(error.wait)
        return answer
    except authorize.Refused as error:
        if not error.asking:
            return to_app(error.location)
        why = "The app asked for access in a way that is not right. Nothing was given to it."
        return page(
            smart, request, "turned-away.html", status=400, why=why, back=error.location, app=error.asking
        )
    return see_other(_url(RESUME, row.id))


def _url(path: str, id: str) -> str:
    return f"{path}?request={id}"


def to_app(location: str) -> Response:
    """The browser goes back to the app, with the answer."""
    return Response(status_code=303, headers={**SAFE, "Location": location})


def lacks_patient(row: RequestRow) -> bool:
    """Whether somebody still has to say which patient the app is for."""
    return row.context.patient is None and asked.needs_patient(row.scope.split())


async def entered(smart: Smart, request: Request, id: str) -> tuple[RequestRow, Session]:
    """The open request ``id`` and the session that owns it; else raises the answer to give instead."""
    now = smart.clock()
    row = await authorizations.find_request(smart.lane, id, now) if _ID.fullmatch(id) else None
    session = await current(smart, request)
    if row is None:
        raise Refused(400, "This request is over", _OVER, session)
    if session is None or _signs_in_again(row, session, now):
        await _check_silent(smart, request, row, "login_required")
        raise Answer(see_other(sign_in_url(row.id, again=session is not None)))
    bound = await authorizations.bind_request(smart.lane, row.id, session.account.id, session.id, now)
    if bound is None:
        raise Refused(
            403, "This request is someone else's", "Go back to the app and start again from there.", session
        )
    await _check_silent(smart, request, bound, "interaction_required")
    return await _placed(smart, request, bound, session), session


def _signs_in_again(row: RequestRow, session: Session, now: int) -> bool:
    """Whether the app wants a newer sign-in than the session's: OpenID Connect Core §3.1.2.1."""
    if session.created >= row.created:
        return False
    too_old = row.max_age is not None and now - session.created > row.max_age * authorizations.SECOND
    return too_old or bool({"login", "select_account"} & set(row.prompt.split()))


async def _check_silent(smart: Smart, request: Request, row: RequestRow, error: str) -> None:
    """An app that wants no page shown (``prompt=none``) hears that one is needed: consent is asked each time."""
    if row.prompt == "none":
        text = "A person has to sign in or allow this; ask again without prompt=none."
        origin = origin_of(request, smart.settings)
        raise Answer(to_app(await authorize.refuse(smart, origin, row, error, text)))


async def _placed(smart: Smart, request: Request, row: RequestRow, session: Session) -> RequestRow:
    """The request, with the patient's own record as context if a patient signed in; refused for a foreign context."""
    account = session.account
    if row.launch_account is not None and row.launch_account != account.id:
        why = "Somebody else started this app. Start it yourself."
        raise Answer(await turned_away(smart, request, row, session, why))
    own = account.patient
    if account.role == "patient":
        if own is None or row.context.patient not in (None, own):
            why = "The app was started on a record that is not yours."
            raise Answer(await turned_away(smart, request, row, session, why))
        if lacks_patient(row):
            context = replace(row.context, patient=own)
            chosen = await authorizations.choose(smart.lane, row.id, session.id, context, smart.clock())
            if chosen is None:
                raise Refused(400, "This request is over", _OVER, session)
            return chosen
    return row


async def turned_away(
    smart: Smart, request: Request, row: RequestRow, session: Session, why: str
) -> Response:
    """Refuse, with a page for the person that leads back to the app.

    Not at once by redirection: it may be the answer to a form, and browsers let those go to places of ours only.
    """
    origin = origin_of(request, smart.settings)
    location = await authorize.refuse(smart, origin, row, "access_denied", why)
    await note(
        smart, request, "consent", session.account, outcome=4, detail={"client": row.client, "why": why}
    )
    client = await smart.clients.get(row.client)
    name = client.name if client is not None else "the app"
    return page(smart, request, "turned-away.html", session, status=403, why=why, back=location, app=name)
