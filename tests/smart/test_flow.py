"""From discovery to tokens, as an app goes: standalone, EHR launch, and a patient's own app, without a shortcut."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhirhub.smart.launch import mint
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import Context
from support.flow import AUD, ORIGIN, Browser, answer_of, asking, challenge_of, pkce
from support.flow_rig import Rig

SCOPE = "openid fhirUser offline_access launch/patient patient/Observation.rs"


async def _code(rig: Rig, account: Account, asked: dict[str, str], pick: str = "") -> dict[str, str]:
    """What the app is told after the person has allowed everything."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, account)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        if pick:
            page = await browser.arrive(await browser.press(page, pick))
        return answer_of(await browser.press(page, "Allow"))


async def _token(rig: Rig, code: str, verifier: str | None) -> httpx.Response:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": rig.web_uri,
        "client_id": rig.web.id,
    } | ({} if verifier is None else {"code_verifier": verifier})
    async with Browser(rig.app) as app:
        return await app.post("/auth/token", data=fields)


async def _ends(rig: Rig) -> dict[str, Any]:
    async with Browser(rig.app) as app:
        return (await app.get("/fhir/.well-known/smart-configuration")).json()


async def test_a_patients_app(rig: Rig) -> None:
    found = await _ends(rig)
    assert found["authorization_endpoint"] == f"{ORIGIN}/auth/authorize"
    verifier, challenge = pkce()
    told = await _code(rig, rig.patient, asking(rig.web.id, rig.web_uri, SCOPE, code_challenge=challenge))
    assert told["iss"] == found["issuer"]
    body = (await _token(rig, told["code"], verifier)).json()
    assert body["patient"] == "p1" and set(body["scope"].split()) == set(SCOPE.split())
    assert (
        body["access_token"] and body["refresh_token"] and body["id_token"] and body["token_type"] == "Bearer"
    )


async def test_a_clinicians_app_on_a_chosen_patient(rig: Rig) -> None:
    verifier, challenge = pkce()
    asked = asking(rig.web.id, rig.web_uri, SCOPE, code_challenge=challenge)
    told = await _code(rig, rig.doctor, asked, pick="Bo Baker")
    body = (await _token(rig, told["code"], verifier)).json()
    assert body["patient"] == "p2" and body["need_patient_banner"] is True


async def test_an_app_started_from_the_record(rig: Rig) -> None:
    url = await mint(
        rig.smart, ORIGIN, rig.web.id, rig.doctor, Context("p1", "e1", need_patient_banner=False)
    )
    opened = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert opened["iss"] == AUD
    verifier, challenge = pkce()
    scope = "launch openid fhirUser patient/Observation.rs"
    asked = asking(rig.web.id, rig.web_uri, scope, code_challenge=challenge, launch=opened["launch"])
    told = await _code(rig, rig.doctor, asked)
    body = (await _token(rig, told["code"], verifier)).json()
    assert (body["patient"], body["encounter"], body["need_patient_banner"]) == ("p1", "e1", False)
    assert "refresh_token" not in body


@pytest.mark.parametrize("wrong", ["blank", "absent", "other", "challenge"])
async def test_row_9_the_verifier_is_the_apps_own(rig: Rig, wrong: str) -> None:
    """The four launches of (g)(10) with bad PKCE."""
    verifier, challenge = pkce()
    told = await _code(rig, rig.patient, asking(rig.web.id, rig.web_uri, SCOPE, code_challenge=challenge))
    sent = {"blank": "", "absent": None, "other": pkce()[0], "challenge": challenge_of(verifier)}[wrong]
    answer = await _token(rig, told["code"], sent)
    assert answer.status_code in (400, 401) and "access_token" not in answer.text
