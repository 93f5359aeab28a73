"""The SMART JavaScript library in a real Chromium, against a real server of two workers that asks who one is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clients.app_pages import App, serving
from support.practice import PASSWORD, READINGS, Practice, opened

CHROMIUM = shutil.which("chromium")
PATIENT_APP = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs patient/Condition.rs"
CHART = "launch openid fhirUser online_access patient/Patient.rs patient/Observation.rs patient/Encounter.rs user/Practitioner.r"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(
        CHROMIUM is None, reason="THERE IS NO CHROMIUM ON THIS MACHINE: no app was started in a browser"
    ),
]


@pytest.fixture(scope="module")
def practice(request: pytest.FixtureRequest) -> Iterator[Practice]:
    # Only registered pages may call: those of the machine itself have to be registered as well.
    with opened(
        request.config.getoption("--postgres-bin"), FHIRHUB_CORS_ORIGINS="https://nobody.example"
    ) as made:
        made.person("ana", "patient", "Patient/ana")
        made.person("hale", "practitioner", "Practitioner/hale")
        yield made


@pytest.fixture(scope="module")
def app(practice: Practice) -> Iterator[App]:
    with serving() as made:
        for name, title, scope in (("weight", "Weight Watch", PATIENT_APP), ("chart", "Growth Chart", CHART)):
            launched = ("--launch-url", made.launch_url(name)) if name == "chart" else ()
            id = practice.app(title, scope, made.redirect_uri, *launched)
            made.registered[name] = {"clientId": id, "scope": scope}
        yield made


@pytest.fixture(scope="module")
def chromium(app: App) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def start(page: Page, app: App, practice: Practice, name: str = "weight") -> None:
    """The app starts by itself."""
    page.goto(app.launch_url(name) + "&" + urlencode({"iss": practice.base}))


def sign_in(page: Page, username: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def allow(page: Page, *without: str) -> None:
    for scope in without:
        page.locator(f"input[type=checkbox][value='{scope}']").uncheck()
    page.get_by_role("button", name="Allow").click()


def test_a_patient_connects_an_app_and_ends_it(page: Page, app: App, practice: Practice) -> None:
    start(page, app, practice)
    sign_in(page, "ana")
    expect(page.get_by_role("heading", name="Allow Weight Watch?")).to_be_visible()
    assert {box.get_attribute("value") for box in page.get_by_role("checkbox").all()} == set(
        PATIENT_APP.split()
    )
    allow(page, "patient/Condition.rs")
    expect(page.get_by_role("heading", name="Abbott")).to_be_visible()
    assert page.url.startswith(app.redirect_uri)
    assert page.evaluate("client.getPatientId()") == "ana" and page.evaluate("client.getFhirUser()") == (
        "Patient/ana"
    )
    assert set(page.evaluate("client.getState('tokenResponse.scope')").split()) == set(
        PATIENT_APP.split()
    ) - {"patient/Condition.rs"}
    _reads_what_was_allowed(page)
    used = page.evaluate("client.getState('tokenResponse.refresh_token')")
    before = page.evaluate("client.getState('tokenResponse.access_token')")
    page.evaluate("client.refresh().then(() => 1)")
    assert page.evaluate("client.getState('tokenResponse.access_token')") != before
    assert page.evaluate("plainly('Patient/ana')")[0] == 200
    other = page.context.new_page()
    other.goto(f"{practice.origin}/account/apps")
    expect(other.get_by_text("Weight Watch")).to_be_visible()
    other.get_by_role("button", name="Revoke").click()
    expect(other.get_by_role("status")).to_contain_text("cut off")
    _is_out(page, app)
    assert used != page.evaluate("client.getState('tokenResponse.refresh_token')")


def _reads_what_was_allowed(page: Page) -> None:
    """All of Ana's weights over several pages, nothing of Ben, and no diagnosis, for which there is no scope."""
    found = page.evaluate(
        "client.request('Observation?patient=ana&_count=20', {pageLimit: 0, flat: true}).then(all => all.map(one => one.id))"
    )
    assert len(found) == len(set(found)) == READINGS and all(id.startswith("ana-") for id in found)
    status, hidden = page.evaluate("plainly('Patient/ben')")
    absent = page.evaluate("plainly('Patient/nobody')")
    assert (
        (status, hidden["issue"][0]["code"])
        == (absent[0], absent[1]["issue"][0]["code"])
        == (
            404,
            "not-found",
        )
    )
    status, refused = page.evaluate("plainly('Condition?patient=ana')")
    assert status == 403 and "patient/Condition." in refused["issue"][0]["diagnostics"]


def _is_out(page: Page, app: App, again: str = "") -> None:
    status, refused = page.evaluate("plainly('Patient/ana')")
    assert status == 401 and refused["resourceType"] == "OperationOutcome"
    fields = """{grant_type: 'refresh_token', client_id: client.state.clientId,
                 refresh_token: client.state.tokenResponse.refresh_token}"""
    status, refused = page.evaluate(f"token({fields})")
    assert (status, refused["error"]) == (400, "invalid_grant")
    assert page.evaluate("client.request('Patient/ana').then(() => 'read', () => 'refused')") == "refused"


