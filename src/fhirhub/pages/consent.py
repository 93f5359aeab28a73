"""What an app gets is what a person allows here: each scope by itself, in plain words, or less of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import Answer, see_other
from fhirhub.pages.authorization import CONSENT, PICKER, entered, lacks_patient, to_app, turned_away
from fhirhub.pages.events import note
from fhirhub.pages.forms import Form, read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused
from fhirhub.smart import asked, authorize
from fhirhub.smart.context import Found, Smart
from fhirhub.smart.redirects import registered
from fhirhub.smart.storage.authorizations import RequestRow
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.sessions import Session
from fhirhub.smart.web import origin_of

NOTHING = "Choose at least one thing that the app may do, or press Deny."


def router(smart: Smart) -> APIRouter:
    """``/auth/consent``."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(CONSENT)
    async def show(request: Request) -> Response:
        row, session, client = await _at(smart, request, request.query_params.get("request", ""))
        return await _page(smart, request, row, session, client)

    @made.post(CONSENT)
    async def decide(request: Request) -> Response:
        form = await read(smart, request)
        row, session, client = await _at(smart, request, form.one("request"))
        if form.one("decision") == "allow":
            return await _allow(smart, request, form, row, session, client)
        await _note(smart, request, row, session, (), client)
        origin = origin_of(request, smart.settings)
        return to_app(await authorize.refuse(smart, origin, row, "access_denied", "The person said no."))

    return made


async def _at(smart: Smart, request: Request, id: str) -> tuple[RequestRow, Session, Client]:
    row, session = await entered(smart, request, id)
    if lacks_patient(row):
        raise Answer(see_other(f"{PICKER}?request={row.id}"))
    client = await smart.clients.get(row.client)
    if client is None or not client.active:
        raise Refused(
            400, "This app is not known here any more", "The practice has ended its access.", session
        )
    if not registered(client.redirect_uris, row.redirect_uri, native=client.kind == "public"):
        text = f"{client.name} is not registered any more at the address that it asks from. Nothing was sent there."
        raise Refused(400, "This app has moved", text, session)
    return row, session, client


async def _patient(smart: Smart, request: Request, row: RequestRow, session: Session) -> Found | None:
    """The patient the request is about, if it is about one; else raises the answer to give instead."""
    if row.context.patient is None or smart.patients is None:
        return None
    found = await smart.patients.named(session.account, row.context.patient)
    if found is None:
        why = "The app was started on a patient whom you may not see."
        raise Answer(await turned_away(smart, request, row, session, why))
    return found


async def _allow(
    smart: Smart, request: Request, form: Form, row: RequestRow, session: Session, client: Client
) -> Response:
    """A code for what was ticked; only what was on the page can have been."""
    scopes = asked.answered(row.scope.split(), form.every("scope", 1024), form.every("part", 2048))
    if scopes is None:
        raise Refused(
            400, "That was not asked for", "The answer names what the app did not ask for.", session
        )
    if not any(asked.opens(word) for word in scopes):
        return await _page(smart, request, row, session, client, problem=NOTHING)
    await _patient(smart, request, row, session)
    origin = origin_of(request, smart.settings)
    location = await authorize.allow(smart, origin, row, session, scopes)
    if location is None:
        raise Refused(400, "This request is over", "It was answered already.", session)
    await _note(smart, request, row, session, scopes, client)
    return to_app(location)


async def _page(
    smart: Smart, request: Request, row: RequestRow, session: Session, client: Client, problem: str = ""
) -> Response:
    patient = await _patient(smart, request, row, session)
    return page(
        smart, request, "consent.html", session, status=400 if problem else 200,
        form_targets=[row.redirect_uri], request_id=row.id, app=client.name, publisher=client.publisher,
        patient=patient, own=session.account.role == "patient", items=_items(row), problem=problem,
    )  # fmt: skip


def _items(row: RequestRow) -> list[dict[str, Any]]:
    return [
        {
            "value": word,
            "text": asked.plain(word),
            "parts": [{"value": f"{word} {part}", "text": text} for part, text in asked.parts(word)],
        }
        for word in row.scope.split()
    ]


async def _note(
    smart: Smart, request: Request, row: RequestRow, session: Session, scopes: Any, client: Client
) -> None:
    """Put the decision on record: IHE BALP, "Consent decision"."""
    detail = {
        "client": client.id,
        "clientName": client.name,
        "patient": row.context.patient,
        "asked": row.scope,
        "allowed": " ".join(scopes),
    }
    await note(
        smart,
        request,
        "consent",
        session.account,
        outcome=0 if scopes else 4,
        reason=session.reason,
        detail=detail,
    )
