"""``/admin/clients/edit``: what one app or system is registered with, to be changed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from fhirhub.auth.policy import PolicyError
from fhirhub.errors import BadRequest, FhirError, Issue
from fhirhub.pages.admin_clients import HERE, KINDS, LONGEST, named, wanted
from fhirhub.pages.events import note
from fhirhub.pages.forms import read
from fhirhub.pages.render import page, route_class
from fhirhub.pages.session import required
from fhirhub.resource import json
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.clients import Client, changes
from fhirhub.smart.storage.sessions import Session

_FIELDS = ("name", "publisher", "redirect_uris", "launch_url", "jwks_url", "jwks", "scope", "policy")


def router(smart: Smart) -> APIRouter:
    """The form, and what it does."""
    made = APIRouter(route_class=route_class(smart), include_in_schema=False)

    @made.get(HERE + "/edit")
    async def edit(request: Request) -> Response:
        session = await required(smart, request, "admin")
        client = await named(smart, request.query_params.get("client", ""), session)
        return _page(smart, request, session, client, _typed(client))

    @made.post(HERE + "/update")
    async def update(request: Request) -> Response:
        return await _update(smart, request)

    return made


async def _update(smart: Smart, request: Request) -> Response:
    form = await read(smart, request)
    session = await required(smart, request, "admin")
    client = await named(smart, form.one("client", 128), session)
    typed = {name: form.one(name, LONGEST).strip() for name in _FIELDS}
    try:
        given = wanted(typed) | {"policy": _policy(smart, typed["policy"])}
        client, names = await smart.clients.change(client.id, given)
    except FhirError as error:
        return _page(smart, request, session, client, typed, error.status, problem=str(error))
    await note(smart, request, "client-update", session.account, detail=changes(client, names))
    done = f"Changed: {', '.join(names)}." if names else "Nothing was different before."
    return _page(smart, request, session, client, _typed(client), done=done)


def _policy(smart: Smart, text: str) -> dict[str, Any] | None:
    """The policy that was typed, which can be applied. Raises BadRequest."""
    if not text:
        return None
    found = json.parse(text.encode())
    try:
        if smart.check_policy is not None:
            smart.check_policy(found)
    except PolicyError as error:
        raise BadRequest(Issue("value", f"policy: {error}", "policy")) from None
    return found


def _typed(client: Client) -> dict[str, str]:
    """What the form shows of a client."""
    return {
        "name": client.name,
        "publisher": client.publisher,
        "redirect_uris": "\n".join(client.redirect_uris),
        "launch_url": client.launch_url or "",
        "jwks_url": client.jwks_url or "",
        "jwks": json.dumps(client.jwks).decode() if client.jwks is not None else "",
        "scope": client.scopes,
        "policy": json.dumps(client.policy).decode() if client.policy is not None else "",
    }


def _page(
    smart: Smart,
    request: Request,
    session: Session,
    client: Client,
    typed: dict[str, str],
    status: int = 200,
    *,
    problem: str = "",
    done: str = "",
) -> Response:
    return page(
        smart, request, "admin-client.html", session, status=status, problem=problem, done=done, client=client,
        kind=KINDS[client.kind], typed=typed,
    )  # fmt: skip
