"""An authorization server to talk to, and a browser's and an app's way through it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from fastapi import FastAPI

from fhirhub.pages import authorization, consent, picker
from fhirhub.smart import routes
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.accounts import Account

ORIGIN = "http://testserver"
AUD = f"{ORIGIN}/fhir"


def make_app(smart: Smart) -> FastAPI:
    """The routes of authorization on their own."""
    app = FastAPI()
    for module in (routes, authorization, picker, consent):
        app.include_router(module.router(smart))
    return app


class Browser(httpx.AsyncClient):
    """A browser that follows nothing by itself."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(transport=httpx.ASGITransport(app=app), base_url=ORIGIN)

    async def sign_in(self, smart: Smart, account: Account) -> str:
        """Sign ``account`` in, without the page; the session's id."""
        id_, value = await smart.people.sessions.start(account.id, "complete")
        self.cookies.set("fhirhub-session", value)
        return id_

    async def arrive(self, answer: httpx.Response) -> httpx.Response:
        """Follow redirections as long as they stay here."""
        while answer.is_redirect and answer.headers["location"].startswith(("/", ORIGIN)):
            answer = await self.get(answer.headers["location"])
        return answer

    async def press(self, page: httpx.Response, button: str, **changed: list[str]) -> httpx.Response:
        """Send the form that has ``button``, with the values the page gave it, except for ``changed`` fields."""
        form = next(form for form in forms(page) if button in form.buttons)
        fields = {name: values for name, values in form.fields.items() if name not in changed} | changed
        name, value = form.buttons[button]
        pairs = [(key, one) for key, values in fields.items() for one in values]
        return await self.post(
            form.action,
            content=urlencode([*pairs, (name, value)] if name else pairs),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )


class Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, list[str]] = {}
        self.boxes: dict[str, list[str]] = {}
        self.buttons: dict[str, tuple[str, str]] = {}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", "")))
        elif tag == "input":
            form, name = self.found[-1], given["name"]
            if given.get("type") == "checkbox":
                form.boxes.setdefault(name, []).append(given["value"])
            if given.get("type") != "checkbox" or "checked" in given:
                form.fields.setdefault(name, []).append(given.get("value", ""))
        elif tag == "button":
            self._button = (given.get("name", ""), given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.found[-1].buttons[data.strip()] = self._button
            self._button = None


def forms(page: httpx.Response) -> list[Form]:
    """The forms of a page."""
    parser = _Forms()
    parser.feed(page.text)
    return parser.found


def pkce() -> tuple[str, str]:
    """A code verifier and its challenge."""
    verifier = secrets.token_urlsafe(48)
    return verifier, challenge_of(verifier)


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def asking(client: str, redirect_uri: str, scope: str, /, **changed: Any) -> dict[str, str]:
    """The parameters of a good request, except for ``changed`` ones; None leaves one out."""
    good = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": secrets.token_urlsafe(16),
        "aud": AUD,
        "code_challenge": pkce()[1],
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def answer_of(response: httpx.Response) -> dict[str, str]:
    """The parameters that a redirection gives the app."""
    query = parse_qs(urlsplit(response.headers["location"]).query, keep_blank_values=True)
    return {name: values[0] for name, values in query.items()}


def gives_nothing(response: httpx.Response) -> bool:
    """Whether an answer holds no code and leads nowhere else."""
    location = response.headers.get("location", "")
    return not location and not re.search(r"[?&]code=", response.text)
