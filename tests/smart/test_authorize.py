"""The way of an app's request through sign-in, patient picker and consent to a code: SMART rows 5 to 12, 22."""

from __future__ import annotations

import httpx
import pytest

from fhirhub.smart.pace import Pace
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import CodeRow, Context, digest
from support.flow import Browser, answer_of, asking, forms, gives_nothing
from support.flow_rig import Rig

SCOPE = "launch/patient openid fhirUser offline_access patient/Observation.rs patient/Patient.r"


async def _consent(
    rig: Rig, browser: Browser, **changed: str | None
) -> tuple[dict[str, str], httpx.Response]:
    asked = asking(rig.web.id, rig.web_uri, SCOPE, **changed)
    page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
    return asked, page


async def _code(rig: Rig, code: str) -> CodeRow:
    row = await authorizations.take_code(rig.smart.lane, digest(code), rig.clock())
    assert row is not None
    return row


async def test_row_7_by_link_and_by_form(rig: Rig) -> None:
    """Standalone launch of a patient: the own record is the context, no picker."""
    for method in ("GET", "POST"):
        async with Browser(rig.app) as browser:
            await browser.sign_in(rig.smart, rig.patient)
            asked = asking(rig.web.id, rig.web_uri, SCOPE)
            if method == "GET":
                first = await browser.get("/auth/authorize", params=asked)
            else:
                first = await browser.post("/auth/authorize", data=asked)
            page = await browser.arrive(first)
            assert page.status_code == 200 and "Weight Watch" in page.text
            answer = await browser.press(page, "Allow")
        told = answer_of(answer)
        assert answer.headers["location"].startswith(f"{rig.web_uri}?")
        # Row 11: state as it came, and who answers (RFC 9207).
        assert told["state"] == asked["state"] and told["iss"] == rig.smart.issuer("http://testserver")
        row = await _code(rig, told["code"])
        assert (row.client, row.redirect_uri, row.challenge) == (
            rig.web.id,
            rig.web_uri,
            asked["code_challenge"],
        )
        assert (row.account, row.role, row.context.patient) == (rig.patient.id, "patient", "p1")
        assert set(row.scope.split()) == set(SCOPE.split())


async def test_resource_stands_for_aud(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser, aud=None, resource="http://testserver/fhir")
        assert page.status_code == 200


@pytest.mark.parametrize("uri", ["http://127.0.0.1:49152/native", "http://127.0.0.1/native", "http://[::1]:8/native",
                                 "http://127.0.0.1:7777/fixed", "com.example.app:/cb"])  # fmt: skip
async def test_row_5_native_apps_take_any_port(rig: Rig, uri: str) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked = asking(rig.native.id, uri, SCOPE)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        answer = await browser.press(page, "Allow")
        assert answer.headers["location"].startswith(f"{uri}?code=")


async def test_a_query_of_the_redirect_uri_is_kept(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser, redirect_uri="https://app.example/cb?tenant=1")
        answer = await browser.press(page, "Allow")
    assert answer.headers["location"].startswith("https://app.example/cb?tenant=1&code=")


