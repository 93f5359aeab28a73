"""Runs test cases that are data: a case is a list of steps, a step a request and what its answer must be.

``do``      method and URL below the base; ``{name}`` is something that an earlier step saved
``send``    the body: a JSON value, or text or bytes as they are
``with``    request headers
``status``  the expected status, or several
``has``     dotted path -> expected value; ``*`` for any, ``-`` for none
``header``  response header -> expected value; ``*`` for any
``issue``   a piece of text that must stand in the issues of the OperationOutcome
``save``    name -> dotted path, or ``header:NAME``
"""

from __future__ import annotations

import json
from typing import Any

import httpx

Step = dict[str, Any]
ABSENT = object()


async def run(client: httpx.AsyncClient, steps: list[Step]) -> dict[str, str]:
    """Run ``steps`` one after the other; what they saved."""
    saved: dict[str, str] = {}
    for number, step in enumerate(steps):
        response = await send(client, step, saved)
        check(response, step, saved, f"step {number}: {step['do']}")
        for name, path in step.get("save", {}).items():
            if path.startswith("header:"):
                saved[name] = response.headers[path[7:]]
            else:
                saved[name] = str(at(response.json(), path))
    return saved


async def send(client: httpx.AsyncClient, step: Step, saved: dict[str, str] | None = None) -> httpx.Response:
    """The answer to the request of ``step``."""
    method, _, url = step["do"].partition(" ")
    url = filled(url, saved or {})
    headers = {name: filled(value, saved or {}) for name, value in step.get("with", {}).items()}
    body = step.get("send")
    if isinstance(body, (dict, list)):
        body = filled(json.dumps(body), saved or {})
    if body is not None:
        headers.setdefault("content-type", "application/fhir+json")
    if not url.startswith("http"):
        base = str(client.base_url).rstrip("/")
        url = f"{base}/{url}" if url not in ("", "?") else base
    return await client.request(method, url, content=body, headers=headers)


def filled(text: str, saved: dict[str, str]) -> str:
    """``text`` with the names that were saved put in."""
    for name, value in saved.items():
        text = text.replace("{" + name + "}", value)
    return text


def check(response: httpx.Response, step: Step, saved: dict[str, str], where: str) -> None:
    """Compare the answer with what the step expects."""
    shown = f"{where}: {response.status_code} {response.text[:1500]}"
    expected = step.get("status", 200)
    assert response.status_code in (expected if isinstance(expected, tuple) else (expected,)), shown
    assert response.headers.get("x-request-id"), shown
    for name, value in step.get("header", {}).items():
        found = response.headers.get(name)
        assert found is not None if value == "*" else found == filled(value, saved), (
            f"{name}: {found!r}; {shown}"
        )
    if response.status_code >= 400 and step["do"].partition(" ")[0] != "HEAD":
        outcome = response.json()
        assert outcome["resourceType"] == "OperationOutcome", shown
        assert all(
            issue["severity"] and issue["code"] and issue["details"]["text"] for issue in outcome["issue"]
        )
    for path, value in step.get("has", {}).items():
        found = at(response.json(), path)
        if value == "*":
            assert found is not ABSENT, f"{path} is absent; {shown}"
        elif value == "-":
            assert found is ABSENT, f"{path} is {found!r}; {shown}"
        else:
            value = filled(value, saved) if isinstance(value, str) else value
            assert found == value, f"{path} is {found!r}; {shown}"
    if "issue" in step:
        assert step["issue"] in json.dumps(response.json()["issue"], ensure_ascii=False), shown


def at(value: Any, path: str) -> Any:
    """The value at a dotted path: ``entry.0.resource.id``; ``#`` counts."""
    for name in path.split("."):
        if name == "#":
            value = len(value) if value is not ABSENT else 0
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return ABSENT
    return value