def test_a_practitioner_chooses_a_patient(page: Page, app: App, practice: Practice) -> None:
    start(page, app, practice)
    sign_in(page, "hale")
    page.get_by_label("Find patient").fill("beck")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Ben Becker").click()
    expect(page.get_by_role("heading", name="Allow Weight Watch?")).to_be_visible()
    allow(page, "offline_access")
    expect(page.get_by_role("heading", name="Becker")).to_be_visible()
    assert page.evaluate("client.getPatientId()") == "ben"
    assert page.evaluate("client.getFhirUser()") == "Practitioner/hale"
    assert page.evaluate("client.getState('tokenResponse.refresh_token')") is None
    assert page.evaluate("plainly('Condition/ben-condition')")[0] == 200
    assert page.evaluate("plainly('Condition/ana-condition')")[0] == 404


def test_it_is_launched_on_a_visit(page: Page, app: App, practice: Practice) -> None:
    client = app.registered["chart"]["clientId"]
    made = practice.command(
        "launch", client, "--user", "hale", "--patient", "ana", "--encounter", "ana-visit"
    )
    page.goto(made["url"])
    sign_in(page, "hale")
    allow(page)
    expect(page.get_by_role("heading", name="Abbott")).to_be_visible()
    assert page.evaluate("[client.getPatientId(), client.getEncounterId()]") == ["ana", "ana-visit"]
    told = page.evaluate("client.state.tokenResponse")
    assert told["need_patient_banner"] is True
    status, style = page.evaluate("ask(client.state.tokenResponse.smart_style_url)")
    assert status == 200 and re.fullmatch("#[0-9a-f]{6}", style["color_background"])
    assert page.evaluate("plainly('Encounter/ana-visit')")[0] == 200
    assert page.evaluate("client.user.read().then(who => who.id)") == "hale"
    assert page.evaluate("plainly('Patient/ben')")[0] == 404
    page.evaluate("client.refresh().then(() => 1)")
    other = page.context.new_page()
    other.goto(f"{practice.origin}/account/apps")
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_label("Username")).to_be_visible()
    _is_out(page, app)
    page.goto(made["url"])
    expect(page.get_by_role("alert")).not_to_be_empty()


def test_it_is_launched_from_the_page_of_the_staff(page: Page, app: App, practice: Practice) -> None:
    page.goto(f"{practice.origin}/launch")
    sign_in(page, "hale")
    page.get_by_label("Find patient").press_sequentially("ben")
    page.get_by_role("radio", name="Ben Becker").check()
    page.get_by_role("radio", name="Growth Chart").check()
    page.get_by_role("button", name="Start the app").click()
    expect(page.get_by_role("heading", name="Allow Growth Chart?")).to_be_visible()
    allow(page)
    expect(page.get_by_role("heading", name="Becker")).to_be_visible()
    assert page.evaluate("[client.getPatientId(), client.getEncounterId()]") == ["ben", None]
    assert page.evaluate("plainly('Observation?patient=ana')")[1].get("entry", []) == []


def test_somebody_says_no(page: Page, app: App, practice: Practice) -> None:
    start(page, app, practice)
    sign_in(page, "ana")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("access_denied|said no"))
    assert page.url.startswith(app.redirect_uri)
    assert page.evaluate("'client' in window") is False


def test_a_request_that_was_meant_for_another_server(page: Page, app: App, practice: Practice) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    asked = {
        "response_type": "code", "client_id": app.registered["weight"]["clientId"], "redirect_uri": app.redirect_uri,
        "aud": "https://other.example/fhir", "scope": PATIENT_APP, "state": "s" * 22, "code_challenge": "E" * 43,
        "code_challenge_method": "S256",
    }  # fmt: skip
    answer = page.goto(f"{practice.origin}/auth/authorize?{urlencode(asked)}")
    assert answer is not None and answer.status == 400
    expect(page.get_by_role("heading")).not_to_be_empty()
    assert not [url for url in sent if url.startswith(app.origin) or "code" in parse_qs(urlsplit(url).query)]


CALL = """async ([base, path, method]) => {
    try { return (await fetch(base + path, {method, headers: {Authorization: 'Bearer ' + 'x'.repeat(43)},
                                            body: method === 'POST' ? new URLSearchParams({}) : undefined})).status }
    catch (error) { return 'kept from the page' }
}"""
CALLS = {
    "/fhir/.well-known/smart-configuration": "GET", "/.well-known/openid-configuration": "GET",
    "/.well-known/jwks.json": "GET", "/fhir/metadata": "GET", "/fhir/Patient/ana": "GET", "/auth/token": "POST",
}  # fmt: skip


def test_pages_of_registered_origins_may_call(page: Page, app: App, practice: Practice) -> None:
    def called(origin: str) -> dict[str, Any]:
        page.goto(f"{origin}/nothing.html")
        return {path: page.evaluate(CALL, [practice.origin, path, method]) for path, method in CALLS.items()}

    public = dict.fromkeys(list(CALLS)[:4], 200)
    assert called(app.origin) == public | {"/fhir/Patient/ana": 401, "/auth/token": 400}
    kept = "kept from the page"
    assert called(app.elsewhere) == public | {"/fhir/Patient/ana": kept, "/auth/token": kept}
