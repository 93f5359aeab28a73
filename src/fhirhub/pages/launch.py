"""``/launch``: staff start an app on a patient (EHR launch, SMART App Launch 2.2 §2.0.6)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fhirhub.pages.events import note
from fhirhub.pages.forms import read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.sample import offered
from fhirhub.pages.session import Refused, required
from fhirhub.smart.context import Smart
from fhirhub.smart.demo import APP
from fhirhub.smart.launch import mint
from fhirhub.smart.storage.authorizations import Context
from fhirhub.smart.storage.sessions import Session
from fhirhub.smart.web import origin_of

LAUNCH = "/launch"
STAFF = ("admin", "practitioner", "frontdesk", "biller")
LONGEST = 100
SHOWN = 20


def router(smart: Smart) -> APIRouter:
    """The routes of the page."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(LAUNCH)
    async def begin(request: Request) -> Response:
        return await _choose(smart, request, await required(smart, request, *STAFF), "")

    @made.post(LAUNCH)
    async def start(request: Request) -> Response:
        return await _start(smart, request)

    return made


async def _choose(smart: Smart, request: Request, session: Session, text: str) -> Response:
    patients = await smart.patients.find(session.account, text, SHOWN) if text and smart.patients else []
    if request.headers.get("hx-request") == "true":
        return page(smart, request, "launch-found.html", session, find=text, patients=patients)
    apps = [client for client in await smart.clients.list() if client.active and client.launch_url]
    if not offered(smart.settings, request):
        apps = [client for client in apps if client.id != APP]
    return page(smart, request, "launch.html", session, find=text, patients=patients, apps=apps)


async def _start(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, *STAFF)
    if form.every("find", LONGEST):
        # By a form, not by a link: names of patients do not belong into addresses, which are logged and kept.
        return await _choose(smart, request, session, form.one("find", LONGEST).strip())
    patient, app = form.one("patient", 64), form.one("app", 128)
    known = await smart.patients.named(session.account, patient) if patient and smart.patients else None
    if known is None:
        raise Refused(400, "No patient is chosen", "Find a patient first, and choose one.", session)
    context = Context(patient=patient, need_patient_banner=True)
    to = await mint(smart, origin_of(request, smart.settings), app, session.account, context)
    await note(smart, request, "launch", session.account, detail={"client": app, "patient": patient})
    client = await smart.clients.get(app)
    # Not by redirection: browsers hold the whole way of a form, beyond our pages too, against form-action.
    return page(smart, request, "launching.html", session, to=to, app=client.name if client else app)
