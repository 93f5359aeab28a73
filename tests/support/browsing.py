"""A browser without a screen: keeps cookies, reads the forms of a page, fills them in and sends them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import httpx


@dataclass
class Form:
    """A form of a page, with the values its fields have."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)
    """``formaction``, name, value of each button."""


class _Reader(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._path, self._open = path, False
        self._area: list[str] | None = None
        """Name and text of the area for text that is being read."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method") == "post":
            self.forms.append(Form(given.get("action", self._path)))
            self._open = True
        elif self._open and tag == "input" and given.get("name"):
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self.forms[-1].fields.append((given["name"], given.get("value", "on")))
        elif self._open and tag == "textarea":
            self._area = [given.get("name", ""), ""]
        elif self._open and tag == "button":
            button = (given.get("formaction", ""), given.get("name", ""), given.get("value", ""))
            self.forms[-1].buttons.append(button)

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            self.forms[-1].fields.append((self._area[0], self._area[1]))
            self._area = None
        if tag == "form":
            self._open = False


class Browser:
    """One browser on a site; ``page`` is the last answer."""

    def __init__(self, app: Any, base: str = "http://testserver", address: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True, client=(address, 1))
        self.client = httpx.AsyncClient(transport=transport, base_url=base)
        self.page = httpx.Response(200)

    async def get(self, path: str) -> httpx.Response:
        """Go to ``path``, following redirections."""
        self.page = await self._follow(await self.client.get(path))
        return self.page

    async def post(self, path: str, fields: list[tuple[str, str]], **headers: str) -> httpx.Response:
        """Send ``fields`` to ``path`` without regard to any page; the answer itself."""
        sent = {"content-type": "application/x-www-form-urlencoded"} | headers
        self.page = await self.client.post(path, content=urlencode(fields), headers=sent)
        return self.page

    def form(self, action: str) -> Form:
        """The form of the page that is posted to ``action`` (by one of its buttons, perhaps)."""
        reader = _Reader(self.page.request.url.path)
        reader.feed(self.page.text)
        for one in reader.forms:
            if one.action == action or any(button[0] == action for button in one.buttons):
                return one
        raise AssertionError(f"no form for {action} on {self.page.request.url}: {self.page.text}")

    async def submit(self, action: str, follow: bool = True, **filled: str) -> httpx.Response:
        """Fill the form for ``action`` in and send it."""
        kept = [(name, value) for name, value in self.form(action).fields if name not in filled]
        answer = await self.post(action, [*kept, *filled.items()])
        self.page = await self._follow(answer) if follow else answer
        return self.page

    async def sign_in(self, username: str, password: str, to: str = "") -> httpx.Response:
        """Sign in from the sign-in page."""
        await self.get("/auth/sign-in" + (f"?next={to}" if to else ""))
        return await self.submit("/auth/sign-in", username=username, password=password)

    async def _follow(self, answer: httpx.Response) -> httpx.Response:
        for _ in range(10):
            if answer.status_code not in (302, 303):
                return answer
            answer = await self.client.get(answer.headers["location"])
        raise AssertionError(f"going round in circles at {answer.request.url}")
