"""Requests to the token endpoint that must come to nothing: RFC 6749 §5.2, RFC 7636, RFC 7523, SMART App Launch 2.2.

Each is a good request with one thing changed; a control sends it unchanged.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.smart.client_auth import ASSERTION_TYPE
from support.smart import REDIRECT, Signer
from support.token_rig import SECOND, TOKEN, VERIFIER, TokenRig, basic, credentials, exchange, token_rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[TokenRig]:
    async with token_rig(dsn) as made:
        yield made


def check(answer: Any, error: str, statuses: tuple[int, ...] = (400, 401)) -> None:
    body = answer.json()
    assert answer.status_code in statuses, answer.text
    assert body["error"] == error, answer.text
    assert set(body) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"
    assert (answer.status_code == 401) == (error == "invalid_client")


EXCHANGES: list[tuple[str, dict[str, str | None]]] = [
    # (g)(10) "Invalid token request": bad code, bad client
    ("invalid_grant", {"code": "BAD_CODE"}),
    ("invalid_request", {"code": None}),
    ("invalid_request", {"code": ""}),
    ("invalid_grant", {"code": "x" * 43}),
    ("invalid_grant", {"code": "x" * 30_000}),
    ("invalid_grant", {"code": "' or '1'='1"}),
    ("invalid_grant", {"code": "\x00"}),
    ("invalid_client", {"client_id": "BAD_CLIENT_ID"}),
    ("invalid_client", {"client_id": None}),
    ("invalid_client", {"client_id": ""}),
    ("invalid_client", {"client_id": "x" * 5000}),
    ("invalid_client", {"client_id": "\x00"}),
    ("invalid_client", {"client_id": "\u202e"}),
    # (g)(10) "Invalid PKCE": no verifier, blank, wrong, verifier = challenge
    ("invalid_request", {"code_verifier": None}),
    ("invalid_request", {"code_verifier": ""}),
    ("invalid_grant", {"code_verifier": "w" * 43}),
    ("invalid_grant", {"code_verifier": "vZ3mBHiGkNgeeX1NPcgfzlKpZzX0qg0VCj1sZl0mXxE"}),
    ("invalid_grant", {"code_verifier": "v" * 42}),
    ("invalid_grant", {"code_verifier": "v" * 129}),
    ("invalid_grant", {"code_verifier": "v" * 44}),
    ("invalid_grant", {"code_verifier": VERIFIER.upper()}),
    ("invalid_grant", {"code_verifier": VERIFIER + " "}),
    ("invalid_grant", {"code_verifier": VERIFIER + "\n"}),
    ("invalid_grant", {"code_verifier": "é" * 43}),
    ("invalid_grant", {"code_verifier": "+" * 43}),
    ("invalid_request", {"redirect_uri": None}),
    ("invalid_request", {"redirect_uri": ""}),
    *[
        ("invalid_grant", {"redirect_uri": uri})
        for uri in (
            REDIRECT + "/", REDIRECT + "?", REDIRECT + "#", REDIRECT.upper(), REDIRECT[:-1], "https://evil.example/",
            REDIRECT.replace("https", "http"), REDIRECT.replace(".example", ".example:443"), f" {REDIRECT}",
            REDIRECT.replace("callback", "%63allback"), REDIRECT.replace("app.", "user@app."),
        )
    ],
    ("invalid_request", {"grant_type": None}),
    ("invalid_request", {"grant_type": ""}),
    *[
        ("unsupported_grant_type", {"grant_type": kind})
        for kind in (
            "password", "implicit", "code", "AUTHORIZATION_CODE", "authorization_code ", "authorization-code",
            "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:ietf:params:oauth:grant-type:device_code", "x" * 10_000,
        )
    ],
    ("invalid_client", {"client_secret": "guess"}),
    ("invalid_client", {"client_secret": ""}),
    ("invalid_client", {"client_assertion": "a.b.c"}),
    ("invalid_client", {"client_assertion_type": ASSERTION_TYPE}),
    ("invalid_request", {"client_secret": "x", "client_assertion": "a.b.c"}),
    ("unauthorized_client", {"grant_type": "client_credentials", "scope": "system/*.rs"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "changed"), EXCHANGES, ids=[str(n) for n in range(len(EXCHANGES))])
async def test_an_exchange_that_is_refused(rig: TokenRig, error: str, changed: dict[str, str | None]) -> None:
    good = exchange(await rig.code(), rig.public)
    check(await rig.token(good | changed), error)
    assert (await rig.token(exchange(await rig.code(), rig.public))).status_code == 200


async def test_a_code_is_for_its_client(rig: TokenRig) -> None:
    code = await rig.code(rig.public)
    check(await rig.token(exchange(code), basic(rig.symmetric.id, rig.secret)), "invalid_grant")
    check(await rig.token(exchange(code, rig.public)), "invalid_grant"), "the wrong try spent it"


async def test_a_code_is_good_for_a_minute(rig: TokenRig) -> None:
    code = await rig.code()
    rig.clock.pass_(61)
    check(await rig.token(exchange(code, rig.public)), "invalid_grant")


async def test_an_access_token_is_no_code_and_no_refresh_token(rig: TokenRig) -> None:
    body = await rig.exchanged()
    for token in (body["access_token"], body["id_token"]):
        check(await rig.token(exchange(token, rig.public)), "invalid_grant")
        fields = {"grant_type": "refresh_token", "refresh_token": token, "client_id": rig.public.id}
        check(await rig.token(fields), "invalid_grant")


REFRESHES: list[tuple[str, dict[str, str | None]]] = [
    ("invalid_grant", {"refresh_token": "BAD_REFRESH"}),
    ("invalid_request", {"refresh_token": None}),
    ("invalid_request", {"refresh_token": ""}),
    ("invalid_grant", {"refresh_token": "x" * 43}),
    ("invalid_grant", {"refresh_token": "x" * 30_000}),
    ("invalid_grant", {"refresh_token": "\x00"}),
    ("invalid_client", {"client_id": "nobody"}),
    ("invalid_client", {"client_id": ""}),
    ("invalid_scope", {"scope": "patient/*.rs"}),
    ("invalid_scope", {"scope": "patient/Observation.cruds"}),
    ("invalid_scope", {"scope": "patient/Observation.rs patient/Condition.rs"}),
    ("invalid_scope", {"scope": "user/Observation.rs"}),
    ("invalid_scope", {"scope": "system/Observation.rs"}),
    ("invalid_scope", {"scope": "patient/Patient.s"}),
    ("invalid_scope", {"scope": "patient/Observation.write"}),
    ("invalid_scope", {"scope": "launch"}),
    ("invalid_scope", {"scope": "profile"}),
    ("invalid_scope", {"scope": "online_access"}),
    ("invalid_scope", {"scope": "launch/encounter"}),
    ("invalid_scope", {"scope": "patient/Observation.sr"}),
    ("invalid_scope", {"scope": "everything"}),
    ("invalid_scope", {"scope": "patient/Observation.rs\tpatient/Patient.r"}),
    ("invalid_scope", {"scope": "ä"}),
    ("invalid_scope", {"scope": "x " * 300}),
    ("invalid_scope", {"scope": "patient/Observation.rs " * 900}),
]


@pytest.mark.parametrize(("error", "changed"), REFRESHES, ids=[str(n) for n in range(len(REFRESHES))])
async def test_a_refresh_that_is_refused(rig: TokenRig, error: str, changed: dict[str, str | None]) -> None:
    body = await rig.exchanged()
    good = {
        "grant_type": "refresh_token", "refresh_token": body["refresh_token"], "client_id": rig.public.id,
        "scope": "patient/Observation.r openid",
    }  # fmt: skip
    check(await rig.token(good | changed), error)
    assert (await rig.token(good)).status_code == 200, "the refusal cost the token"


async def test_a_refresh_token_is_for_its_client(rig: TokenRig) -> None:
    body = await rig.exchanged()
    fields = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    check(await rig.token(fields, basic(rig.symmetric.id, rig.secret)), "invalid_grant")
    assert (await rig.token(fields | {"client_id": rig.public.id})).status_code == 200


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


HEADERS: list[tuple[str, Callable[[TokenRig], str]]] = [
    ("invalid_client", lambda rig: basic(rig.symmetric.id, "wrong")["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.symmetric.id, rig.secret + "x")["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.symmetric.id, rig.secret.swapcase())["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.symmetric.id, "")["Authorization"]),
    ("invalid_client", lambda rig: basic("nobody", rig.secret)["Authorization"]),
    ("invalid_client", lambda rig: basic("", "")["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.public.id, "")["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.public.id, rig.secret)["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.asymmetric.id, rig.secret)["Authorization"]),
    ("invalid_client", lambda rig: basic(rig.symmetric.id, "x" * 10_000)["Authorization"]),
    ("invalid_client", lambda rig: "Basic " + _b64(f"{rig.symmetric.id}{rig.secret}")),
    ("invalid_client", lambda rig: "Basic " + _b64(f"{rig.symmetric.id}:{rig.secret}") + "!"),
    ("invalid_client", lambda rig: "Basic " + _b64(f"{rig.symmetric.id}:{rig.secret} ")),
    ("invalid_client", lambda rig: "Basic " + _b64(f"{rig.symmetric.id}:%FF")),
    ("invalid_client", lambda rig: "Basic /w=="),
    ("invalid_client", lambda rig: "Basic"),
    ("invalid_client", lambda rig: "Basic  "),
    ("invalid_client", lambda rig: "Digest username=x"),
    ("invalid_client", lambda rig: f"Bearer {rig.secret}"),
    ("invalid_client", lambda rig: rig.secret),
]


@pytest.mark.parametrize(("error", "header"), HEADERS, ids=[str(n) for n in range(len(HEADERS))])
async def test_a_header_that_is_refused(rig: TokenRig, error: str, header: Callable[[TokenRig], str]) -> None:
    code = await rig.code(rig.symmetric)
    answer = await rig.token(exchange(code), {"Authorization": header(rig)})
    check(answer, error)
    assert answer.headers["www-authenticate"].startswith("Basic ")
    good = await rig.token(exchange(code), basic(rig.symmetric.id, rig.secret))
    assert good.status_code == 200, "who does not show who it is does not get at the code"


async def test_several_proofs_are_none(rig: TokenRig) -> None:
    code = await rig.code(rig.symmetric)
    header = basic(rig.symmetric.id, rig.secret)
    check(await rig.token(exchange(code) | {"client_secret": rig.secret}, header), "invalid_request")
    check(await rig.token(exchange(code) | {"client_id": rig.public.id}, header), "invalid_request")
    both = rig.signed() | {"client_secret": rig.secret}
    check(await rig.token(both), "invalid_request")


BODIES: list[tuple[str, bytes]] = [
    ("application/x-www-form-urlencoded", b"grant_type=authorization_code&grant_type=authorization_code"),
    ("application/x-www-form-urlencoded", b"grant_type=%FF"),
    ("application/x-www-form-urlencoded", b"\xff\xfe"),
    ("application/x-www-form-urlencoded", b"grant_type"),
    ("application/x-www-form-urlencoded", b""),
    ("application/x-www-form-urlencoded", b"a=" + b"x" * 70_000),
    ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(500))),
    ("application/json", b'{"grant_type":"client_credentials"}'),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\n--x--',
    ),
    ("text/plain", b"grant_type=authorization_code"),
    ("", b"grant_type=authorization_code"),
]


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=[str(n) for n in range(len(BODIES))])
async def test_a_body_that_is_refused(rig: TokenRig, kind: str, body: bytes) -> None:
    check(await rig.http.post("/auth/token", content=body, headers={"content-type": kind}), "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused(rig: TokenRig, method: str) -> None:
    code = await rig.code()
    fields = {name: value for name, value in exchange(code, rig.public).items() if value}
    assert (await rig.http.request(method, "/auth/token", params=fields)).status_code == 405


def _seconds(rig: TokenRig) -> int:
    return rig.clock() // SECOND


ASSERTIONS: list[Callable[[TokenRig], dict[str, Any]]] = [
    lambda rig: {"iss": "nobody", "sub": "nobody"},
    lambda rig: {"iss": rig.public.id, "sub": rig.public.id},
    lambda rig: {"iss": rig.symmetric.id, "sub": rig.symmetric.id},
    lambda rig: {"iss": None},
    lambda rig: {"sub": None},
    lambda rig: {"sub": rig.asymmetric.id},
    lambda rig: {"iss": rig.asymmetric.id},
    lambda rig: {"iss": [rig.backend.id]},
    lambda rig: {"sub": {"id": rig.backend.id}},
    lambda rig: {"iss": "", "sub": ""},
    lambda rig: {"iss": rig.backend.id + " ", "sub": rig.backend.id + " "},
    lambda rig: {"aud": None},
    lambda rig: {"aud": ""},
    lambda rig: {"aud": []},
    lambda rig: {"aud": "https://elsewhere.example/auth/token"},
    lambda rig: {"aud": TOKEN + "/"},
    lambda rig: {"aud": TOKEN.replace("http:", "https:")},
    lambda rig: {"aud": "http://testserver"},
    lambda rig: {"aud": "http://testserver/fhir"},
    lambda rig: {"aud": "http://testserver/auth/introspect"},
    lambda rig: {"aud": "http://testserver/auth/authorize"},
    lambda rig: {"aud": {"url": TOKEN}},
    lambda rig: {"aud": [TOKEN, 1]},
    lambda rig: {"aud": [TOKEN] * 11},
    lambda rig: {"aud": TOKEN.upper()},
    lambda rig: {"exp": None},
    lambda rig: {"exp": _seconds(rig)},
    lambda rig: {"exp": _seconds(rig) - 1},
    lambda rig: {"exp": _seconds(rig) + 331},
    lambda rig: {"exp": _seconds(rig) + 3600},
    lambda rig: {"exp": str(_seconds(rig) + 200)},
    lambda rig: {"exp": True},
    lambda rig: {"exp": [_seconds(rig) + 200]},
    lambda rig: {"exp": -1},
    lambda rig: {"exp": 10**18},
    lambda rig: {"exp": 10**400},
    lambda rig: {"iat": _seconds(rig) + 600},
    lambda rig: {"iat": "now"},
    lambda rig: {"nbf": _seconds(rig) + 60},
    lambda rig: {"nbf": "soon"},
    lambda rig: {"nbf": {}},
    lambda rig: {"jti": None},
    lambda rig: {"jti": ""},
    lambda rig: {"jti": 7},
    lambda rig: {"jti": "x" * 513},
    lambda rig: {"jti": ["a"]},
    lambda rig: {"jti": "a\nb"},
]


@pytest.mark.parametrize("changed", ASSERTIONS, ids=[str(n) for n in range(len(ASSERTIONS))])
async def test_an_assertion_that_is_refused(
    rig: TokenRig, changed: Callable[[TokenRig], dict[str, Any]]
) -> None:
    answer = await rig.token(rig.signed(**changed(rig)))
    check(answer, "invalid_client")
    assert (await rig.token(rig.signed())).status_code == 200


FIELDS: list[tuple[str, dict[str, str | None]]] = [
    ("invalid_client", {"client_assertion_type": None}),
    ("invalid_client", {"client_assertion_type": ""}),
    ("invalid_client", {"client_assertion_type": "not_an_assertion_type"}),
    ("invalid_client", {"client_assertion_type": ASSERTION_TYPE.replace("jwt", "saml2")}),
    ("invalid_client", {"client_assertion_type": ASSERTION_TYPE.upper()}),
    ("invalid_client", {"client_assertion": None}),
    ("invalid_client", {"client_assertion": ""}),
    ("invalid_client", {"client_id": "someone-else"}),
    ("unsupported_grant_type", {"grant_type": "not_a_grant_type"}),
    ("unauthorized_client", {"grant_type": "authorization_code"}),
    ("unauthorized_client", {"grant_type": "refresh_token", "refresh_token": "x"}),
    ("invalid_scope", {"scope": None}),
    ("invalid_scope", {"scope": ""}),
    ("invalid_scope", {"scope": "  "}),
    ("invalid_scope", {"scope": "openid"}),
    ("invalid_scope", {"scope": "user/*.rs"}),
    ("invalid_scope", {"scope": "patient/*.rs launch/patient"}),
    ("invalid_scope", {"scope": "system/*.cud"}),
    ("invalid_scope", {"scope": "system/Patient.write"}),
    ("invalid_scope", {"scope": "system/*.sr"}),
    ("invalid_scope", {"scope": "SYSTEM/*.rs"}),
    ("invalid_scope", {"scope": "system/*.rs\x00"}),
    ("invalid_scope", {"scope": "system/Patient.rs," * 5}),
    ("invalid_scope", {"scope": "x" * 20_000}),
]


@pytest.mark.parametrize(("error", "changed"), FIELDS, ids=[str(n) for n in range(len(FIELDS))])
async def test_a_backend_request_that_is_refused(
    rig: TokenRig, error: str, changed: dict[str, str | None]
) -> None:
    check(await rig.token(rig.signed() | changed), error)


async def test_an_assertion_by_another_key_or_of_another_client(rig: TokenRig) -> None:
    stranger = Signer("ES384", kid=rig.es.kid)
    check(await rig.token(credentials(rig.assertion(rig.backend, stranger))), "invalid_client")
    unknown = Signer("ES384")
    check(await rig.token(credentials(rig.assertion(rig.backend, unknown))), "invalid_client")
    theirs = Signer()
    other, _ = await rig.smart.clients.add(name="O", kind="backend", jwks=theirs.jwks, scopes="system/*.rs")
    check(await rig.token(credentials(rig.assertion(rig.backend, theirs))), "invalid_client")
    assert (await rig.token(credentials(rig.assertion(other, theirs)))).status_code == 200


async def test_a_replay_is_refused_at_every_endpoint(rig: TokenRig) -> None:
    fields = rig.signed()
    assert (await rig.token(fields)).status_code == 200
    check(await rig.token(fields), "invalid_client")
    for path in ("/auth/introspect", "/auth/revoke"):
        check(await rig.post(path, fields | {"token": "x"}), "invalid_client")
    app = credentials(rig.assertion(rig.asymmetric, rig.es), None) | {"token": "x"}
    assert (await rig.post("/auth/introspect", app)).status_code == 200
    check(await rig.post("/auth/introspect", app), "invalid_client")


async def test_an_expired_replay_is_refused_too(rig: TokenRig) -> None:
    fields = rig.signed()
    assert (await rig.token(fields)).status_code == 200
    rig.clock.pass_(600)
    check(await rig.token(fields), "invalid_client")


async def test_an_assertion_for_another_server_is_no_use_under_its_name(rig: TokenRig) -> None:
    """Whoever runs that server could send it on to us, with that server's name as Host."""
    fields = rig.signed(aud="https://other.example/auth/token")
    for headers in ({"Host": "other.example"}, {"Host": "other.example", "X-Forwarded-Proto": "https"}):
        check(await rig.token(fields, headers), "invalid_client")
    plain = rig.signed(aud="http://other.example/auth/token")
    check(await rig.token(plain, {"Host": "other.example"}), "invalid_client")
    local = rig.signed(aud="http://localhost:8080/auth/token")
    assert (await rig.token(local, {"Host": "localhost:8080"})).status_code == 200


async def test_nothing_of_a_secret_comes_back(rig: TokenRig) -> None:
    canary = "zqcanary" * 4
    texts = [
        (await rig.token(exchange(canary, rig.public))).text,
        (await rig.token(exchange("x"), basic(rig.symmetric.id, canary))).text,
        (await rig.token(credentials(canary))).text,
        (await rig.token({"grant_type": canary})).text,
        json.dumps([event[3] for event in rig.events if event[3].get("grant_type") != canary]),
    ]
    assert not any(canary in text for text in texts)
