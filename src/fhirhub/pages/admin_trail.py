"""``/admin/roles``: what each role may see, and why; ``/admin/audit``: the trail, to be searched."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from fhirhub.pages.events import note
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused, required
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.accounts import ROLES

ROLES_PAGE = "/admin/roles"
AUDIT = "/admin/audit"
FIELDS = {"user": "User", "patient": "Patient id", "since": "From", "until": "Until"}
LONGEST = 100
WORDS = {"c": "add", "r": "read", "u": "change", "d": "delete", "s": "search"}
"""What the letters of scopes and policies mean."""


def router(smart: Smart) -> APIRouter:
    """The routes of both pages."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(ROLES_PAGE)
    async def roles(request: Request) -> Response:
        session = await required(smart, request, "admin")
        role = request.query_params.get("role", ROLES[1])
        if role not in ROLES:
            raise Refused(404, "There is no such role", f"The roles are {', '.join(ROLES)}.", session)
        shown = smart.preview(role) if smart.preview is not None else None
        return page(
            smart, request, "admin-roles.html", session, role=role, roles=ROLES, shown=shown, words=WORDS
        )

    @made.get(AUDIT)
    async def audit(request: Request) -> Response:
        session = await required(smart, request, "admin")
        typed = {name: request.query_params.get(name, "")[:LONGEST].strip() for name in FIELDS}
        cursor = request.query_params.get("cursor", "")[:512]
        events, more = await smart.trail(typed, cursor) if smart.trail is not None else ((), "")
        asked = {name: value for name, value in typed.items() if value}
        await note(smart, request, "audit-search", session.account, detail={"asked": asked})
        link = f"{AUDIT}?{urlencode(asked | {'cursor': more})}" if more else ""
        part = request.headers.get("hx-request") == "true"
        template = "admin-audit-rows.html" if part else "admin-audit.html"
        return page(smart, request, template, session, fields=FIELDS, typed=typed, events=events, more=link)

    return made
