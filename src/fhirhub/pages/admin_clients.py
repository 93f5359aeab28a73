"""``/admin/clients``: the apps and systems that may connect."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from fhirhub.errors import FhirError
from fhirhub.pages.events import note
from fhirhub.pages.forms import read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import Refused, required
from fhirhub.resource import json
from fhirhub.smart.context import Smart
from fhirhub.smart.demo import check_public
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.sessions import Session

HERE = "/admin/clients"
KINDS = {
    "public": "App without a secret (runs in the browser or on a phone)",
    "symmetric": "App with a secret (runs on its own server)",
    "asymmetric": "App with keys (runs on its own server)",
    "backend": "System without a person (backend services)",
}
_FIELDS = ("name", "publisher", "kind", "redirect_uris", "launch_url", "jwks_url", "jwks", "scope")
LONGEST = 20_000
"""Characters of a field."""


def router(smart: Smart) -> APIRouter:
    """The list of apps, and what can be done about each."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(HERE)
    async def clients(request: Request) -> Response:
        session = await required(smart, request, "admin")
        return await _page(smart, request, session)

    @made.post(HERE + "/add")
    async def add(request: Request) -> Response:
        return await _add(smart, request)

    @made.post(HERE + "/deactivate")
    async def deactivate(request: Request) -> Response:
        form = await read(smart, request)
        session = await required(smart, request, "admin")
        client = await named(smart, form.one("client", 128), session)
        cut = await smart.clients.deactivate(client.id)
        detail = {"client": client.id, "name": client.name}
        await note(smart, request, "client-deactivate", session.account, detail=detail)
        told = ", ".join(f"{count} {what}" for what, count in (cut or {}).items() if count)
        done = f"{client.name} is deactivated. Cut: {told or 'nothing was open'}."
        return await _page(smart, request, session, done=done)

    @made.post(HERE + "/activate")
    async def activate(request: Request) -> Response:
        return await _activate(smart, request)

    @made.post(HERE + "/rotate")
    async def rotate(request: Request) -> Response:
        form = await read(smart, request)
        session = await required(smart, request, "admin")
        client = await named(smart, form.one("client", 128), session)
        secret = await smart.clients.rotate(client.id)
        detail = {"client": client.id, "name": client.name}
        await note(smart, request, "client-rotate", session.account, detail=detail)
        done = f"{client.name} has a new secret."
        return await _page(smart, request, session, done=done, secret=secret)

    return made


async def _page(
    smart: Smart,
    request: Request,
    session: Session,
    status: int = 200,
    *,
    problem: str = "",
    done: str = "",
    secret: str | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    kept = typed or dict.fromkeys(_FIELDS, "")
    return page(
        smart, request, "admin-clients.html", session, status=status, problem=problem, done=done,
        secret=secret or "", clients=await smart.clients.list(), kinds=KINDS, typed=kept,
    )  # fmt: skip


async def _add(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    typed = {name: form.one(name, LONGEST).strip() for name in _FIELDS}
    try:
        client, secret = await smart.clients.add(kind=typed["kind"], **wanted(typed))
    except FhirError as error:
        return await _page(smart, request, session, error.status, problem=str(error), typed=typed)
    detail = {"client": client.id, "name": client.name, "kind": client.kind, "scope": typed["scope"]}
    await note(smart, request, "client-add", session.account, detail=detail)
    done = f"Added {client.name}. Its client_id is {client.id}."
    return await _page(smart, request, session, done=done, secret=secret)


async def _activate(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    client = await named(smart, form.one("client", 128), session)
    try:
        check_public(smart.settings, client.name, client.demo)
    except FhirError as error:
        return await _page(smart, request, session, error.status, problem=str(error))
    changed = await smart.clients.activate(client.id)
    detail = {"client": client.id, "name": client.name, "changed": changed}
    await note(smart, request, "client-activate", session.account, detail=detail)
    done = f"{client.name} may connect again. People have to allow it anew."
    return await _page(smart, request, session, done=done)


def wanted(typed: dict[str, str]) -> dict[str, Any]:
    """The fields of a form as the store of clients takes them. Raises BadRequest."""
    return {
        "name": typed["name"],
        "publisher": typed["publisher"],
        "redirect_uris": tuple(typed["redirect_uris"].split()),
        "launch_url": typed["launch_url"] or None,
        "jwks": json.parse(typed["jwks"].encode()) if typed["jwks"] else None,
        "jwks_url": typed["jwks_url"] or None,
        "scopes": typed["scope"],
    }


async def named(smart: Smart, id: str, session: Session) -> Client:
    """The client with this id; refused when there is none."""
    client = await smart.clients.get(id)
    if client is None:
        raise Refused(404, "There is no such app", "Reload the list.", session)
    return client
