"""Clients, grants and tokens as they are stored, and how each is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.errors import BadRequest, Conflict, NotFound
from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.context import Smart, open_smart
from fhirhub.smart.cutting import CUTS
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.authorizations import digest
from support.smart import REDIRECT, Signer, issue


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smart(dsn: str) -> AsyncIterator[Smart]:
    made = await open_smart(Settings(database_url=dsn), keys=Keys(bytes(32)))
    yield made
    await made.close()


async def _live(smart: Smart, token: str) -> bool:
    rows = await smart.lane.fetch(
        "select 1 from grant_token t join grant_ g on g.id = t.grant_ join client c on c.id = g.client"
        " where handle = $1 and t.expires > $2 and g.revoked is null and c.active",
        digest(token),
        smart.clock(),
    )
    return bool(rows)


async def test_a_token_is_stored_as_its_hash_only(smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="hashed")
    assert len(token) >= 43 and await _live(smart, token)
    rows = await smart.lane.fetch("select handle from grant_token")
    assert all(token.encode() not in row["handle"] for row in rows)


async def test_deactivating_an_account_ends_its_grants_and_tokens(smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="leaver")
    other = await issue(dsn, "user/*.rs", username="stayer")
    account = await smart.people.accounts.named("leaver")
    cut = await smart.people.accounts.deactivate(account.id, CUTS)
    assert cut is not None and (cut["grants"], cut["tokens"]) == (1, 1)
    assert not await _live(smart, token) and await _live(smart, other)


async def test_deactivating_a_client_ends_its_grants_and_tokens(smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "system/*.rs", client="Lab to go")
    client = next(one for one in await smart.clients.list() if one.name == "Lab to go")
    assert await smart.clients.deactivate(client.id) == {"grants": 1, "tokens": 1}
    assert not await _live(smart, token)
    assert await smart.clients.deactivate(client.id) is None


async def test_an_account_sees_and_revokes_its_own_apps_only(smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs openid", username="mine", client="Mine")
    await issue(dsn, "user/*.rs", username="theirs", client="Theirs")
    mine, theirs = [(await smart.people.accounts.named(name)).id for name in ("mine", "theirs")]
    found = await smart.connections.of_account(mine)
    assert [one.name for one in found] == ["Mine"] and found[0].allowed
    assert not await smart.connections.revoke(theirs, found[0].grant) and await _live(smart, token)
    assert await smart.connections.revoke(mine, found[0].grant) and not await _live(smart, token)
    assert not await smart.connections.revoke(mine, found[0].grant)
    assert await smart.connections.of_account(mine) == []


async def test_an_app_that_was_let_in_twice_is_one_app_and_goes_as_one(smart: Smart, dsn: str) -> None:
    first = await issue(dsn, "patient/Patient.rs", patient="1", username="twice", client="Twice")
    client = next(one for one in await smart.clients.list() if one.name == "Twice")
    second = await issue(dsn, "user/*.rs openid", username="twice", client_id=client.id)
    other = await issue(dsn, "user/*.rs", username="twice", client="Once")
    account = (await smart.people.accounts.named("twice")).id
    once, twice = await smart.connections.of_account(account)
    assert (once.name, twice.name, twice.patient) == ("Once", "Twice", None) and len(twice.allowed) == 3
    assert await smart.connections.revoke(account, twice.grant)
    assert [await _live(smart, token) for token in (first, second, other)] == [False, False, True]


async def test_an_assertion_is_spent_once_among_many(smart: Smart) -> None:
    client, _ = await smart.clients.add(
        name="Backend", kind="backend", scopes="system/*.rs", jwks=Signer().jwks
    )
    now = smart.clock()
    tried: list[Any] = await asyncio.gather(
        *(
            grants.issue_system(
                smart.lane, client.id, client.version, "system/*.rs", b"j" * 32, now + 1, now, now + 10
            )
            for _ in range(20)
        )
    )
    assert sum(one is not None for one in tried) == 1
    assert not await grants.spend_jti(smart.lane, client.id, b"j" * 32, now + 1)
    assert await grants.spend_jti(smart.lane, "another", b"j" * 32, now + 1)


async def test_what_is_over_is_forgotten_after_a_day(smart: Smart, dsn: str) -> None:
    token = await issue(dsn, "user/*.rs", username="old", seconds=-90_000)
    fresh = await issue(dsn, "user/*.rs", username="new")
    await grants.forget(smart.lane, smart.clock())
    rows = await smart.lane.fetch(
        "select handle from grant_token where handle = any($1)", [digest(token), digest(fresh)]
    )
    assert [row["handle"] for row in rows] == [digest(fresh)]


async def test_a_secret_is_shown_once_and_rotated(smart: Smart) -> None:
    client, secret = await smart.clients.add(
        name="Server app", kind="symmetric", scopes="user/*.rs", redirect_uris=[REDIRECT]
    )
    assert secret is not None and client.knows(secret) and not client.knows(secret + "x")
    assert secret not in repr(client) and "secret" not in str(client.as_json())
    fresh = await smart.clients.rotate(client.id)
    after = await smart.clients.named(client.id)
    assert after.knows(fresh) and not after.knows(secret)
    public, none = await smart.clients.add(name="P", kind="public", scopes="openid", redirect_uris=[REDIRECT])
    assert none is None and not public.knows("") and not public.knows("None")
    with pytest.raises(Conflict, match="no secret"):
        await smart.clients.rotate(public.id)
    with pytest.raises(NotFound):
        await smart.clients.rotate("nobody")
    for odd in ("", "\x00", "x" * 300):
        assert await smart.clients.get(odd) is None


_JWKS = Signer().jwks
_PRIVATE = {"keys": [{**_JWKS["keys"][0], "d": "AAAA"}]}
APP = {"name": "App", "kind": "public", "scopes": "patient/*.rs openid", "redirect_uris": [REDIRECT]}
SYSTEM = {"name": "System", "kind": "backend", "scopes": "system/*.rs", "jwks": _JWKS}


@pytest.mark.parametrize(
    ("base", "changed", "named"),
    [
        (APP, {"name": ""}, "name"),
        (APP, {"name": " x"}, "name"),
        (APP, {"name": "a\u202eb"}, "name"),
        (APP, {"name": "x" * 121}, "name"),
        (APP, {"kind": "secret"}, "kind"),
        (APP, {"redirect_uris": []}, "redirect_uri"),
        (APP, {"redirect_uris": ["http://app.example/"]}, "redirect_uri"),
        (APP, {"redirect_uris": ["https://app.example/#x"]}, "redirect_uri"),
        (APP, {"redirect_uris": ["javascript:alert(1)"]}, "redirect_uri"),
        (APP, {"redirect_uris": [f"https://a.example/{n}" for n in range(51)]}, "redirect_uri"),
        (APP, {"launch_url": "ftp://app.example"}, "launch_url"),
        (APP, {"scopes": ""}, "scope"),
        (APP, {"scopes": "patient/*.sr"}, "scope"),
        (APP, {"scopes": "system/*.rs"}, "scope"),
        (APP, {"jwks": _JWKS}, "jwks"),
        (APP, {"kind": "asymmetric"}, "jwks"),
        (APP, {"publisher": "x\n"}, "publisher"),
        (SYSTEM, {"redirect_uris": [REDIRECT]}, "redirect_uri"),
        (SYSTEM, {"scopes": "user/*.rs"}, "scope"),
        (SYSTEM, {"scopes": "system/*.rs openid"}, "scope"),
        (SYSTEM, {"jwks": None}, "jwks"),
        (SYSTEM, {"jwks_url": "https://a.example/jwks"}, "jwks"),
        (SYSTEM, {"jwks": _PRIVATE}, "jwks"),
        (SYSTEM, {"jwks": {"keys": []}}, "jwks"),
        (SYSTEM, {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "jwks"),
        (SYSTEM, {"jwks": None, "jwks_url": "http://a.example/jwks"}, "jwks_url"),
    ],
)
async def test_what_cannot_be_registered(
    smart: Smart, base: dict[str, Any], changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadRequest, match=f"^{named}:"):
        await smart.clients.add(**(base | changed))
    await smart.clients.add(**base)