async def test_who_is_not_signed_in_is_asked_to(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        first = await browser.get("/auth/authorize", params=asking(rig.web.id, rig.web_uri, SCOPE))
        second = await browser.get(first.headers["location"])
        assert second.headers["location"].startswith("/auth/sign-in?next=")
        # The way on is an id, not an address.
        id_ = second.headers["location"].partition("=")[2]
        await browser.sign_in(rig.smart, rig.patient)
        page = await browser.arrive(await browser.get(f"/auth/authorize/resume?request={id_}"))
        assert "Weight Watch" in page.text


async def test_row_10_a_code_is_good_once_and_a_reuse_is_noticed(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        code = answer_of(await browser.press(page, "Allow"))["code"]
        again = await browser.press(page, "Allow")
    assert again.status_code == 400 and gives_nothing(again)
    first = await _code(rig, code)
    assert not first.reused and 0 < first.expires - rig.clock() <= 60_000_000
    second = await _code(rig, code)
    assert second.reused and second.grant == first.grant
    assert await authorizations.take_code(rig.smart.lane, digest(code + "x"), rig.clock()) is None


async def test_row_12_consent_is_per_scope(rig: Rig) -> None:
    """One box per scope with the scope as value, offline access shown; what is unticked is not given."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        form = next(form for form in forms(page) if "Allow" in form.buttons)
        assert form.boxes["scope"] == SCOPE.split() and "Deny" in form.buttons
        kept = ["patient/Patient.r"]
        row = await _code(rig, answer_of(await browser.press(page, "Allow", scope=kept))["code"])
    assert row.scope == "patient/Patient.r"
    # Row 22: a patient scope brings the patient into context, asked for or not.
    assert row.context.patient == "p1"


async def test_row_12_and_20_a_scope_can_be_narrowed_to_parts(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser, scope="patient/Observation.rs patient/Patient.r")
        form = next(form for form in forms(page) if "Allow" in form.buttons)
        laboratory = next(part for part in form.boxes["part"] if part.endswith("laboratory"))
        answer = await browser.press(page, "Allow", part=[laboratory])
        row = await _code(rig, answer_of(answer)["code"])
    category = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
    assert row.scope.split() == [f"patient/Observation.rs?category={category}", "patient/Patient.r"]


async def test_a_wildcard_can_be_narrowed_to_types(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked = asking(rig.native.id, "com.example.app:/cb", "patient/*.read")
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        form = next(form for form in forms(page) if "Allow" in form.buttons)
        parts = [part for part in form.boxes["part"] if "/Goal." in part or "/Patient." in part]
        row = await _code(rig, answer_of(await browser.press(page, "Allow", part=parts))["code"])
    # Row 19: what was asked for in v1 is answered in v1.
    assert row.scope.split() == ["patient/Goal.read", "patient/Patient.read"]


async def test_deny_is_told_and_ends_the_request(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked, page = await _consent(rig, browser)
        told = answer_of(await browser.press(page, "Deny"))
        assert told["error"] == "access_denied" and told["state"] == asked["state"] and "code" not in told
        assert gives_nothing(await browser.press(page, "Allow"))


async def test_allowing_nothing_asks_again(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        for nothing in ([], ["launch/patient", "offline_access"]):
            again = await browser.press(page, "Allow", scope=nothing)
            assert again.status_code == 400 and gives_nothing(again) and "Choose at least one" in again.text


BEYOND = [
    "patient/Observation.cruds", "patient/Condition.rs", "patient/*.rs", "user/Observation.rs", "system/*.cruds",
    "patient/Observation.rs?code=1", "patient/Observation.s", "patient/Patient.rs", "launch", "online_access", "",
    "patient/Observation.rs patient/Condition.rs", "openid profile", "patient/Observation.rs ",
]  # fmt: skip


@pytest.mark.parametrize("scope", BEYOND)
async def test_consent_gives_no_more_than_was_asked_for(rig: Rig, scope: str) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        answer = await browser.press(page, "Allow", scope=["openid", scope])
        assert answer.status_code == 400 and gives_nothing(answer)


PARTS = [
    "patient/Patient.r patient/Condition.rs", "patient/Observation.rs patient/Observation.cruds", "x",
    "patient/Observation.rs user/Observation.rs", "patient/*.rs patient/Goal.rs", "patient/Observation.rs",
    "patient/Observation.rs patient/Observation.rs?code=1", "openid patient/Goal.rs", " ", "a b c",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
async def test_parts_are_parts_of_what_was_asked_for(rig: Rig, part: str) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        answer = await browser.press(page, "Allow", part=[part])
        assert answer.status_code == 400 and gives_nothing(answer)


FORGED = {
    "no-token": {"csrf": []}, "empty-token": {"csrf": [""]}, "wrong-token": {"csrf": ["0" * 64]},
    "two-tokens": {"csrf": ["0" * 64, "0" * 64]}, "no-request": {"request": []}, "other-request": {"request": ["a" * 43]},
    "odd-request": {"request": ["../x"]}, "two-requests": {"request": ["a" * 43, "b" * 43]},
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_forged_consent(rig: Rig, name: str) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        answer = await browser.press(page, "Allow", **FORGED[name])
        assert answer.status_code in (400, 403) and gives_nothing(answer)


async def test_consent_from_another_site(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        browser.headers["sec-fetch-site"] = "cross-site"
        assert (await browser.press(page, "Allow")).status_code == 403


async def test_a_request_belongs_to_the_session_that_entered_it(rig: Rig) -> None:
    """Neither another person, nor the same in another browser, nor who signs in there later, can answer it."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        id_ = next(form for form in forms(page) if "Allow" in form.buttons).fields["request"][0]
    for other in (rig.patient, rig.other_patient, rig.doctor):
        async with Browser(rig.app) as foreign:
            await foreign.sign_in(rig.smart, other)
            for path in ("/auth/consent", "/auth/patient", "/auth/authorize/resume"):
                answer = await foreign.get(f"{path}?request={id_}")
                assert answer.status_code == 403 and gives_nothing(answer)
            if other is not rig.doctor:
                _, own = await _consent(rig, foreign)
                answer = await foreign.press(own, "Allow", request=[id_])
                assert answer.status_code == 403 and gives_nothing(answer)


async def test_a_request_waits_half_an_hour(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
        rig.clock.pass_(1801)
        await browser.sign_in(rig.smart, rig.patient)
        assert gives_nothing(await browser.press(page, "Allow"))


async def test_the_consent_page_is_ours_alone(rig: Rig) -> None:
    """Not to be framed, stored, or scripted; its form may end at the app's address only."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        _, page = await _consent(rig, browser)
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
    assert "form-action 'self' https://app.example;" in policy
    assert page.headers["x-frame-options"] == "DENY" and page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"


async def test_names_of_apps_are_text(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked = asking(rig.confidential.id, "http://127.0.0.1/web", SCOPE)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
    assert "<script>alert" not in page.text and "&lt;script&gt;alert" in page.text


async def _pick(rig: Rig, browser: Browser, account: Account) -> tuple[dict[str, str], httpx.Response]:
    await browser.sign_in(rig.smart, account)
    return await _consent(rig, browser)


async def test_staff_choose_the_patient(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        _, page = await _pick(rig, browser, rig.doctor)
        assert "Find patient" in page.text
        page = await browser.press(page, "Search", find=["ada"])
        assert "ada" not in str(page.url) and "Bo Baker" not in page.text
        consent = await browser.arrive(await browser.press(page, "Ada Adams"))
        assert "Ada Adams" in consent.text
        row = await _code(rig, answer_of(await browser.press(consent, "Allow"))["code"])
    assert (row.context.patient, row.account, row.fhir_user) == ("p1", rig.doctor.id, "Practitioner/d1")


async def test_nobody_gets_to_consent_without_a_patient(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        _, page = await _pick(rig, browser, rig.doctor)
        id_ = next(form for form in forms(page) if "Search" in form.buttons).fields["request"][0]
        around = await browser.get(f"/auth/consent?request={id_}")
        assert around.headers["location"] == f"/auth/patient?request={id_}"


PICKED = ["p2", "p3", "", "p3." + "0" * 64, "../x", "p1", "p1.", "." + "a" * 64, "Patient/p1." + "0" * 64]


@pytest.mark.parametrize("value", PICKED)
async def test_only_patients_of_the_list_can_be_chosen(rig: Rig, value: str) -> None:
    async with Browser(rig.app) as browser:
        _, page = await _pick(rig, browser, rig.doctor)
        form = next(form for form in forms(page) if "Ada Adams" in form.buttons)
        fields = {"csrf": form.fields["csrf"][0], "request": form.fields["request"][0], "patient": value}
        answer = await browser.post("/auth/patient", data=fields)
        assert answer.status_code == 400 and gives_nothing(answer)
        # Nor one from the list of another request.
        _, other = await _consent(rig, browser)
        taken = next(form for form in forms(other) if "Ada Adams" in form.buttons).buttons["Ada Adams"][1]
        answer = await browser.post("/auth/patient", data=fields | {"patient": taken})
        assert answer.status_code == 400


async def test_the_picker_shows_who_may_be_seen(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        _, page = await _pick(rig, browser, rig.doctor)
        assert "Ada Adams" in page.text and "Hidden Hugo" not in page.text


@pytest.mark.parametrize("prompt", ["login", "login consent", "select_account"])
async def test_an_app_may_ask_for_a_new_sign_in(rig: Rig, prompt: str) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        rig.clock.pass_(1)
        _, page = await _sign_in_again(rig, browser, prompt=prompt)
        assert "Weight Watch" in page.text


async def test_an_app_may_ask_for_a_recent_sign_in(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        rig.clock.pass_(30)
        _, page = await _consent(rig, browser, max_age="60")
        assert "Weight Watch" in page.text
        _, page = await _sign_in_again(rig, browser, max_age="20")
        assert "Weight Watch" in page.text


async def _sign_in_again(rig: Rig, browser: Browser, **changed: str) -> tuple[dict[str, str], httpx.Response]:
    asked = asking(rig.web.id, rig.web_uri, SCOPE, **changed)
    first = await browser.get("/auth/authorize", params=asked)
    second = await browser.get(first.headers["location"])
    assert second.headers["location"].startswith("/auth/sign-in?") and "again=1" in second.headers["location"]
    browser.cookies.clear()
    await browser.sign_in(rig.smart, rig.patient)
    return asked, await browser.arrive(await browser.get(first.headers["location"]))


async def test_without_a_page_there_is_no_code(rig: Rig) -> None:
    """``prompt=none``: consent is asked each time, so an app hears that someone has to look."""
    async with Browser(rig.app) as browser:
        _, answer = await _consent(rig, browser, prompt="none")
        assert answer_of(answer)["error"] == "login_required"
        await browser.sign_in(rig.smart, rig.patient)
        _, answer = await _consent(rig, browser, prompt="none")
        assert answer_of(answer)["error"] == "interaction_required" and "code" not in answer_of(answer)


async def test_an_app_that_is_ended_meanwhile_gets_nothing(rig: Rig) -> None:
    ending = await rig.add_client("Short Lived", "public", [rig.web_uri])
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        asked = asking(ending.id, rig.web_uri, SCOPE)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        await rig.smart.clients.deactivate(ending.id)
        assert gives_nothing(await browser.press(page, "Allow"))


async def test_decisions_are_on_record(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        rig.events.clear()
        _, page = await _consent(rig, browser)
        await browser.press(page, "Allow", scope=["patient/Patient.r"])
        _, page = await _consent(rig, browser)
        await browser.press(page, "Deny")
    allowed, denied = rig.events
    assert (allowed[0], allowed[1].user, allowed[2]) == ("consent", rig.patient.username, 0)
    assert allowed[3]["client"] == rig.web.id and allowed[3]["allowed"] == "patient/Patient.r"
    assert denied[2] == 4 and denied[3]["allowed"] == ""


async def test_void_ends_what_is_under_way(rig: Rig) -> None:
    leaving = await rig.smart.people.accounts.add("leaving", "patient", "Patient/p2", "-")
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, leaving)
        _, page = await _consent(rig, browser)
        code = answer_of(await browser.press(page, "Allow"))["code"]
        _, waiting = await _consent(rig, browser)
        await authorizations.add_launch(rig.smart.lane, rig.web.id, leaving.id, Context(), rig.clock())
        counts = await authorizations.void(rig.smart.lane, leaving.id, rig.clock())
        assert counts == {"launches": 1, "requests": 1, "codes": 1}, "what is over does not count"
        assert gives_nothing(await browser.press(waiting, "Allow"))
    assert (await _code(rig, code)).expires < rig.clock()


async def test_requests_that_wait_are_so_many(rig: Rig) -> None:
    """Anybody may begin a request and leave it: what is kept for one network is bounded, and others are not kept out."""
    free = 3
    rig.smart.arrivals = Pace(rig.clock, free=free, seconds=1)
    try:
        async with Browser(rig.app) as browser:
            asked = asking(rig.web.id, rig.web_uri, SCOPE)
            answers = [await browser.get("/auth/authorize", params=asked) for _ in range(free + 2)]
            assert [answer.status_code for answer in answers] == [303] * free + [429] * 2
            assert answers[-1].headers["retry-after"] == "1" and gives_nothing(answers[-1])
            assert rig.smart.arrivals.wait("192.0.2.9") == 0
            rig.clock.pass_(1)
            again = [await browser.get("/auth/authorize", params=asked) for _ in range(2)]
            assert [answer.status_code for answer in again] == [303, 429]
            handle = await authorizations.add_launch(
                rig.smart.lane, rig.web.id, rig.doctor.id, Context("p1"), rig.clock()
            )
            launched = asking(rig.web.id, rig.web_uri, "launch openid", launch=handle)
            answer = await browser.get("/auth/authorize", params=launched)
            assert answer.status_code == 303, "who starts an app from the record has signed in"
    finally:
        rig.smart.arrivals = Pace(rig.clock, free=600, seconds=1)
