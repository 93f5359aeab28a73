"""The pages in a real Chromium: accessible by axe-core, by keyboard, on a phone, in the dark, without a policy violation."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from support import site as support
from support.live import Live, serving
from support.site import GOOD, Site

CHROMIUM = shutil.which("chromium")
AXE = gzip.decompress((Path(__file__).parent / "axe" / "axe.min.js.gz").read_bytes()).decode()
PHONE: ViewportSize = {"width": 360, "height": 740}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {
    "admin": ["/account/apps", "/account/security", "/launch", "/admin", "/admin/clients",
              "/admin/clients/edit?client=growth-chart",
              "/admin/roles?role=biller", "/admin/audit", "/admin/roles?role=nobody"],
    "patient": ["/account/apps", "/account/access", "/account/security"],
    "practitioner": ["/launch", "/account/break-glass", "/admin"],
}  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="THERE IS NO CHROMIUM ON THIS MACHINE: no page was looked at"
    ),
]


@pytest.fixture(scope="module")
def live(dsn: str) -> Iterator[Live]:
    with serving(lambda: support.opened(dsn)) as made:
        made.run(_furnish(made.made))
        yield made


async def _furnish(site: Site) -> None:
    for role in PAGES:
        await site.person(f"the-{role}", role)
        account = await site.people.accounts.by_name(f"the-{role}")
        assert account is not None
        for number in (1, 2):
            await site.connect(
                account, f"Growth Chart {number}", "patient/Observation.rs openid launch/patient"
            )
    await site.smart.clients.add(
        id="growth-chart", name="Growth Chart", kind="symmetric", publisher="Little & Co", redirect_uris=("http://127.0.0.1:1/cb",),
        launch_url="http://127.0.0.1:1/launch", scopes="launch patient/*.rs",
    )  # fmt: skip


@pytest.fixture(scope="module")
def chromium(live: Live) -> Iterator[Browser]:
    # After ``live``: while Playwright runs, its event loop is this thread's, and the databases could not be made.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    yield from _page(chromium, live)


def _page(chromium: Browser, live: Live, **options: Any) -> Iterator[Page]:
    context: BrowserContext = chromium.new_context(base_url=live.base, **options)
    made = context.new_page()
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type == "error" and "status of 4" not in message.text
            else None
        ),
    )
    made.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((live.base, "http://127.0.0.1:1/"))
            else complaints.append(request.url)
        ),
    )
    yield made
    context.close()
    assert not complaints, complaints


def _sign_in(page: Page, username: str, password: str = GOOD) -> None:
    page.goto("/auth/sign-in")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def _look(page: Page) -> None:
    """No finding of axe-core, in the light and in the dark, and nothing wider than a phone."""
    page.evaluate(AXE)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("axe.run()")
        broken = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
        assert not broken, (page.url, scheme, broken)
        unsure = [one["id"] for one in found["incomplete"] if one["id"] != "color-contrast"]
        assert not unsure, (page.url, unsure)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], page.url
    page.set_viewport_size({"width": 1280, "height": 800})


def test_sign_in_pages_are_accessible(page: Page) -> None:
    page.goto("/auth/sign-in")
    _look(page)
    _sign_in(page, "the-admin", "not it")
    expect(page.get_by_role("alert")).to_contain_text("The username or the password is wrong.")
    _look(page)


@pytest.mark.parametrize("role", list(PAGES))
def test_pages_are_accessible(page: Page, role: str) -> None:
    _sign_in(page, f"the-{role}")
    for path in PAGES[role]:
        page.goto(path)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        _look(page)


def test_signing_in_and_out_by_keyboard(page: Page) -> None:
    page.goto("/auth/sign-in")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("the-patient")
    page.keyboard.press("Tab")
    page.keyboard.type(GOOD)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", (
        "focus is not seen"
    )
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Connected apps")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Sign out":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_label("Username")).to_be_visible()


def test_an_app_is_revoked(page: Page) -> None:
    _sign_in(page, "the-patient")
    page.goto("/account/apps")
    expect(page.get_by_role("button", name="Revoke")).to_have_count(2)
    page.get_by_role("button", name="Revoke").first.click()
    expect(page.get_by_role("status")).to_contain_text("cut off")
    expect(page.get_by_role("button", name="Revoke")).to_have_count(1)


def test_older_looks_are_loaded_into_the_list(page: Page) -> None:
    _sign_in(page, "the-patient")
    page.goto("/account/access")
    expect(page.get_by_text("Dr. Hale")).to_have_count(3)
    page.get_by_role("link", name="Older ones").click()
    expect(page.get_by_text("Dr. Hale")).to_have_count(6)
    assert page.url.endswith("/account/access"), "the page was loaded anew"


def test_patients_are_found_while_typing(page: Page) -> None:
    _sign_in(page, "the-practitioner")
    page.goto("/launch")
    page.get_by_label("Find patient").press_sequentially("beck")
    expect(page.get_by_role("radio", name="Ben Becker")).to_be_visible()
    _look(page)
    expect(page.get_by_role("radio", name="Growth Chart")).to_be_checked()
    page.get_by_label("Find patient").fill("nobody-is-called-this")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("Nobody is found by")).to_be_visible()
    _look(page)
    assert page.url.endswith("/launch")


def test_a_second_factor_is_set_up_and_used(page: Page, live: Live) -> None:
    site: Site = live.made
    live.run(site.person("two-factors", "biller"))
    _sign_in(page, "two-factors")
    page.goto("/account/security")
    page.get_by_label("Your password").fill(GOOD)
    page.get_by_role("button", name="Turn a second factor on").click()
    _look(page)
    shown = page.get_by_text("Key:").text_content() or ""
    secret = "".join(re.findall(r"\b[A-Z2-7]{4}\b", shown))
    page.get_by_label("Code").fill(site.code(secret))
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    _look(page)
    page.get_by_role("button", name="Sign out").click()
    site.clock.pass_(30)
    _sign_in(page, "two-factors")
    _look(page)
    page.get_by_label("Code").fill(site.code(secret))
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_somebody_is_added_and_chooses_a_password(page: Page, chromium: Browser, live: Live) -> None:
    _sign_in(page, "the-admin")
    page.goto("/admin")
    page.get_by_label("Username").fill("Newcomer")
    page.get_by_label("Role").select_option("frontdesk")
    page.get_by_role("button", name="Add", exact=True).click()
    once = page.locator("code").first.text_content() or ""
    _look(page)
    for other in _page(chromium, live):
        _sign_in(other, "newcomer", once)
        _look(other)
        other.get_by_label("New password", exact=True).fill("cobalt hammock thirteen")
        other.get_by_label("New password once more").fill("cobalt hammock thirteen")
        other.get_by_role("button", name="Save the password").click()
        expect(other.get_by_role("heading", name="Start an app on a patient")).to_be_visible()
        page.get_by_role("row", name="newcomer").get_by_role("button", name="Deactivate").click()
        expect(page.get_by_role("status")).to_contain_text("newcomer is deactivated. Cut: 1 sessions")
        other.goto("/account/apps")
        expect(other.get_by_label("Username")).to_be_visible()


def test_choosing_a_patient_and_consenting(page: Page, live: Live) -> None:
    site: Site = live.made
    client = next(one for one in live.run(site.smart.clients.list()) if one.name == "Growth Chart")
    asked = {
        "response_type": "code", "client_id": client.id, "redirect_uri": client.redirect_uris[0], "aud": f"{live.base}/fhir",
        "scope": "launch/patient patient/*.rs", "state": "s" * 20, "code_challenge": "E" * 43, "code_challenge_method": "S256",
    }  # fmt: skip
    page.goto("/auth/authorize?" + urlencode(asked))
    page.get_by_label("Username").fill("the-practitioner")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Find patient").fill("ada")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Ben Becker")).to_have_count(0)
    _look(page)
    page.get_by_role("button", name="Ada Abbott").click()
    expect(page.get_by_role("checkbox")).not_to_have_count(0)
    _look(page)
    page.get_by_text("Only some of it").first.click()
    _look(page)
    with page.expect_request(f"{client.redirect_uris[0]}?*") as sent:
        page.get_by_role("button", name="Allow").click()
    assert f"state={asked['state']}" in sent.value.url and "code=" in sent.value.url


def test_the_glass_is_broken_and_mended(page: Page) -> None:
    _sign_in(page, "the-practitioner")
    page.goto("/account/break-glass")
    page.get_by_label("Reason").fill("unconscious, no history at hand")
    page.get_by_role("button", name="Turn emergency access on").click()
    expect(page.get_by_role("status")).to_contain_text("unconscious, no history at hand")
    _look(page)
    page.get_by_role("button", name="Turn emergency access off").click()
    expect(page.get_by_role("status")).to_have_count(0)
