"""``/account/apps``: who one has let in, each with its way out; ``/account/access``: who looked at my record."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from fhirhub.pages.answers import see_other
from fhirhub.pages.events import note
from fhirhub.pages.forms import read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused, required
from fhirhub.smart.context import Smart

APPS = "/account/apps"
ACCESS = "/account/access"


def router(smart: Smart) -> APIRouter:
    """The routes of both pages."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(APPS)
    async def apps(request: Request) -> Response:
        session = await required(smart, request)
        found = await smart.connections.of_account(session.account.id)
        done = "The app is cut off: its next request is refused." if "revoked" in request.query_params else ""
        return page(smart, request, "apps.html", session, apps=found, done=done)

    @made.get("/auth/manage")
    async def manage(request: Request) -> Response:
        return see_other(APPS)

    @made.post(APPS + "/revoke")
    async def revoke(request: Request) -> Response:
        form = await read(smart, request)
        session = await required(smart, request)
        grant = form.one("grant", 128)
        if not await smart.connections.revoke(session.account.id, grant):
            raise Refused(404, "That app is not connected", "It was cut off before, or has expired.", session)
        await note(smart, request, "revoke", session.account, detail={"grant": grant})
        return see_other(APPS + "?revoked=1")

    @made.get(ACCESS)
    async def access(request: Request) -> Response:
        session = await required(smart, request, "patient")
        cursor = request.query_params.get("cursor", "")[:512]
        looks, more = await smart.looked_at(session.account.patient or "", cursor)
        template = "access-rows.html" if request.headers.get("hx-request") == "true" else "access.html"
        return page(smart, request, template, session, looks=looks, more=more)

    return made
