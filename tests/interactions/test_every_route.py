"""No way around: every route asks who one is, every interaction has its rule, and the trail knows of each.

Routes are enumerated, not listed by hand: one that is added fails here until it is named as public, or asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import asyncpg
import pytest

from fhirhub.app import DISPATCH, OPERATIONS
from fhirhub.capability import ANY
from fhirhub.capability import load as load_capability
from fhirhub.definitions.tables import load as load_definitions
from fhirhub.errors import FhirError
from fhirhub.http.routes import resolve
from fhirhub.interactions import perform
from fhirhub.packaged import folder
from fhirhub.site import make_app
from fhirhub.store.audit import floods
from support.access import observation
from support.door import Door, Token
from support.smart import bearer

SITE = "http://testserver"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
TYPES = load_definitions().type_number
CANARY = "zqcanary"
SHAPES = (
    "", "metadata", "_history", "_search", "Observation", "Observation/_search", "Observation/_history",
    "Observation/secret", "Observation/secret/_history", "Observation/secret/_history/1", "Patient/ana/Observation",
    "Patient/ana/Observation/_search", "Patient/ana/*", "Patient/ana/AuditEvent", "AuditEvent", "AuditEvent/1",
    "Binary/secret", "Nothing", "Observation/secret/nothing/1", "$export", "Patient/$nothing",
    *(f"Patient/ana/${name}" for name in ("everything", "nothing")),
    *(f"{'Encounter/e/' if at == 'instance' else f'{type}/' if type else ''}${name}".replace(ANY, "Observation")
      for (at, type, name) in OPERATIONS if type != "Patient" and name != "async-cancel"),
)  # fmt: skip
"""A path of each kind that there is below ``/fhir``, and of some that there are not."""
ODD = (
    "//Observation/secret", "/Observation//secret", "/Observation/secret/", "/%4Fbservation/secret", "/Observation%2Fsecret",
    "/metadata/", "/metadata/../Observation/secret", "/metadata/Observation/secret", "/metadata%2F..%2FObservation%2Fsecret",
    "/.well-known/../Observation/secret", "/.well-known/Observation/secret", "/Observation/secret;x", "/./Observation/secret",
    "/Observation/secret?_format=json", "/Observation/secret%00", "/metadata?_query=x&/Observation/secret",
)  # fmt: skip
PUBLIC = {
    "GET": {
        "/openapi.json", "/docs", "/docs/{name}", "/static/{name}", "/fhir/.well-known/smart-configuration",
        "/.well-known/smart-configuration", "/.well-known/openid-configuration", "/.well-known/jwks.json", "/branding.json",
        "/smart-style.json", "/.well-known/oauth-authorization-server", "/sample/", "/sample/{name}", "/auth/manage", "/auth/sign-in",
    },
    "POST": {"/auth/sign-in", "/auth/register"},
}  # fmt: skip
"""What of the site anybody is answered, by method: metadata, files, the sample app (of a demo only), signing in,
registration (where it is on at all), and a path that leads on to a page which asks."""


def _routed() -> Iterator[tuple[str, str, str]]:
    """Method, path and interaction of everything that the routes below ``/fhir`` lead to."""
    for method, path in itertools.product(METHODS, SHAPES):
        try:
            yield method, path, resolve(method, path, TYPES).interaction
        except FhirError:
            continue


def test_every_interaction_and_operation_has_its_rule() -> None:
    assert {interaction for _, _, interaction in _routed()} == set(DISPATCH)
    assert set(perform.ACTIONS) == set(DISPATCH) - {"operation"}
    for _, type, name in OPERATIONS:
        assert name in (perform.BOUND if type is None else perform.OPERATIONS), name
    assert {name for name, actions in perform.ACTIONS.items() if not actions} == {
        "capabilities", "bundle", "search-system", "history-system"
    }, "these look at each type they touch; another one would have to"  # fmt: skip


async def _rows(door: Door, prefix: str) -> dict[str, list[tuple[int, str]]]:
    """Request id -> status and agent of each row of the trail."""
    connection = await asyncpg.connect(door.dsn)
    try:
        rows = await connection.fetch(
            "select request, status, agent from audit where request like $1 order by seq", f"{prefix}-%"
        )
    finally:
        await connection.close()
    found: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row["request"], []).append((row["status"], row["agent"]))
    return found


async def _secret(door: Door) -> None:
    answer = await door.put(observation("ana", id="secret", note=[{"text": CANARY}]))
    assert answer.status_code in (200, 201), answer.text


async def _all(door: Door, prefix: str, **headers: str) -> dict[str, tuple[str, str, int]]:
    """Every path by every method: request id -> what was asked, and the status."""
    asked = {}
    body = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": "Observation/secret"}}],
    }
    for number, (method, path) in enumerate(
        itertools.product(METHODS, (*(f"/{each}" for each in SHAPES), *ODD))
    ):
        id = f"{prefix}-{number}"
        sent: dict[str, Any] = {} if method in ("GET", "HEAD", "DELETE") else {"json": body}
        url = f"{SITE}/fhir{path if path != '/' else ''}"
        answer = await door.client.request(method, url, headers={"x-request-id": id, **headers}, **sent)
        assert answer.status_code < 500, (method, path, answer.text)
        assert CANARY not in answer.text, (method, path)
        asked[id] = (method, path, answer.status_code)
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer"), path
            assert "secret" not in answer.text, path
    return asked


async def test_without_a_token_nothing_is_answered_and_everything_is_on_record(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each in a row of its own, however many there are.
    monkeypatch.setattr(floods, "EACH", 10_000)
    monkeypatch.setattr(floods, "ALL", 10_000)
    await _secret(door)
    asked = await _all(door, "none")
    rows = await _rows(door, "none")
    for id, (method, path, status) in asked.items():
        if path.startswith("/.well-known/"):
            # Not below the record, but the site's, which has no such page; or a client has made something plain of it.
            assert status in (401, 404, 405), (method, path)
            continue
        is_open = path.partition("?")[0] == "/metadata"
        wanted = {200, 405} if is_open else {401}
        assert status in wanted or (status == 406 and not is_open), (method, path, status)
        assert rows.get(id) == [(status, "")], (method, path)


async def test_with_a_token_for_nothing_there_nothing_is_shown_and_all_is_on_record(
    door: Door, token: Token
) -> None:
    await _secret(door)
    nobody = await token("user/Basic.r", role="biller", fhir_user="Practitioner/n", username="nobody")
    asked = await _all(door, "nobody", **bearer(nobody.token))
    rows = await _rows(door, "nobody")
    for id, (method, path, status) in asked.items():
        if path.startswith("/.well-known/"):
            continue
        is_metadata = path.partition("?")[0] in ("/metadata", "/metadata/")
        # A batch is answered as such; what its entry is answered stands in it, and on record.
        is_batch = method == "POST" and path == "/"
        assert status >= 400 or is_metadata or is_batch, (method, path, status)
        agents = {"", "nobody"} if is_metadata else {"nobody"}
        told = rows.get(id, [])
        assert len(told) == 1, (method, path, told)
        assert told[0][0] == (403 if is_batch else status), (method, path, told)
        assert told[0][1] in agents, (method, path, told)


def _site() -> Iterator[tuple[str, str]]:
    """Method and path of every route of what is not FHIR."""
    rest: list[Any] = [make_app(load_capability(folder("capability")), load_definitions(), "x", Mock())]
    while rest:
        one = rest.pop()
        if hasattr(one, "path"):
            for method in sorted(set(one.methods) - {"HEAD", "OPTIONS"}):
                yield method, one.path
        else:
            rest += getattr(one, "original_router", one).routes


@pytest.mark.parametrize(("method", "path"), sorted(_site()))
async def test_a_page_is_public_by_the_list_or_asks_who_one_is(door: Door, method: str, path: str) -> None:
    url = f"{SITE}{path.replace('{name}', 'x')}"
    assert "{" not in url
    sent: dict[str, Any] = {"data": {"name": "x"}} if method == "POST" else {}
    answer = await door.client.request(method, url, follow_redirects=False, **sent)
    public = path in PUBLIC.get(method, ())
    if public:
        assert answer.status_code in (200, 303, 400, 403, 404), answer.text
    elif answer.status_code in (302, 303):
        assert answer.headers["location"].startswith("/auth/sign-in"), answer.headers["location"]
    else:
        assert answer.status_code in (400, 401, 403), (answer.status_code, answer.text[:300])
