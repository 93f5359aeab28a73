"""Apps that register themselves: RFC 7591, when it is switched on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from support.flow import Browser, asking, forms, gives_nothing, make_app
from support.flow_rig import Rig, public_key
from support.smart import issue

GOOD: dict[str, Any] = {
    "client_name": "My Diary",
    "redirect_uris": ["https://diary.example/cb"],
    "token_endpoint_auth_method": "none",
}


async def _register(rig: Rig, metadata: Any, **headers: str) -> httpx.Response:
    async with Browser(rig.app) as browser:
        rig.clock.pass_(100_000)  # what was registered before does not count any more
        return await browser.post("/auth/register", json=metadata, headers=headers)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("none", "public"), ("client_secret_basic", "symmetric"), ("client_secret_post", "symmetric")],
)
async def test_registration(rig: Rig, method: str, kind: str) -> None:
    answer = await _register(rig, GOOD | {"token_endpoint_auth_method": method})
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    found = answer.json()
    client = await rig.smart.clients.get(found["client_id"])
    assert client is not None and client.kind == kind and client.active
    assert ("client_secret" in found) == (kind == "symmetric")
    assert "patient/*.rs" in found["scope"].split()


async def test_an_app_that_signs(rig: Rig) -> None:
    method = {"token_endpoint_auth_method": "private_key_jwt"}
    found = (await _register(rig, GOOD | method | {"jwks": {"keys": [public_key()]}})).json()
    client = await rig.smart.clients.get(found["client_id"])
    assert client is not None and client.kind == "asymmetric" and client.jwks is not None
    found = (await _register(rig, GOOD | method | {"jwks_uri": "https://diary.example/keys"})).json()
    client = await rig.smart.clients.get(found["client_id"])
    assert client is not None and client.jwks_url == "https://diary.example/keys"


async def test_of_a_key_set_the_public_keys_are_kept(rig: Rig) -> None:
    """What else stands in it, however odd, is no concern of the store."""
    key = public_key()
    odd = {"x5c": ["\0"], "n": "\0", "\0": 1.5, "key_ops": ["verify"]}
    given = {"keys": [key | odd, {"kty": "oct2", "x": 1e300}], "more": {"\0": 0.1}}
    method = {"token_endpoint_auth_method": "private_key_jwt"}
    answer = await _register(rig, GOOD | method | {"jwks": given})
    assert answer.status_code == 201, answer.text
    client = await rig.smart.clients.get(answer.json()["client_id"])
    assert client is not None and client.jwks == {"keys": [key]}
    answer = await _register(rig, GOOD | method | {"jwks": {"keys": [key | {"kid": "a\0"}]}})
    assert answer.status_code == 400


async def test_who_registered_itself_is_told_apart(rig: Rig) -> None:
    found = (await _register(rig, GOOD)).json()
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked = asking(found["client_id"], GOOD["redirect_uris"][0], "patient/*.rs")
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        assert "My Diary" in page.text and "has not checked" in page.text
        assert any("Allow" in form.buttons for form in forms(page))


async def test_it_may_ask_for_a_patients_record_only(rig: Rig) -> None:
    wanted = "openid patient/*.cruds user/*.cruds system/*.cruds nonsense"
    found = (await _register(rig, GOOD | {"scope": wanted})).json()
    assert found["scope"].split() == ["openid", "patient/*.cruds"]


BAD: dict[str, tuple[Any, str]] = {
    "no-name": ({"client_name": None}, "invalid_client_metadata"),
    "empty-name": ({"client_name": ""}, "invalid_client_metadata"),
    "space-name": ({"client_name": "  "}, "invalid_client_metadata"),
    "long-name": ({"client_name": "a" * 81}, "invalid_client_metadata"),
    "bidi-name": ({"client_name": "My\u202eDiary"}, "invalid_client_metadata"),
    "line-name": ({"client_name": "My\nDiary"}, "invalid_client_metadata"),
    "number-name": ({"client_name": 5}, "invalid_client_metadata"),
    "method": ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
    "method-list": ({"token_endpoint_auth_method": ["none"]}, "invalid_client_metadata"),
    "grant": ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
    "implicit": ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
    "password": ({"grant_types": ["authorization_code", "password"]}, "invalid_client_metadata"),
    "token": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "scope-staff": ({"scope": "user/*.cruds"}, "invalid_client_metadata"),
    "scope-system": ({"scope": "system/*.cruds"}, "invalid_client_metadata"),
    "scope-none": ({"scope": "nonsense"}, "invalid_client_metadata"),
    "scope-list": ({"scope": ["openid"]}, "invalid_client_metadata"),
    "keys-of-public": ({"jwks": {"keys": []}}, "invalid_client_metadata"),
    "no-keys": ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    "http-keys": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://127.0.0.1/keys"},
        "invalid_client_metadata",
    ),
    "file-keys": (
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "file:///etc/passwd"},
        "invalid_client_metadata",
    ),
    "odd-keys": ({"token_endpoint_auth_method": "private_key_jwt", "jwks": []}, "invalid_client_metadata"),
    "no-key": ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": []}}, "invalid_client_metadata"),
    "secret-key": (
        {
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]},
        },
        "invalid_client_metadata",
    ),
    "no-uris": ({"redirect_uris": None}, "invalid_redirect_uri"),
    "empty-uris": ({"redirect_uris": []}, "invalid_redirect_uri"),
    "text-uris": ({"redirect_uris": "https://diary.example/cb"}, "invalid_redirect_uri"),
    "many-uris": ({"redirect_uris": [f"https://diary.example/{n}" for n in range(21)]}, "invalid_redirect_uri"),
    **{
        f"uri-{index}": ({"redirect_uris": ["https://diary.example/cb", uri]}, "invalid_redirect_uri")
        for index, uri in enumerate(
            ["", "javascript:alert(1)", "data:text/html,x", "http://diary.example/cb", "https://a@diary.example/cb",
             "https://diary.example/cb#x", "https://*.example/cb", "https://diary.example/a/../cb", "//diary.example/cb",
             "https://diary.example/a b", "https:///cb", "vbscript:x", "file:///x", "urn:ietf:wg:oauth:2.0:oob",
             "https://diary.example:99999/", "https://d\u0456ary.example/cb", "https://diary.example\\cb", "app:/cb", 5, None]
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_metadata_that_is_refused(rig: Rig, name: str) -> None:
    changed, error = BAD[name]
    answer = await _register(rig, GOOD | changed)
    assert answer.status_code == 400 and answer.json()["error"] == error, answer.text
    assert answer.json()["error_description"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{", b"\xff", b'{"client_name": NaN}', b"{}" + b" " * 70_000]
)
async def test_bodies_that_are_refused(rig: Rig, content: bytes) -> None:
    async with Browser(rig.app) as browser:
        rig.clock.pass_(100_000)
        answer = await browser.post(
            "/auth/register", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400 and answer.json()["error"] == "invalid_client_metadata"


async def test_an_address_registers_a_few(rig: Rig) -> None:
    rig.clock.pass_(100_000)
    async with Browser(rig.app) as browser:
        codes = [(await browser.post("/auth/register", json=GOOD)).status_code for _ in range(23)]
        last = await browser.post("/auth/register", json=GOOD)
    assert codes[:20] == [201] * 20 and codes[-1] == 429
    assert int(last.headers["retry-after"]) > 0


async def test_a_network_of_ipv6_is_one_address(rig: Rig) -> None:
    rig.clock.pass_(100_000)
    codes = []
    for number in range(22):
        transport = httpx.ASGITransport(app=rig.app, client=(f"2001:db8:1:2::{number:x}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            codes.append((await client.post("/auth/register", json=GOOD)).status_code)
    assert codes == [201] * 20 + [429] * 2


@pytest.mark.parametrize("wrong", [{"response_type": "token"}, {"scope": "nonsense"}, {"prompt": "none"}])
async def test_a_link_to_us_leads_nowhere_else(rig: Rig, wrong: dict[str, str]) -> None:
    """An address that somebody registered is not gone to before a person has said so: RFC 9700 §4.11.2."""
    id_ = (await _register(rig, GOOD)).json()["client_id"]
    asked = asking(id_, "https://diary.example/cb", "patient/*.rs", **wrong)
    async with Browser(rig.app) as browser:
        answer = await browser.get("/auth/authorize", params=asked)
        assert answer.status_code == 400 and gives_nothing(answer) and "Back to My Diary" in answer.text


async def test_it_learns_nothing_of_the_tokens_of_others(rig: Rig) -> None:
    made = (await _register(rig, GOOD | {"token_endpoint_auth_method": "client_secret_post"})).json()
    proof = {name: made[name] for name in ("client_id", "client_secret")}
    own, others = [
        await issue(rig.smart.settings.database_url or "", "user/*.rs", client_id=id_, clock=rig.clock)
        for id_ in (made["client_id"], rig.web.id)
    ]
    async with Browser(rig.app) as browser:
        told = [
            (await browser.post("/auth/introspect", data=proof | {"token": token})).json()
            for token in (own, others)
        ]
    assert told[0]["active"] is True and told[1] == {"active": False}


async def test_it_is_off_unless_enabled(rig: Rig) -> None:
    off = replace(rig.smart, settings=replace(rig.smart.settings, registration=False))
    async with Browser(make_app(off)) as browser:
        assert (await browser.post("/auth/register", json=GOOD)).status_code == 404
        found = (await browser.get("/fhir/.well-known/smart-configuration")).json()
        assert "registration_endpoint" not in found
