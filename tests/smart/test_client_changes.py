"""What is changed of a client after its registration counts with the next request, at every server on the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from fhirhub.app import create_app
from fhirhub.errors import BadRequest, NotFound
from fhirhub.settings import Settings
from fhirhub.smart.people import now
from fhirhub.smart.storage.accounts import Accounts
from fhirhub.smart.storage.clients import Clients
from fhirhub.store.engine import Lane
from support.lifespan import running
from support.smart import REDIRECT, Signer, a_client, bearer, issue, lane_to
from support.token_rig import SCOPES, TokenRig, exchange, token_rig


@dataclass
class Both:
    """Two servers on one store, and what an administrator does beside them."""

    servers: list[httpx.AsyncClient]
    dsn: str
    lane: Lane

    @property
    def clients(self) -> Clients:
        return Clients(self.lane, now)

    async def get(self, path: str, token: str) -> list[int]:
        """What each of them answers."""
        return [(await one.get(path, headers=bearer(token))).status_code for one in self.servers]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    guarded = replace(settings, no_auth=False, audit="on", data_dir=tmp_path_factory.mktemp("keys"))
    async with AsyncExitStack() as stack:
        servers = []
        for _ in range(2):
            app = await stack.enter_async_context(running(create_app(guarded)))
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            one = httpx.AsyncClient(transport=transport, base_url="http://testserver/fhir", timeout=30)
            servers.append(await stack.enter_async_context(one))
        assert settings.database_url
        lane = await stack.enter_async_context(lane_to(settings.database_url))
        root = bearer(await issue(settings.database_url, "system/*.cruds"))
        for type in ("Patient", "Practitioner"):
            body = {"resourceType": type, "id": "1"}
            assert (await servers[0].put(f"/{type}/1", json=body, headers=root)).status_code == 201
        yield Both(servers, settings.database_url, lane)


async def test_a_policy_confines_the_next_request(both: Both) -> None:
    client = await a_client(both.lane, "Lab", "backend")
    token = await issue(both.dsn, "system/*.rs", client_id=client.id)
    assert await both.get("/Patient/1", token) == [200, 200]
    policy = {"rules": [{"types": ["Practitioner"], "may": "rs"}]}
    changed, names = await both.clients.change(client.id, {"policy": policy})
    assert (changed.policy, names, changed.version) == (policy, ("policy",), client.version + 1)
    assert await both.get("/Patient/1", token) == [403, 403]
    assert await both.get("/Practitioner/1", token) == [200, 200]
    await both.clients.change(client.id, {"policy": None})
    assert await both.get("/Patient/1", token) == [200, 200]


async def test_scopes_that_are_taken_away_are_gone_from_what_was_granted(both: Both) -> None:
    client = await a_client(both.lane, "App")
    token = await issue(both.dsn, "user/Patient.rs user/Practitioner.rs", client_id=client.id)
    assert await both.get("/Patient/1", token) == [200, 200]
    _, names = await both.clients.change(client.id, {"scopes": "user/Practitioner.rs openid"})
    assert names == ("scopes",)
    assert await both.get("/Patient/1", token) == [403, 403]
    assert await both.get("/Practitioner/1", token) == [200, 200]
    # Wider again, nobody has allowed it again.
    await both.clients.change(client.id, {"scopes": "user/*.rs"})
    assert await both.get("/Patient/1", token) == [403, 403]
    await both.clients.change(client.id, {"scopes": "patient/*.rs"})
    assert await both.get("/Practitioner/1", token) == [401, 401]


async def test_somebody_let_in_again_begins_anew(both: Both) -> None:
    client = await a_client(both.lane, "App")
    token = await issue(both.dsn, "user/*.rs", client_id=client.id, username="back-again")
    assert await both.get("/Patient/1", token) == [200, 200]
    assert await both.clients.deactivate(client.id) and await both.get("/Patient/1", token) == [401, 401]
    assert await both.clients.activate(client.id) and not await both.clients.activate(client.id)
    assert await both.get("/Patient/1", token) == [401, 401], "what had ended came to life"
    again = await issue(both.dsn, "user/*.rs", client_id=client.id, username="back-again")
    assert await both.get("/Patient/1", again) == [200, 200]
    accounts = Accounts(both.lane, now)
    person = await accounts.named("back-again")
    await accounts.deactivate(person.id)
    assert await both.get("/Patient/1", again) == [401, 401]
    assert await accounts.activate(person.id) and not await accounts.activate(person.id)
    assert await both.get("/Patient/1", again) == [200, 200], (
        "grants are cut by cuts, which were not given here"
    )


async def test_what_cannot_be_registered_cannot_be_changed_to(both: Both) -> None:
    client = await a_client(both.lane, "Strict")
    wrong: tuple[dict[str, Any], ...] = (
        {"name": ""}, {"redirect_uris": ["http://evil.example/"]}, {"redirect_uris": []}, {"scopes": "system/*.rs"},
        {"scopes": ""}, {"jwks": Signer().jwks}, {"launch_url": "javascript:x"}, {"publisher": "x" * 200},
    )  # fmt: skip
    for given in wrong:
        with pytest.raises(BadRequest):
            await both.clients.change(client.id, given)
    assert (await both.clients.named(client.id)) == client
    assert await both.clients.change(client.id, {"name": "Strict", "redirect_uris": [REDIRECT]}) == (
        client,
        (),
    )
    with pytest.raises(NotFound):
        await both.clients.change("nobody", {"name": "x"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(settings: Settings) -> AsyncIterator[TokenRig]:
    assert settings.database_url
    async with token_rig(settings.database_url) as made:
        yield made


async def an_app(rig: TokenRig) -> Any:
    made, _ = await rig.smart.clients.add(
        name="App", kind="public", redirect_uris=[REDIRECT], scopes=f"{SCOPES} patient/*.rs"
    )
    return made


async def test_codes_and_refresh_tokens_of_before_bring_no_more_than_what_is_registered(
    rig: TokenRig,
) -> None:
    app = await an_app(rig)
    code, tokens = await rig.code(app), await rig.exchanged(app)
    left = "launch/patient openid offline_access patient/Patient.rs"
    await rig.smart.clients.change(app.id, {"scopes": left})
    kept = "launch/patient openid offline_access patient/Patient.r"
    assert (await rig.token(exchange(code, app))).json()["scope"] == kept
    refreshing = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": app.id,
    }
    answer = (await rig.token(refreshing)).json()
    assert answer["scope"] == kept
    # Without offline_access there is nothing to refresh with; the access token goes on.
    await rig.smart.clients.change(app.id, {"scopes": "launch/patient patient/Patient.rs"})
    late = await rig.token(refreshing | {"refresh_token": answer["refresh_token"]})
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    assert await rig.usable(answer["access_token"])


async def test_a_narrower_token_is_narrowed_by_itself(rig: TokenRig) -> None:
    app = await an_app(rig)
    tokens = await rig.exchanged(app)
    narrow = {
        "grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": app.id,
        "scope": "patient/Patient.r",
    }  # fmt: skip
    fewer = (await rig.token(narrow)).json()
    assert fewer["scope"] == "patient/Patient.r"
    await rig.smart.clients.change(app.id, {"scopes": f"{SCOPES}".replace("patient/Patient.r", "")})
    assert not await rig.usable(fewer["access_token"])
    assert await rig.usable(tokens["access_token"])


async def test_an_address_that_is_taken_away_gets_nothing(rig: TokenRig) -> None:
    app = await an_app(rig)
    code = await rig.code(app)
    await rig.smart.clients.change(app.id, {"redirect_uris": ["https://new.example/callback"]})
    answer = await rig.token(exchange(code, app))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_new_keys_count_and_old_ones_do_not(rig: TokenRig) -> None:
    signer = Signer()
    await rig.smart.clients.change(rig.backend.id, {"jwks": signer.jwks})
    assert (await rig.token(rig.signed())).status_code == 401
    fields = rig.signed() | {"client_assertion": rig.assertion(rig.backend, signer)}
    assert (await rig.token(fields)).status_code == 200
    url = "https://lab.example/jwks.json"
    changed, names = await rig.smart.clients.change(rig.backend.id, {"jwks_url": url})
    assert names == ("jwks", "jwks_url") and (changed.jwks, changed.jwks_url) == (None, url)


async def test_tokens_issued_at_the_moment_of_a_change_are_narrowed_too(rig: TokenRig) -> None:
    """Many exchanges and refreshes while scopes are taken away: none has more afterwards."""
    app = await an_app(rig)
    codes = [await rig.code(app) for _ in range(12)]
    fresh = [(await rig.exchanged(app))["refresh_token"] for _ in range(6)]

    async def change() -> None:
        await asyncio.sleep(0.01)
        await rig.smart.clients.change(app.id, {"scopes": "launch/patient offline_access patient/Patient.rs"})

    refreshing = [
        {"grant_type": "refresh_token", "refresh_token": one, "client_id": app.id, "scope": wanted}
        for one, wanted in zip(fresh, [None, "patient/Observation.rs patient/Patient.r"] * 3, strict=True)
    ]
    await asyncio.gather(
        *(rig.token(exchange(code, app)) for code in codes), *(rig.token(one) for one in refreshing), change()
    )
    rows = await rig.smart.lane.fetch(
        "select g.scopes, t.scopes as own from grant_ g join grant_token t on t.grant_ = g.id"
        " where g.client = $1 and t.expires > $2",
        app.id, rig.clock(),
    )  # fmt: skip
    assert len(rows) >= 12
    assert not [row for row in rows if "Observation" in f"{row['scopes']} {row['own']}"]
