"""The practice in lists of apps: SMART row 33, https://hl7.org/fhir/smart-app-launch/brands.html."""

from __future__ import annotations

from fhirhub.definitions.tables import load
from fhirhub.settings import Settings
from fhirhub.smart import brands
from fhirhub.validation.validator import Validator
from support.flow import AUD, Browser
from support.flow_rig import Rig

NAMED = Settings(
    practice_name="Hill Street",
    practice_url="https://www.hill.example/about",
    practice_logo="https://hill.example/l.svg",
)


async def test_the_bundle(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        smart = (await browser.get("/fhir/.well-known/smart-configuration")).json()
        answer = await browser.get(
            smart["user_access_brand_bundle"], headers={"origin": "https://far.example"}
        )
        found = answer.json()
        assert answer.headers["access-control-allow-origin"] == "*"
        assert found["type"] == "collection" and found["timestamp"] and len(found["entry"]) == 2
        # Weak validator, honoured.
        etag = answer.headers["etag"]
        assert etag.startswith('W/"')
        assert (
            await browser.get("/branding.json", headers={"if-none-match": f'"x", {etag}'})
        ).status_code == 304
        assert (await browser.get("/branding.json", headers={"if-none-match": '"x"'})).status_code == 200
    organizations = [
        one["resource"] for one in found["entry"] if one["resource"]["resourceType"] == "Organization"
    ]
    wanted = smart["user_access_brand_identifier"]
    assert [one for one in organizations if wanted in one["identifier"]] == organizations and len(
        organizations
    ) == 1
    endpoint = next(one for one in found["entry"] if one["resource"]["resourceType"] == "Endpoint")
    assert endpoint["resource"]["address"] == AUD
    assert organizations[0]["endpoint"] == [{"reference": endpoint["fullUrl"]}]


def test_it_is_valid_and_says_what_is_set() -> None:
    made = brands.bundle(NAMED, "https://record.example", "2026-01-01T00:00:00Z")
    assert Validator(load()).validate(made) == []
    organization = made["entry"][0]["resource"]
    assert organization["name"] == "Hill Street"
    assert organization["identifier"] == [{"system": "urn:ietf:rfc:3986", "value": "https://hill.example"}]
    assert any(one["url"].endswith("organization-brand") for one in organization["extension"])


def test_the_validator_changes_with_the_content_only() -> None:
    def etag(settings: Settings, time: str) -> str:
        return brands.etag(brands.bundle(settings, "https://record.example", time))

    assert etag(NAMED, "2026-01-01T00:00:00Z") == etag(NAMED, "2026-02-01T00:00:00Z")
    assert etag(NAMED, "2026-01-01T00:00:00Z") != etag(Settings(), "2026-01-01T00:00:00Z")
