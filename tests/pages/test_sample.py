"""The sample app in a real Chromium: both SMART launches on the demo practice, and access given back."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from fhirhub import keys
from fhirhub.app import create_app
from fhirhub.cli.import_ import welcome
from fhirhub.settings import Settings
from fhirhub.smart import demo
from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import Clients
from pages.test_browser import _look
from support.lifespan import running
from support.live import Live, serving
from support.smart import lane_to

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="THERE IS NO CHROMIUM ON THIS MACHINE: the sample app was not looked at"
    ),
]


@pytest.fixture(scope="module")
def settings(dsn: str, tmp_path_factory: Any) -> Settings:
    home = tmp_path_factory.mktemp("demo")
    chosen = Settings(database_url=dsn, data_dir=home, log_level="error")
    done = welcome(chosen, workers=1, dry_run=False, again=False, errors=home / "errors.ndjson")
    assert done is not None and done.problems == 0
    return chosen


@pytest.fixture(scope="module")
def live(settings: Settings) -> Iterator[Live]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[SimpleNamespace]:
        async with running(create_app(settings)) as app:
            yield SimpleNamespace(app=app)

    with serving(opened) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(live: Live) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    context = chromium.new_context(base_url=live.base)
    made = context.new_page()
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda told: complaints.append(told.text) if "Security Policy" in told.text else None)
    yield made
    context.close()
    assert not complaints, complaints


def _sign_in(page: Page, settings: Settings, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(demo.password(keys.load(settings), username))
    page.get_by_role("button", name="Sign in").click()


def _tokens(page: Page) -> Any:
    return page.evaluate("JSON.parse(sessionStorage.getItem('vitals'))")


def _reads(live: Live, token: str) -> int:
    answer = httpx.get(
        f"{live.base}/fhir/Patient?_count=1", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )
    return answer.status_code


def test_a_patient_connects_reads_and_gives_access_back(page: Page, live: Live, settings: Settings) -> None:
    # By name, as people type it: the app moves to the address it is registered by.
    page.goto(live.base.replace("127.0.0.1", "localhost") + "/sample/")
    assert page.url == f"{live.base}/sample/"
    _look(page)
    page.get_by_role("button", name="Connect to the record").click()
    _sign_in(page, settings, "demo-patient")
    expect(page.get_by_role("heading", name="Allow Vitals over time?")).to_be_visible()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"\d+ days with measurements"))
    assert page.url == f"{live.base}/sample/", "the code stays in the address"
    expect(page.get_by_role("img")).to_have_count(3)
    expect(page.locator("#banner")).to_contain_text(re.compile(r"\w+ \w+ · born \d{4}"))
    rows = page.locator("#rows tr")
    assert rows.count() >= 2 and page.locator("circle").count() >= 4 * rows.count() - 4
    expect(rows.first.locator("td").nth(0)).to_have_text(re.compile(r"^\d+/\d+ mmHg$"))
    expect(rows.first.locator("td").nth(2)).to_have_text(re.compile(r"^[\d.]+ kg$"))
    _look(page)
    held = _tokens(page)
    assert _reads(live, held["access"]) == 200
    page.evaluate(
        "sessionStorage.setItem('vitals', JSON.stringify({...JSON.parse(sessionStorage.getItem('vitals')), until: 0}))"
    )
    page.get_by_role("button", name="Read again").click()
    expect(page.get_by_role("status")).to_contain_text("days with measurements")
    renewed = _tokens(page)
    assert renewed["access"] != held["access"] and renewed["patient"] == "demo-patient-01"
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("status")).to_contain_text("given back")
    assert _tokens(page) is None and _reads(live, renewed["access"]) == 401
    expect(page.get_by_role("button", name="Connect to the record")).to_be_visible()
    assert page.locator("#rows tr").count() == 0, "what was read is still on the page"


def test_a_clinician_starts_it_from_the_record(page: Page, live: Live, settings: Settings) -> None:
    page.goto("/launch")
    _sign_in(page, settings, "demo-clinician")
    page.get_by_label("Find patient").press_sequentially("abbott")
    page.get_by_role("radio", name="Abbott").first.check()
    name = page.locator("label", has=page.get_by_role("radio", name="Abbott")).first.text_content() or ""
    page.get_by_role("button", name="Start the app").click()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("status")).to_contain_text("days with measurements")
    shown = page.locator("#banner").text_content() or ""
    assert shown.partition(" · ")[0] in name, (shown, name)


def test_saying_no_is_told(page: Page, settings: Settings) -> None:
    page.goto("/sample/")
    page.get_by_role("button", name="Connect to the record").click()
    _sign_in(page, settings, "demo-patient")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("alert")).to_have_text("Access was not allowed.")
    expect(page.get_by_role("button", name="Connect to the record")).to_be_visible()


def test_answers_and_launches_of_others_are_refused(page: Page, live: Live) -> None:
    page.goto("/sample/?code=x&state=never-asked&iss=https://evil.example")
    expect(page.get_by_role("alert")).to_contain_text("not asked here")
    page.goto("/sample/launch.html?iss=https://evil.example/fhir&launch=x")
    expect(page.get_by_role("alert")).to_contain_text(f"{live.base}/fhir only")
    page.goto("/sample/launch.html")
    expect(page.get_by_role("alert")).to_contain_text("opened by the record")
    _look(page)


@pytest.mark.parametrize("others", [{"base_url": "https://record.example"}, {"host": "192.0.2.1"}])
def test_it_is_on_this_machine_only(live: Live, settings: Settings, others: dict[str, str]) -> None:
    async def statuses() -> list[int]:
        async with running(create_app(replace(settings, **others))) as app:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return [(await client.get(path)).status_code for path in ("/sample/", "/sample/oauth.js")]

    assert live.run(statuses()) == [404, 404]


def test_it_is_there_with_its_client_only(live: Live, dsn: str) -> None:
    def status(path: str) -> int:
        return httpx.get(live.base + path, trust_env=False).status_code

    assert status("/sample/") == status("/sample/vitals.js") == 200
    assert status("/sample/nothing.html") == status("/sample/..%2Ffhirhub.css") == 404

    async def deactivate() -> None:
        async with lane_to(dsn) as lane:
            await Clients(lane, now).deactivate(demo.APP)

    live.run(deactivate())
    assert status("/sample/") == status("/sample/vitals.js") == 404
