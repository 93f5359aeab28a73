"""What apps find out by themselves: SMART rows 1 to 4, 24 and 31; (g)(10) capability lists."""

from __future__ import annotations

import json

from fhirhub.capability import load
from fhirhub.packaged import folder
from fhirhub.smart import asked, discovery
from support.flow import AUD, ORIGIN, Browser
from support.flow_rig import Rig

WELL_KNOWN = "/fhir/.well-known/smart-configuration"
STANDALONE = {"launch-standalone", "client-public", "client-confidential-symmetric", "sso-openid-connect",
              "context-standalone-patient", "permission-offline", "permission-patient", "permission-v1", "permission-v2",
              "authorize-post", "client-confidential-asymmetric"}  # fmt: skip
EHR = {"launch-ehr", "context-banner", "context-style", "context-ehr-patient", "context-ehr-encounter",
       "permission-user"}  # fmt: skip


def test_the_file_is_what_the_code_serves() -> None:
    """Rewrite it by ``python -m fhirhub.smart.discovery`` and look at the difference."""
    assert (folder("capability") / discovery.FILE).read_bytes() == discovery.rendered()


async def test_row_1_json_whatever_is_accepted(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        for accept in ("application/json", "text/html", "application/fhir+xml", "image/png", ""):
            answer = await browser.get(
                WELL_KNOWN, headers={"accept": accept, "origin": "https://far.example"}
            )
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("application/json")
            # Row 31: any origin may read it.
            assert answer.headers["access-control-allow-origin"] == "*"
        asking = {"origin": "https://far.example", "access-control-request-method": "GET"}
        for path in (WELL_KNOWN, "/.well-known/openid-configuration", "/branding.json", "/smart-style.json"):
            first = await browser.options(path, headers=asking | {"access-control-request-headers": "x-app"})
            assert first.status_code == 204 and first.headers["access-control-allow-origin"] == "*"
            assert first.headers["access-control-allow-headers"] == "*"


async def test_rows_2_and_3_fields(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        found = (await browser.get(WELL_KNOWN)).json()
    assert found["grant_types_supported"] == ["authorization_code", "client_credentials"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["response_types_supported"] == ["code"]
    assert all(isinstance(one, str) and one for one in found["capabilities"] + found["scopes_supported"])
    for name in ("authorization_endpoint", "token_endpoint", "introspection_endpoint", "revocation_endpoint",
                 "management_endpoint", "jwks_uri", "user_access_brand_bundle", "issuer", "registration_endpoint"):  # fmt: skip
        assert found[name].startswith(ORIGIN), name
    assert {"RS384", "ES384"} <= set(found["token_endpoint_auth_signing_alg_values_supported"])
    assert {"client_secret_basic", "private_key_jwt"} <= set(found["token_endpoint_auth_methods_supported"])


async def test_row_4_capabilities(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        found = set((await browser.get(WELL_KNOWN)).json()["capabilities"])
    assert STANDALONE <= found and EHR <= found


def test_row_3_every_scope_listed_means_something() -> None:
    for word in discovery.scopes():
        assert asked.means_something(word), word
    assert not asked.means_something("patient/Observation.dus")


async def test_row_24_openid_configuration(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        found = (await browser.get("/.well-known/openid-configuration")).json()
        smart = (await browser.get(WELL_KNOWN)).json()
    for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported",
                 "subject_types_supported", "id_token_signing_alg_values_supported"):  # fmt: skip
        assert found[name], name
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    assert (found["issuer"], found["jwks_uri"]) == (smart["issuer"], smart["jwks_uri"])
    assert (
        f"{found['issuer']}/.well-known/openid-configuration" == f"{ORIGIN}/.well-known/openid-configuration"
    )


async def test_addresses_are_those_the_caller_used(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        found = (await browser.get(WELL_KNOWN, headers={"host": "record.example:8443"})).json()
        assert found["token_endpoint"] == "http://record.example:8443/auth/token"
        odd = (await browser.get(WELL_KNOWN, headers={"host": "a/b@c"})).json()
        assert odd["token_endpoint"].startswith(ORIGIN)


async def test_row_13_the_style_is_json(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        answer = await browser.get("/smart-style.json")
    assert answer.json()["color_text"] and answer.headers["access-control-allow-origin"] == "*"


async def test_the_capability_statement_says_the_same(rig: Rig) -> None:
    """For apps older than .well-known: the extension oauth-uris."""
    statement = json.loads(load(folder("capability")).statement_at(AUD))
    security = statement["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    told = {one["url"]: one["valueUri"] for one in security["extension"][0]["extension"]}
    async with Browser(rig.app) as browser:
        found = (await browser.get(WELL_KNOWN)).json()
    assert told["authorize"] == found["authorization_endpoint"] and told["token"] == found["token_endpoint"]
    assert (
        told["introspect"] == found["introspection_endpoint"]
        and told["revoke"] == found["revocation_endpoint"]
    )
    assert told["manage"] == found["management_endpoint"]
