"""The token endpoint: what a code, a refresh token and a signed assertion bring, and what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from jose import jwt

from fhirhub.errors import Issue, Overloaded
from fhirhub.smart.storage.authorizations import Context
from support.smart import Signer
from support.token_rig import ORIGIN, SCOPES, SECOND, TokenRig, basic, credentials, exchange, token_rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[TokenRig]:
    async with token_rig(dsn) as made:
        yield made


def refreshing(token: str, rig: TokenRig, **changed: Any) -> dict[str, Any]:
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": rig.public.id} | changed


async def test_a_code_brings_tokens_and_context(rig: TokenRig) -> None:
    context = Context("p1", "e1", ({"reference": "ImagingStudy/1"},), False, "reconcile")
    code = await rig.code(context=context, nonce="n-1")
    answer = await rig.token(exchange(code, rig.public))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"
    body = answer.json()
    assert len(body.pop("access_token")) >= 43 and len(body.pop("refresh_token")) >= 43
    claims = jwt.get_unverified_claims(body.pop("id_token"))
    assert body == {
        "token_type": "Bearer", "expires_in": 3600, "scope": SCOPES, "patient": "p1", "encounter": "e1",
        "fhirContext": [{"reference": "ImagingStudy/1"}], "intent": "reconcile", "need_patient_banner": False,
        "smart_style_url": f"{ORIGIN}/smart-style.json",
    }  # fmt: skip
    now = rig.clock() // SECOND
    assert claims == {
        "iss": ORIGIN, "sub": rig.doctor.id, "aud": rig.public.id, "exp": now + 3600, "iat": now, "auth_time": now,
        "nonce": "n-1", "fhirUser": f"{ORIGIN}/fhir/Practitioner/d1",
    }  # fmt: skip


async def test_the_id_token_is_signed_with_a_published_key_before_and_after_rotation(rig: TokenRig) -> None:
    first = (await rig.exchanged())["id_token"]
    await rig.smart.signing.rotate()
    second = (await rig.exchanged())["id_token"]
    published = (await rig.http.get("/.well-known/jwks.json")).json()
    kids = [jwt.get_unverified_header(token)["kid"] for token in (first, second)]
    assert kids[0] != kids[1] and {one["kid"] for one in published["keys"]} >= set(kids)
    assert all(set(one) == {"kty", "use", "alg", "kid", "n", "e"} for one in published["keys"])
    for token in (first, second):
        options = {"verify_exp": False}
        assert jwt.decode(token, published, "RS256", options=options, audience=rig.public.id)["iss"] == ORIGIN


async def test_without_openid_there_is_no_id_token_and_without_offline_access_no_refresh_token(
    rig: TokenRig,
) -> None:
    body = await rig.exchanged(scope="launch/patient patient/Patient.rs")
    assert "id_token" not in body and "refresh_token" not in body and body["need_patient_banner"] is True


async def test_scopes_of_version_1_are_answered_in_version_1(rig: TokenRig) -> None:
    assert (await rig.exchanged(scope="patient/*.read openid"))["scope"] == "patient/*.read openid"


@pytest.mark.parametrize("way", ["basic", "post", "ES384", "RS384"])
async def test_every_kind_of_client_shows_who_it_is(rig: TokenRig, way: str) -> None:
    client = rig.asymmetric if way.endswith("384") else rig.symmetric
    code = await rig.code(client)
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    if way == "basic":
        headers = basic(client.id, rig.secret)
    elif way == "post":
        more = {"client_id": client.id, "client_secret": rig.secret}
    else:
        signer = rig.es if way == "ES384" else rig.rs
        more = credentials(rig.assertion(client, signer), None)
        more["grant_type"] = "authorization_code"
    answer = await rig.token(exchange(code) | more, headers)
    assert answer.status_code == 200, answer.text


async def test_a_code_that_comes_twice_ends_what_it_brought(rig: TokenRig) -> None:
    code = await rig.code()
    body = (await rig.token(exchange(code, rig.public))).json()
    assert await rig.usable(body["access_token"])
    again = await rig.token(exchange(code, rig.public))
    assert again.status_code == 400 and again.json()["error"] == "invalid_grant"
    assert not await rig.usable(body["access_token"])
    assert (await rig.token(refreshing(body["refresh_token"], rig))).json()["error"] == "invalid_grant"


async def test_of_parallel_exchanges_of_a_code_none_survives_a_second(rig: TokenRig) -> None:
    code = await rig.code()
    answers = await asyncio.gather(*(rig.token(exchange(code, rig.public)) for _ in range(8)))
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 1 and not await rig.usable(good[0]["access_token"])


async def test_a_refresh_brings_new_tokens_and_spends_the_old(rig: TokenRig) -> None:
    first = await rig.exchanged(nonce="n-2")
    answer = await rig.token(refreshing(first["refresh_token"], rig))
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    second = answer.json()
    assert second["scope"] == SCOPES and second["patient"] == "p1" and second["expires_in"] == 3600
    assert (
        len({first["access_token"], second["access_token"], first["refresh_token"], second["refresh_token"]})
        == 4
    )
    assert jwt.get_unverified_claims(second["id_token"])["sub"] == rig.doctor.id
    assert await rig.usable(second["access_token"])


async def test_a_public_app_need_not_name_itself_to_refresh(rig: TokenRig) -> None:
    """fhirclient does not; whoever has a secret still has to show it."""
    unnamed = {"grant_type": "refresh_token"}
    first = await rig.exchanged()
    answer = await rig.token(unnamed | {"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200
    held = (
        await rig.token(exchange(await rig.code(rig.symmetric), rig.symmetric, client_secret=rig.secret))
    ).json()
    for token, status, error in (
        (held["refresh_token"], 401, "invalid_client"),
        (first["access_token"], 400, "invalid_grant"),
        ("y" * 43, 400, "invalid_grant"),
        ("", 401, "invalid_client"),
    ):
        answer = await rig.token(unnamed | {"refresh_token": token})
        assert (answer.status_code, answer.json()["error"]) == (status, error), token
    answer = await rig.token(unnamed | {"refresh_token": first["refresh_token"], "client_id": ""})
    assert answer.status_code == 401


async def test_a_refresh_token_that_comes_twice_ends_its_family(rig: TokenRig) -> None:
    first = await rig.exchanged()
    second = (await rig.token(refreshing(first["refresh_token"], rig))).json()
    third = (await rig.token(refreshing(second["refresh_token"], rig))).json()
    assert (await rig.token(refreshing(first["refresh_token"], rig))).status_code == 400
    for body in (first, second, third):
        assert not await rig.usable(body["access_token"])
    assert (await rig.token(refreshing(third["refresh_token"], rig))).json()["error"] == "invalid_grant"


async def test_a_race_of_refreshes_leaves_at_most_one_family(rig: TokenRig) -> None:
    first = await rig.exchanged()
    answers = await asyncio.gather(*(rig.token(refreshing(first["refresh_token"], rig)) for _ in range(8)))
    assert sum(answer.status_code == 200 for answer in answers) == 1
    good = next(answer.json() for answer in answers if answer.status_code == 200)
    assert not await rig.usable(good["access_token"])


async def test_a_refresh_may_ask_for_fewer_scopes_and_get_all_back_later(rig: TokenRig) -> None:
    first = await rig.exchanged()
    second = (await rig.token(refreshing(first["refresh_token"], rig, scope="patient/Observation.r"))).json()
    assert second["scope"] == "patient/Observation.r" and "id_token" not in second
    told = await rig.post(
        "/auth/introspect", {"token": second["access_token"]}, basic(rig.symmetric.id, rig.secret)
    )
    assert told.json()["scope"] == "patient/Observation.r"
    third = (await rig.token(refreshing(second["refresh_token"], rig))).json()
    assert third["scope"] == SCOPES
    beyond = await rig.token(
        refreshing(third["refresh_token"], rig, scope="patient/Observation.rs patient/Condition.r")
    )
    assert beyond.status_code == 400 and beyond.json()["error"] == "invalid_scope"
    assert (await rig.token(refreshing(third["refresh_token"], rig))).status_code == 200, "an error spent it"


async def test_offline_access_lives_on_by_use_for_three_months_and_more(rig: TokenRig) -> None:
    body = await rig.exchanged()
    for _ in range(3):
        rig.clock.pass_(95 * 86_400)
        answer = await rig.token(refreshing(body["refresh_token"], rig))
        assert answer.status_code == 200
        body = answer.json()
    rig.clock.pass_(101 * 86_400)
    assert (await rig.token(refreshing(body["refresh_token"], rig))).json()["error"] == "invalid_grant"


async def test_online_access_ends_with_the_session(rig: TokenRig) -> None:
    sessions = rig.smart.people.sessions
    for end in ("signs out", "is idle"):
        session, _ = await sessions.start(rig.doctor.id, "complete")
        body = await rig.exchanged(scope="online_access patient/Patient.rs", session=session)
        rig.clock.pass_(600)
        assert await rig.usable(body["access_token"])
        body = (await rig.token(refreshing(body["refresh_token"], rig))).json()
        if end == "signs out":
            await sessions.end(session)
        else:
            rig.clock.pass_(901)
        assert not await rig.usable(body["access_token"]), end
        assert (await rig.token(refreshing(body["refresh_token"], rig))).json()["error"] == "invalid_grant"


async def test_access_tokens_end_by_the_clock(rig: TokenRig) -> None:
    body = await rig.exchanged()
    rig.clock.pass_(3599)
    assert await rig.usable(body["access_token"])
    rig.clock.pass_(2)
    assert not await rig.usable(body["access_token"])


@pytest.mark.parametrize("signer", ["es", "rs"])
async def test_a_backend_service_gets_a_token_of_five_minutes(rig: TokenRig, signer: str) -> None:
    assertion = rig.assertion(rig.backend, getattr(rig, signer))
    answer = await rig.token(credentials(assertion, "system/Observation.rs system/Patient.cruds openid junk"))
    assert answer.status_code == 200
    body = answer.json()
    assert await rig.usable(body.pop("access_token"))
    assert body == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "system/Observation.rs system/Patient.rs",
    }


async def test_an_assertion_is_good_once_among_a_hundred(rig: TokenRig) -> None:
    fields = rig.signed()
    answers = await asyncio.gather(*(rig.token(fields) for _ in range(100)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 99
    assert {a.json()["error"] for a in answers if a.status_code == 401} == {"invalid_client"}


async def test_introspection_tells_what_the_token_is_for(rig: TokenRig) -> None:
    body = await rig.exchanged()
    answer = await rig.post(
        "/auth/introspect", {"token": body["access_token"]}, basic(rig.symmetric.id, rig.secret)
    )
    assert answer.headers["cache-control"] == "no-store"
    now = rig.clock() // SECOND
    assert answer.json() == {
        "active": True, "scope": SCOPES, "client_id": rig.public.id, "token_type": "Bearer", "exp": now + 3600,
        "iat": now, "aud": f"{ORIGIN}/fhir", "patient": "p1", "iss": ORIGIN, "sub": rig.doctor.id,
        "fhirUser": f"{ORIGIN}/fhir/Practitioner/d1",
    }  # fmt: skip
    by_bearer = await rig.post(
        "/auth/introspect",
        {"token": body["access_token"]},
        {"Authorization": f"Bearer {body['access_token']}"},
    )
    assert by_bearer.json() == answer.json()
    for token in ("nonsense", body["refresh_token"], "x" * 20_000, "ü"):
        told = await rig.post("/auth/introspect", {"token": token}, basic(rig.symmetric.id, rig.secret))
        assert told.status_code == 200 and told.json() == {"active": False}


async def test_introspection_is_not_for_everybody(rig: TokenRig) -> None:
    token = (await rig.exchanged())["access_token"]
    nobody = await rig.post("/auth/introspect", {"token": token})
    assert nobody.status_code == 401 and "active" not in nobody.json()
    wrong = await rig.post("/auth/introspect", {"token": token}, {"Authorization": "Bearer " + "x" * 43})
    assert wrong.status_code == 401 and wrong.headers["www-authenticate"].startswith("Bearer")
    own = await rig.post("/auth/introspect", {"token": token, "client_id": rig.public.id})
    assert own.json()["active"] is True
    theirs = (await rig.token(rig.signed())).json()["access_token"]
    told = await rig.post("/auth/introspect", {"token": theirs, "client_id": rig.public.id})
    assert told.json() == {"active": False}
    told = await rig.post("/auth/introspect", {"token": theirs}, {"Authorization": f"Bearer {token}"})
    assert told.json() == {"active": False}


async def test_a_client_gives_its_own_tokens_back(rig: TokenRig) -> None:
    body = await rig.exchanged()
    other = basic(rig.symmetric.id, rig.secret)
    for token in (body["refresh_token"], "nonsense"):
        assert (await rig.post("/auth/revoke", {"token": token}, other)).status_code == 200
    assert await rig.usable(body["access_token"]), "another client revoked it"
    own = {"client_id": rig.public.id}
    assert (await rig.post("/auth/revoke", {"token": body["access_token"]} | own)).status_code == 200
    assert not await rig.usable(body["access_token"])
    body = (await rig.token(refreshing(body["refresh_token"], rig))).json()
    assert (await rig.post("/auth/revoke", {"token": body["refresh_token"]} | own)).status_code == 200
    assert not await rig.usable(body["access_token"])
    assert (await rig.token(refreshing(body["refresh_token"], rig))).json()["error"] == "invalid_grant"
    assert (await rig.post("/auth/revoke", {"token": "x"})).status_code == 401


async def test_deactivation_ends_everything_at_once(rig: TokenRig) -> None:
    from_then = await rig.smart.people.accounts.add("gone", "practitioner", "Practitioner/g", "-")
    body = await rig.exchanged(of=from_then)
    code = await rig.code(of=from_then)
    await rig.smart.people.accounts.deactivate(from_then.id)
    assert not await rig.usable(body["access_token"]), "and that without the cuts of the command"
    assert (await rig.token(refreshing(body["refresh_token"], rig))).json()["error"] == "invalid_grant"
    assert (await rig.token(exchange(code, rig.public))).json()["error"] == "invalid_grant"


async def test_a_deactivated_client_gets_nothing(rig: TokenRig) -> None:
    signer = Signer()
    client, _ = await rig.smart.clients.add(
        name="Over", kind="backend", jwks=signer.jwks, scopes="system/*.rs"
    )
    first = await rig.token(credentials(rig.assertion(client, signer)))
    await rig.smart.clients.deactivate(client.id)
    assert not await rig.usable(first.json()["access_token"])
    again = await rig.token(credentials(rig.assertion(client, signer)))
    assert again.status_code == 401 and again.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("origin", "let"),
    [
        ("https://app.example", True), ("http://localhost:3000", True), ("https://app.example.evil", False),
        ("https://app.exampl", False), ("null", False), ("https://APP.example", False), ("https://a'--", False),
    ],
)  # fmt: skip
async def test_pages_of_registered_apps_may_call(rig: TokenRig, origin: str, let: bool) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = await rig.http.options("/auth/token", headers=asked)
    answer = await rig.token(exchange(await rig.code(), rig.public), {"Origin": origin})
    for one in (preflight, answer):
        assert one.headers.get("access-control-allow-origin") == (origin if let else None)
        assert "access-control-allow-credentials" not in one.headers


async def test_what_happened_is_on_record_without_secrets(rig: TokenRig) -> None:
    rig.events.clear()
    body = await rig.exchanged()
    await rig.token(exchange("wrong", rig.public))
    good, bad = rig.events
    assert (good[0], good[1].user, good[1].client, good[2]) == ("token", "doc", rig.public.id, 0)
    assert (bad[1].client, bad[2], bad[3]["error"]) == (rig.public.id, 4, "invalid_grant")
    told = json.dumps([event[3] for event in rig.events])
    assert body["access_token"] not in told and "wrong" not in told


async def test_every_issuance_is_on_record_with_its_grant(rig: TokenRig) -> None:
    rig.events.clear()
    first = await rig.exchanged()
    second = (await rig.token(refreshing(first["refresh_token"], rig))).json()
    system = (await rig.token(rig.signed())).json()
    told = [(name, who.user, who.client, outcome, more) for name, who, outcome, more in rig.events]
    assert told == [
        ("token", "doc", rig.public.id, 0, {"grant_type": "authorization_code", "scope": SCOPES}),
        ("token", "doc", rig.public.id, 0, {"grant_type": "refresh_token", "scope": second["scope"]}),
        ("token", "", rig.backend.id, 0, {"grant_type": "client_credentials", "scope": system["scope"]}),
    ]
    rows = await rig.smart.lane.fetch("select id from grant_ where client = any ($1::text[]) order by created desc",
                                      [rig.public.id, rig.backend.id])  # fmt: skip
    grants_ = [who.grant for _, who, _, _ in rig.events]
    assert grants_[0] == grants_[1] != grants_[2] and set(grants_) <= {row["id"] for row in rows}
    assert all(len(each) >= 20 for each in grants_)


async def test_no_token_leaves_that_is_not_on_record(rig: TokenRig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await rig.exchanged()

    async def full(*event: Any) -> None:
        raise Overloaded(Issue("transient", "The trail cannot be written."))

    monkeypatch.setattr(rig.smart, "audit", full)
    for fields in (
        refreshing(first["refresh_token"], rig),
        rig.signed(),
        exchange(await rig.code(), rig.public),
    ):
        answer = await rig.token(fields)
        assert answer.status_code == 503 and "access_token" not in answer.text
