"""Which patient an app is for, when nobody has said so yet: the patient picker of a standalone launch."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import Answer, see_other
from fhirhub.pages.authorization import CONSENT, PICKER, entered, lacks_patient
from fhirhub.pages.forms import read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused
from fhirhub.smart.context import Smart
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.authorizations import RequestRow
from fhirhub.smart.storage.sessions import Session

_CHOICE = re.compile(r"([A-Za-z0-9.-]{1,64})\.([0-9a-f]{64})")
SHOWN = 20
LONGEST = 100


def router(smart: Smart) -> APIRouter:
    """``/auth/patient``."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(PICKER)
    async def show(request: Request) -> Response:
        row, session = await _at(smart, request, request.query_params.get("request", ""))
        return await _page(smart, request, row, session, "")

    @made.post(PICKER)
    async def choose(request: Request) -> Response:
        form = await read(smart, request)
        row, session = await _at(smart, request, form.one("request"))
        if form.every("find", LONGEST):
            # By a form, not by a link: names of patients do not belong into addresses, which are logged and kept.
            return await _page(smart, request, row, session, form.one("find", LONGEST).strip())
        found = _CHOICE.fullmatch(form.one("patient"))
        if found is None or not hmac.compare_digest(_seal(smart, row, session, found[1]), found[2]):
            raise Refused(
                400, "That is not one of the patients", "Go back and choose from the list.", session
            )
        context = replace(row.context, patient=found[1])
        await authorizations.choose(smart.lane, row.id, session.id, context, smart.clock())
        return see_other(f"{CONSENT}?request={row.id}")

    return made


async def _at(smart: Smart, request: Request, id: str) -> tuple[RequestRow, Session]:
    row, session = await entered(smart, request, id)
    if not lacks_patient(row):
        raise Answer(see_other(f"{CONSENT}?request={row.id}"))
    return row, session


async def _page(smart: Smart, request: Request, row: RequestRow, session: Session, text: str) -> Response:
    """The search field and who was found; only patients that the person may see are."""
    found = await smart.patients.find(session.account, text, SHOWN) if smart.patients is not None else []
    patients = [
        {"value": f"{one.id}.{_seal(smart, row, session, one.id)}", "name": one.name, "born": one.birth_date}
        for one in found
    ]
    client = await smart.clients.get(row.client)
    return page(
        smart, request, "patient-picker.html", session, request_id=row.id, find=text, patients=patients,
        full=len(found) >= SHOWN, app=client.name if client is not None else row.client,
    )  # fmt: skip


def _seal(smart: Smart, row: RequestRow, session: Session, patient: str) -> str:
    """Proof that ``patient`` was on the list that this session saw for this request."""
    text = f"{session.id} {row.id} {patient}".encode()
    return hmac.new(smart.keys.derive("patient picker"), text, hashlib.sha256).hexdigest()
