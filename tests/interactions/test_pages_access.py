"""What pages show of the record is what the person may see at that moment, as over FHIR."""

from __future__ import annotations

import re

import httpx

from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import Clients
from fhirhub.smart.storage.sessions import Sessions
from support.door import Door, Token
from support.smart import REDIRECT, account, lane_to

LAUNCH = "http://testserver/launch"


async def _signed_in(door: Door, fhir_user: str) -> httpx.Cookies:
    """The cookies of a practitioner who has signed in, where an app can be started."""
    async with lane_to(door.dsn) as lane:
        person = await account(lane, "practitioner", fhir_user)
        _, value = await Sessions(lane, now, idle=900, absolute=900).start(person.id, "complete")
        await Clients(lane, now).add(
            name="Chart",
            kind="public",
            scopes="launch patient/*.rs",
            redirect_uris=(REDIRECT,),
            launch_url=REDIRECT,
        )
    return httpx.Cookies({"fhirhub-session": value})


async def _found(door: Door, cookies: httpx.Cookies) -> str:
    """What is shown of patients with the name of ana."""
    async with httpx.AsyncClient(transport=door.client._transport, cookies=cookies) as browser:
        page = (await browser.get(LAUNCH)).text
        csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        assert csrf is not None, page
        return (await browser.post(LAUNCH, data={"csrf": csrf[1], "find": "Ana"})).text


async def test_a_consent_acts_on_the_next_page(door: Door, token: Token) -> None:
    cookies = await _signed_in(door, "Practitioner/other")
    assert 'value="ana"' in await _found(door, cookies)
    doc = await token(fhir_user="Practitioner/doc")
    denial = {
        "resourceType": "Consent",
        "id": "not-other",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": "Patient/ana"},
        "policyRule": {"coding": [{"code": "OPTIN"}]},
        "provision": {
            "type": "deny",
            "actor": [{"role": {"text": "recipient"}, "reference": {"reference": "Practitioner/other"}}],
        },
    }
    stored = await doc.put(denial)
    assert stored.status_code == 201, stored.text
    # No request with a token comes between: the page itself has to notice.
    assert 'value="ana"' not in await _found(door, cookies)
