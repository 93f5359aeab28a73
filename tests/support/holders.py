"""Somebody who holds all that a server gives out: tokens of two grants, a refresh token, a code, a launch, a session."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from fhirhub.smart.context import Smart
from fhirhub.smart.storage import authorizations, grants
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import CodeRow, Context, new_handle
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.grants import GrantRow
from support.flow import challenge_of, forms
from support.smart import SECOND, bearer

REDIRECT = "http://127.0.0.1:9/callback"
SCOPES = "launch openid offline_access online_access user/Patient.rs"
HOUR = 3600 * SECOND


@dataclass
class Holder:
    """What one account, or one app in its name, has in hand."""

    account: Account
    client: Client
    offline: str
    """Access token of a grant with offline access."""
    online: str
    """That of one that lasts as long as the session."""
    refresh: str
    code: str
    verifier: str
    launch: str
    cookie: str
    """Value of the session's cookie."""

    async def read(self, line: httpx.AsyncClient, token: str) -> int:
        """Ask for what is not there: 404 for those who may ask."""
        return (await line.get("Patient/nobody", headers=bearer(token))).status_code

    async def refreshed(self, line: httpx.AsyncClient) -> tuple[int, str]:
        return await self._token(line, grant_type="refresh_token", refresh_token=self.refresh)

    async def exchanged(self, line: httpx.AsyncClient) -> tuple[int, str]:
        fields = {"code": self.code, "code_verifier": self.verifier, "redirect_uri": REDIRECT}
        return await self._token(line, grant_type="authorization_code", **fields)

    async def _token(self, line: httpx.AsyncClient, **fields: str) -> tuple[int, str]:
        answer = await line.post(root(line) + "/auth/token", data=fields | {"client_id": self.client.id})
        return answer.status_code, answer.json().get("error", "")

    async def apps(self, line: httpx.AsyncClient) -> httpx.Response:
        """The page of connected apps, or where it leads to."""
        return await line.get(root(line) + "/account/apps", headers=self.browser())

    async def launched(self, line: httpx.AsyncClient) -> httpx.Response:
        """The app begins what it was launched for."""
        asked = {
            "response_type": "code", "client_id": self.client.id, "redirect_uri": REDIRECT, "launch": self.launch,
            "aud": str(line.base_url).rstrip("/"), "scope": SCOPES, "state": "s" * 22,
            "code_challenge": challenge_of(self.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        return await line.get(root(line) + "/auth/authorize", params=asked, headers=self.browser())

    async def revoke(self, line: httpx.AsyncClient) -> None:
        """Press Revoke on the page of connected apps."""
        page = await self.apps(line)
        (form,) = [form for form in forms(page) if "Revoke" in form.buttons]
        fields = {name: values[0] for name, values in form.fields.items()}
        answer = await line.post(root(line) + form.action, data=fields, headers=self.browser())
        assert answer.status_code == 303, answer.text

    async def give_back(self, line: httpx.AsyncClient) -> None:
        """The app gives its refresh token back (RFC 7009)."""
        fields = {"token": self.refresh, "client_id": self.client.id}
        answer = await line.post(root(line) + "/auth/revoke", data=fields)
        assert answer.status_code == 200, answer.text

    def browser(self) -> Mapping[str, str]:
        return {"Cookie": f"fhirhub-session={self.cookie}"}


def root(line: httpx.AsyncClient) -> str:
    """The server of a client whose paths are below the FHIR base."""
    return str(line.base_url).removesuffix("/").removesuffix("/fhir")


async def an_app(smart: Smart, name: str) -> Client:
    client, _ = await smart.clients.add(
        name=name, kind="public", redirect_uris=(REDIRECT,), launch_url=REDIRECT, scopes=SCOPES
    )
    return client


async def holder(smart: Smart, client: Client, username: str) -> Holder:
    """A new account that holds everything, by ``client``."""
    account = await smart.people.accounts.add(username, "practitioner", "Practitioner/1", "-")
    session, cookie = await smart.people.sessions.start(account.id, "complete")
    now, verifier = smart.clock(), secrets.token_urlsafe(48)
    held: dict[str, Any] = {}
    for access in ("offline", "online"):
        row = GrantRow(
            id=new_handle(), client=client.id, account=account.id, scopes=SCOPES, context=Context(), access=access,
            session=session, reason="", nonce=None, signed_in=now, created=now, expires=now + HOUR,
        )  # fmt: skip
        await grants.create(smart.lane, row)
        held[access] = (await grants.issue(smart.lane, row.id, "access", now, now + HOUR)).handle
        refresh = await grants.issue(smart.lane, row.id, "refresh", now, now + HOUR)
        held.setdefault("refresh", refresh.handle)
    code = CodeRow(
        client=client.id, redirect_uri=REDIRECT, challenge=challenge_of(verifier), grant=new_handle(),
        account=account.id, fhir_user=account.fhir_user, role=account.role, scope=SCOPES, context=Context(),
        nonce=None, session=session, reason="", reason_until=0, signed_in=now,
    )  # fmt: skip
    held["code"] = await authorizations.add_code(smart.lane, code, now)
    held["launch"] = await authorizations.add_launch(smart.lane, client.id, account.id, Context(), now)
    return Holder(account, client, verifier=verifier, cookie=cookie, **held)
