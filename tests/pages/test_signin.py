"""Signing in and out by the pages, on a real Postgres; every form without its token, every address that leads away."""

from __future__ import annotations

import re

import httpx
import pyotp
import pytest

from support.browsing import Browser
from support.site import GOOD, Site

WRONG = "The username or the password is wrong."


def _cookies(answer: httpx.Response) -> dict[str, str]:
    found = {}
    for header in answer.headers.get_list("set-cookie"):
        name, _, rest = header.partition("=")
        found[name] = rest
    return found


async def test_signing_in_and_out(site: Site) -> None:
    await site.person("erika", "biller")
    browser = site.browser()
    await browser.get("/account/apps")
    assert browser.page.request.url.path == "/auth/sign-in"
    await browser.submit("/auth/sign-in", username="Erika", password=GOOD)
    assert browser.page.request.url.path == "/account/apps", "sign-in leads to what was asked for"
    assert "Sign out" in browser.page.text and "erika" in browser.page.text
    await browser.submit("/auth/sign-out")
    assert browser.page.request.url.path == "/auth/sign-in"
    await browser.get("/account/apps")
    assert browser.page.request.url.path == "/auth/sign-in"


async def test_a_password_that_is_changed_while_it_is_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reset, or a second factor, that comes between the look at a password and the session: there is no session."""
    account = await site.person("overtaken", "biller")
    verify = site.people.passwords.verify

    async def overtaken(stored: str | None, password: str) -> bool:
        right = await verify(stored, password)
        await site.people.accounts.set_password(account.id, account.password, must_change=False)
        return right

    monkeypatch.setattr(site.people.passwords, "verify", overtaken)
    browser = site.browser()
    await browser.sign_in("overtaken", GOOD)
    assert (await browser.get("/account/apps")).request.url.path == "/auth/sign-in"
    monkeypatch.undo()
    await browser.sign_in("overtaken", GOOD)
    assert (await browser.get("/account/apps")).request.url.path == "/account/apps"


async def test_a_session_taken_along_is_over_after_sign_out(site: Site) -> None:
    await site.person("max", "biller")
    browser, thief = site.browser(), site.browser()
    await browser.sign_in("max", GOOD)
    thief.client.cookies.update(browser.client.cookies)
    assert (await thief.get("/account/apps")).request.url.path == "/account/apps"
    await browser.submit("/auth/sign-out")
    assert (await thief.get("/account/apps")).request.url.path == "/auth/sign-in"


async def test_a_wrong_password_and_an_unknown_user_are_the_same_page(site: Site) -> None:
    await site.person("known", "biller")
    texts = []
    for name in ("known", "nobody", "no name at all!"):
        browser = site.browser()
        page = await browser.sign_in(name, "not the password")
        assert page.status_code == 400 and WRONG in page.text
        text = page.text.replace(name, "NAME")
        texts.append(re.sub(r'name="csrf" value="[0-9a-f]+"', "", text))
    assert len(set(texts)) == 1


async def test_a_deactivated_person_cannot_be_told_from_a_wrong_password(site: Site) -> None:
    gone = await site.person("gone", "biller")
    await site.people.accounts.deactivate(gone.id)
    page = await site.browser().sign_in("gone", GOOD)
    assert page.status_code == 400 and WRONG in page.text


async def test_deactivation_ends_at_the_next_click(site: Site) -> None:
    leaver = await site.person("leaver", "biller")
    browser = site.browser()
    await browser.sign_in("leaver", GOOD)
    await site.people.accounts.deactivate(leaver.id)
    assert (await browser.get("/account/security")).request.url.path == "/auth/sign-in"


async def test_too_many_wrong_passwords_have_to_wait(site: Site) -> None:
    await site.person("waiting", "biller")
    browser = site.browser("192.0.2.9")
    for _ in range(5):
        await browser.sign_in("waiting", "wrong")
    page = await browser.sign_in("waiting", GOOD)
    assert page.status_code == 429 and int(page.headers["retry-after"]) > 0
    assert "too many wrong attempts" in page.text


async def test_the_session_cookie_is_new_at_sign_in_and_well_guarded(site: Site) -> None:
    await site.person("cookie", "biller")
    browser = site.browser()
    browser.client.cookies.set(
        "fhirhub-session", "planted-by-somebody-else-0123456789", domain="testserver.local"
    )
    await browser.get("/auth/sign-in")
    answer = await browser.submit("/auth/sign-in", follow=False, username="cookie", password=GOOD)
    cookie = _cookies(answer)["fhirhub-session"]
    assert not cookie.startswith("planted")
    assert (
        "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and "Max-Age" not in cookie
    )


async def test_on_https_cookies_are_secure_and_of_this_host_only(site: Site) -> None:
    await site.person("secure", "biller")
    browser = Browser(site.app, "https://testserver")
    page = await browser.get("/auth/sign-in")
    assert "max-age" in page.headers["strict-transport-security"]
    answer = await browser.submit("/auth/sign-in", follow=False, username="secure", password=GOOD)
    cookie = _cookies(answer)["__Host-fhirhub-session"]
    assert "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/account/apps/../../x", "/account/apps?x", "javascript:alert(1)",
        "/auth/sign-out", "\n/launch", "/launch\r\nSet-Cookie: a=b", "short", "x" * 200, "http://testserver/launch", "%2f%2fevil.example",
    ],
)  # fmt: skip
async def test_sign_in_leads_nowhere_else(site: Site, to: str) -> None:
    await site.person("led", "biller")
    browser = site.browser()
    await browser.get("/auth/sign-in")
    answer = await browser.submit("/auth/sign-in", follow=False, username="led", password=GOOD, next=to)
    assert answer.status_code == 303 and answer.headers["location"] == "/account/apps"
    assert to not in (await site.browser().client.get("/auth/sign-in", params={"next": to})).text


async def test_sign_in_goes_on_with_the_request_of_an_app(site: Site) -> None:
    await site.person("going", "biller")
    browser = site.browser()
    request = "r" * 43
    await browser.get(f"/auth/sign-in?next={request}")
    answer = await browser.submit("/auth/sign-in", follow=False, username="going", password=GOOD)
    assert answer.headers["location"] == f"/auth/authorize/resume?request={request}"


async def test_the_second_factor(site: Site) -> None:
    person = await site.person("coded", "biller")
    browser = site.browser()
    await browser.sign_in("coded", GOOD)
    await browser.get("/account/security")
    page = await browser.submit("/account/security/factor", current="wrong")
    assert page.status_code == 400 and "present password is wrong" in page.text
    page = await browser.submit("/account/security/factor", current=GOOD)
    shown = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page.text)
    assert shown is not None and "<svg" in page.text
    secret = shown[1].replace(" ", "")
    page = await browser.submit("/account/security/factor/confirm", code="000000")
    assert page.status_code == 400
    page = await browser.submit("/account/security/factor/confirm", code=site.code(secret))
    codes = re.findall(r"<code>([a-z2-7]{4}(?:-[a-z2-7]{4}){3})</code>", page.text)
    assert len(codes) == 10
    await browser.submit("/auth/sign-out")
    # Password alone is not enough any more, and the code that turned it on is used up.
    await browser.sign_in("coded", GOOD, "/account/security")
    assert browser.page.request.url.path == "/auth/totp"
    assert (
        await browser.get("/account/apps")
    ).request.url.path == "/auth/sign-in" or "Your code" in browser.page.text
    await browser.get("/auth/totp?next=/account/security")
    assert (await browser.submit("/auth/totp", code=site.code(secret))).status_code == 400
    site.clock.pass_(30)
    await browser.submit("/auth/totp", code=site.code(secret))
    assert browser.page.request.url.path == "/account/security"
    other = site.browser()
    await other.sign_in("coded", GOOD)
    await other.submit("/auth/totp", code=codes[0])
    assert other.page.request.url.path == "/account/apps"
    again = site.browser()
    await again.sign_in("coded", GOOD)
    assert (await again.submit("/auth/totp", code=codes[0])).status_code == 400
    await browser.submit("/account/security/factor", current=GOOD)
    after = await site.people.accounts.by_id(person.id)
    assert after is not None and after.totp is None


async def test_half_a_sign_in_opens_no_page(site: Site) -> None:
    person = await site.person("half", "admin")
    secret = pyotp.random_base32()
    await site.people.accounts.set_totp(person.id, site.people.totp.seal(person.id, secret), 0)
    browser = site.browser()
    await browser.sign_in("half", GOOD)
    for path in ("/account/apps", "/account/security", "/admin", "/admin/clients", "/launch"):
        answer = await browser.client.get(path)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/auth/sign-in")


async def test_a_one_time_password_has_to_be_changed(site: Site) -> None:
    stored = await site.people.passwords.hash("once-once-once")
    await site.people.accounts.add("fresh", "biller", None, stored, must_change=True)
    browser = site.browser()
    await browser.sign_in("fresh", "once-once-once")
    assert browser.page.request.url.path == "/auth/change-password"
    change = "/auth/change-password"
    for new, again, said in (
        ("short", "short", "too short"),
        (GOOD, GOOD + "!", "not the same"),
        ("once-once-once", "once-once-once", "the password you have"),
    ):
        page = await browser.submit(change, password=new, again=again)
        assert page.status_code == 400 and said in page.text, said
    await browser.submit(change, password=GOOD, again=GOOD)
    assert browser.page.request.url.path == "/account/apps"
    assert (await site.browser().sign_in("fresh", "once-once-once")).status_code == 400
    assert (await site.browser().sign_in("fresh", GOOD)).status_code == 200


async def test_a_changed_password_ends_other_sessions(site: Site) -> None:
    await site.person("changing", "biller")
    here, there = site.browser(), site.browser()
    for browser in (here, there):
        await browser.sign_in("changing", GOOD)
    await here.get("/account/security")
    new = "cobalt hammock thirteen"
    await here.submit("/account/security/password", current=GOOD, password=new, again=new)
    assert "The password is changed" in here.page.text
    assert (await there.get("/account/apps")).request.url.path == "/auth/sign-in"


FORMS = [
    ("/auth/sign-in", "", [("username", "forms"), ("password", GOOD)]),
    ("/auth/sign-out", "/account/apps", []),
    ("/account/apps/revoke", "/account/apps", [("grant", "x")]),
    ("/account/security/password", "/account/security", [("current", GOOD)]),
    ("/account/security/factor", "/account/security", [("current", GOOD)]),
    ("/account/security/factor/confirm", "/account/security", [("code", "123456")]),
    ("/account/break-glass", "/account/apps", [("reason", "a good enough reason")]),
    ("/launch", "/account/apps", [("app", "x"), ("patient", "1")]),
    ("/admin/users/add", "/account/apps", [("username", "mallory"), ("role", "admin")]),
    ("/admin/users/reset", "/account/apps", [("account", "x")]),
    ("/admin/users/deactivate", "/account/apps", [("account", "x")]),
    ("/admin/clients/add", "/account/apps", [("name", "x")]),
    ("/admin/clients/deactivate", "/account/apps", [("client", "x")]),
    ("/admin/clients/rotate", "/account/apps", [("client", "x")]),
]


@pytest.mark.parametrize(("action", "at", "fields"), FORMS, ids=[row[0] for row in FORMS])
async def test_a_form_without_its_token_does_nothing(
    site: Site, action: str, at: str, fields: list[tuple[str, str]]
) -> None:
    if await site.people.accounts.by_name("forms") is None:
        await site.person("forms", "admin")
        await site.person("foreign", "admin")
    browser, other = site.browser(), site.browser()
    await other.sign_in("foreign", GOOD)
    foreign = dict(other.form("/auth/sign-out").fields)["csrf"]
    await browser.get("/auth/sign-in")
    own = dict(browser.form("/auth/sign-in").fields)["csrf"]
    if at:
        await browser.sign_in("forms", GOOD)
        own = dict(browser.form("/auth/sign-out").fields)["csrf"]
    for token in ([], [("csrf", "")], [("csrf", "0" * 64)], [("csrf", foreign)]):
        answer = await browser.post(action, [*fields, *token])
        assert answer.status_code == 403 and "This form has expired" in answer.text, token
    answer = await browser.post(action, [*fields, ("csrf", own), ("csrf", own)])
    assert answer.status_code == 400
    answer = await browser.post(action, [*fields, ("csrf", own)], **{"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    answer = await browser.post(action, [*fields, ("csrf", own)], **{"content-type": "text/plain"})
    assert answer.status_code == 415
    assert await site.people.accounts.by_name("mallory") is None


async def test_a_form_that_is_too_much_is_refused(site: Site) -> None:
    browser = site.browser()
    await browser.get("/auth/sign-in")
    token = dict(browser.form("/auth/sign-in").fields)["csrf"]
    for fields, status in (
        ([("username", "x" * 70_000), ("csrf", token)], 413),
        ([*(("a", "b") for _ in range(400)), ("csrf", token)], 400),
        ([("username", "x" * 600), ("csrf", token)], 400),
        ([("username", "a\0b"), ("csrf", token)], 400),
        ([("username", "a"), ("username", "b"), ("csrf", token)], 400),
    ):
        assert (await browser.post("/auth/sign-in", fields)).status_code == status
    raw = await browser.client.post(
        "/auth/sign-in",
        content=b"username=%ff%fe&csrf=" + token.encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert raw.status_code == 400


PAGES = [
    "/auth/sign-in",
    "/account/apps",
    "/account/security",
    "/admin",
    "/admin/clients",
    "/launch",
    "/account/access",
]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_not_kept_framed_or_named_to_others(site: Site, path: str) -> None:
    if await site.people.accounts.by_name("headers") is None:
        await site.person("headers", "admin")
    browser = site.browser()
    if path != "/auth/sign-in":
        await browser.sign_in("headers", GOOD)
    headers = (await browser.get(path)).headers
    policy = headers["content-security-policy"]
    assert (
        "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    )
    assert "unsafe" not in policy and "*" not in policy and "form-action 'self';" in policy
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"\son\w+=|javascript:|<style|style=", browser.page.text), (
        "the policy would block it"
    )


@pytest.mark.parametrize("role", ["practitioner", "frontdesk", "biller", "patient"])
async def test_administration_is_for_administrators(site: Site, role: str) -> None:
    await site.person(f"not-admin-{role}", role)
    browser = site.browser()
    await browser.sign_in(f"not-admin-{role}", GOOD)
    token = dict(browser.form("/auth/sign-out").fields)["csrf"]
    for path in ("/admin", "/admin/clients", "/admin/roles", "/admin/audit"):
        assert (await browser.get(path)).status_code == 403
        event, who, outcome, detail = site.events[-1]
        assert (event, who.user, outcome, detail) == ("refused", f"not-admin-{role}", 4, {"page": path})
    for action, _, fields in FORMS:
        if action.startswith("/admin"):
            assert (await browser.post(action, [*fields, ("csrf", token)])).status_code == 403
    assert await site.people.accounts.by_name("mallory") is None
