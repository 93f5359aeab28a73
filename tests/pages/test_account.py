"""What people and administrators do at their pages, and what of it goes on record."""

from __future__ import annotations

import json
import re

import pytest

from fhirhub.keys import Keys
from fhirhub.smart import demo
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.clients import Clients
from support.browsing import Browser
from support.site import GOOD, Site
from support.smart import Signer


async def _in(site: Site, name: str, role: str) -> Browser:
    await site.person(name, role)
    browser = site.browser()
    await browser.sign_in(name, GOOD)
    return browser


async def _open_grants(site: Site, account: str) -> list[str]:
    return [one.grant for one in await grants.of_account(site.smart.lane, account, site.clock())]


async def test_an_app_is_revoked_by_its_owner_only(site: Site) -> None:
    owner, other = await site.person("owner", "patient"), await site.person("other", "patient")
    grant = await site.connect(owner, "Growth Chart", "patient/Observation.rs")
    mine, theirs = await _in(site, "owner", "patient"), await _in(site, "other", "patient")
    page = await mine.get("/auth/manage")
    assert page.request.url.path == "/account/apps" and "Growth Chart" in page.text
    assert "Growth Chart" not in (await theirs.get("/account/apps")).text
    token = dict(theirs.form("/auth/sign-out").fields)["csrf"]
    answer = await theirs.post("/account/apps/revoke", [("csrf", token), ("grant", grant)])
    assert answer.status_code == 404 and await _open_grants(site, owner.id) == [grant]
    page = await mine.submit("/account/apps/revoke")
    assert "is cut off" in page.text and await _open_grants(site, owner.id) == []
    event, who, outcome, detail = site.events[-1]
    assert (event, who.user, outcome, detail) == ("revoke", "owner", 0, {"grant": grant})
    assert await _open_grants(site, other.id) == []


async def test_only_patients_ask_who_looked(site: Site) -> None:
    page = await (await _in(site, "looker", "patient")).get("/account/access")
    assert page.text.count("Dr. Hale") == 3 and "read your lab results" in page.text
    assert (await (await _in(site, "staff", "frontdesk")).get("/account/access")).status_code == 403


async def test_staff_start_an_app_on_a_patient(site: Site) -> None:
    client, _ = await site.smart.clients.add(
        name="Vitals", kind="public", redirect_uris=("https://app.example/cb",), launch_url="https://app.example/launch?a=b",
        scopes="launch patient/*.rs",
    )  # fmt: skip
    browser = await _in(site, "starter", "frontdesk")
    await browser.get("/launch?find=beck")
    assert "Ben Becker" not in browser.page.text, "an address names whom somebody looks for"
    await browser.submit("/launch", find="beck")
    assert browser.page.request.url.query == b""
    assert "Ben Becker" in browser.page.text and "Ada Abbott" not in browser.page.text
    token = dict(browser.form("/auth/sign-out").fields)["csrf"]
    page = await browser.post("/launch", [("csrf", token), ("app", client.id), ("patient", "2")])
    to = re.search(r'content="0;url=([^"]+)"', page.text)
    assert to is not None
    assert re.fullmatch(
        r"https://app\.example/launch\?a=b&amp;iss=http%3A%2F%2Ftestserver%2Ffhir&amp;launch=[A-Za-z0-9_-]{43}", to[1]
    )  # fmt: skip
    assert site.events[-1][0] == "launch" and site.events[-1][3] == {"client": client.id, "patient": "2"}
    for app, patient, status in ((client.id, "3", 400), (client.id, "", 400), ("nothing", "2", 404)):
        answer = await browser.post("/launch", [("csrf", token), ("app", app), ("patient", patient)])
        assert answer.status_code == status
    assert (await (await _in(site, "no-staff", "patient")).get("/launch")).status_code == 403


async def test_an_administrator_deactivates_somebody(site: Site) -> None:
    leaver = await site.person("leaver", "biller")
    await site.connect(leaver, "Billing app", "user/Claim.rs")
    theirs, admin = await _in(site, "leaver", "biller"), await _in(site, "boss", "admin")
    page = await admin.get("/admin")
    token = dict(admin.form("/auth/sign-out").fields)["csrf"]
    page = await admin.post("/admin/users/deactivate", [("csrf", token), ("account", leaver.id)])
    assert "leaver is deactivated. Cut: 1 sessions, 1 grants, 1 tokens." in page.text
    assert (await theirs.get("/account/apps")).request.url.path == "/auth/sign-in"
    assert await _open_grants(site, leaver.id) == []
    event, who, _, detail = site.events[-1]
    assert (event, who.user, detail["user"]) == ("user-deactivate", "boss", "leaver")
    own = await site.people.accounts.named("boss")
    for action in ("deactivate", "reset"):
        answer = await admin.post(f"/admin/users/{action}", [("csrf", token), ("account", own.id)])
        assert answer.status_code == 409 and "your own account" in answer.text
        answer = await admin.post(f"/admin/users/{action}", [("csrf", token), ("account", "nobody")])
        assert answer.status_code == 404
    answer = await admin.post("/admin/users/reset", [("csrf", token), ("account", leaver.id)])
    assert answer.status_code == 409 and "is deactivated" in answer.text


async def test_an_administrator_resets_a_password(site: Site) -> None:
    await site.person("forgetful", "biller")
    theirs, admin = await _in(site, "forgetful", "biller"), await _in(site, "boss", "admin")
    account = await site.people.accounts.named("forgetful")
    await site.people.accounts.set_totp(account.id, site.people.totp.seal(account.id, "A" * 32), 0)
    await site.connect(account, "Stranger's app", "user/*.rs offline_access")
    await admin.get("/admin")
    token = dict(admin.form("/auth/sign-out").fields)["csrf"]
    page = await admin.post("/admin/users/reset", [("csrf", token), ("account", account.id)])
    once = re.search(r"<code>([a-z2-9]{4}(?:-[a-z2-9]{4}){4})</code>", page.text)
    assert once is not None and once[1] not in str(site.events)
    assert (await theirs.get("/account/apps")).request.url.path == "/auth/sign-in"
    assert await _open_grants(site, account.id) == [], "who had the old password goes on by an app"
    assert site.events[-1][3]["cut"]["grants"] == 1
    assert (await site.browser().sign_in("forgetful", GOOD)).status_code == 400
    assert (await site.browser().sign_in("forgetful", once[1])).request.url.path == "/auth/change-password"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"username": "boss", "role": "admin"}, "is an account boss already"),
        ({"username": "a b", "role": "admin"}, "use 1 to 64 of"),
        ({"username": "new", "role": "king"}, "is none of admin"),
        ({"username": "new", "role": "patient"}, "Patient/ID"),
        ({"username": "<script>", "role": "admin"}, "&lt;script&gt;"),
    ],
)
async def test_what_is_wrong_with_a_new_account_is_said(
    site: Site, fields: dict[str, str], said: str
) -> None:
    admin = await _in(site, "boss", "admin")
    await admin.get("/admin")
    page = await admin.submit("/admin/users/add", **fields)
    assert page.status_code in (400, 409) and said.replace("'", "&#39;") in page.text
    assert "<script>" not in page.text.replace('<script src="/static/htmx.min.js" defer></script>', "")


async def test_an_administrator_registers_and_ends_an_app(site: Site) -> None:
    admin = await _in(site, "boss", "admin")
    await admin.get("/admin/clients")
    form = {
        "name": "Specialist <b>",
        "kind": "symmetric",
        "redirect_uris": "https://s.example/cb",
        "scope": "user/*.rs",
    }
    page = await admin.submit("/admin/clients/add", **form)
    secret = re.search(r"shown only now: <code>([^<]+)</code>", page.text)
    found = next(one for one in await site.smart.clients.list() if one.name == "Specialist <b>")
    assert secret is not None and found.knows(secret[1]) and secret[1] not in str(site.events)
    assert "Specialist &lt;b&gt;" in page.text and found.id in page.text
    token = dict(admin.form("/auth/sign-out").fields)["csrf"]
    page = await admin.post("/admin/clients/rotate", [("csrf", token), ("client", found.id)])
    after = await site.smart.clients.named(found.id)
    assert page.status_code == 200 and not after.knows(secret[1])
    page = await admin.post("/admin/clients/deactivate", [("csrf", token), ("client", found.id)])
    assert "is deactivated. Cut: nothing was open." in page.text
    assert not (await site.smart.clients.named(found.id)).active
    for action in ("rotate", "deactivate"):
        answer = await admin.post(f"/admin/clients/{action}", [("csrf", token), ("client", "nothing")])
        assert answer.status_code == 404
    await admin.get("/admin/clients")
    page = await admin.submit("/admin/clients/add", **form | {"redirect_uris": "http://evil.example/*"})
    assert page.status_code == 400 and "redirect_uri" in page.text and "http://evil.example/*" in page.text
    page = await admin.submit("/admin/clients/add", **form | {"kind": "backend", "jwks": "{no json"})
    assert page.status_code == 400
    keys = json.dumps(Signer().jwks).replace("{", '{"since": 1.5, ', 1)
    system = {"kind": "backend", "jwks": keys, "redirect_uris": "", "scope": "system/*.rs"}
    page = await admin.submit("/admin/clients/add", **form | system)
    assert page.status_code == 200 and "Added Specialist" in page.text


async def test_an_administrator_changes_an_app_and_lets_it_in_again(site: Site) -> None:
    admin = await _in(site, "boss", "admin")
    client, _ = await site.smart.clients.add(
        name="Old & gold", kind="public", redirect_uris=["https://s.example/cb"], scopes="user/*.rs"
    )
    page = await admin.get("/admin/clients")
    assert f"/admin/clients/edit?client={client.id}" in page.text
    page = await admin.get(f"/admin/clients/edit?client={client.id}")
    assert "Old &amp; gold" in page.text and "https://s.example/cb" in page.text
    policy = {"rules": [{"types": ["Observation"], "may": "rs"}]}
    page = await admin.submit("/admin/clients/update", scope="user/Observation.rs", policy=json.dumps(policy))
    assert page.status_code == 200 and "Changed: scopes, policy." in page.text, page.text
    after = await site.smart.clients.named(client.id)
    assert (after.scopes, after.policy, after.name) == ("user/Observation.rs", policy, "Old & gold")
    assert site.events[-1][0] == "client-update" and site.events[-1][3] == {
        "client": client.id, "name": "Old & gold", "changed": ["scopes", "policy"], "scope": "user/Observation.rs",
    }  # fmt: skip
    for wrong in ({"policy": "[]"}, {"policy": '{"rulez": []}'}, {"scope": "x/y"}, {"redirect_uris": ""}):
        page = await admin.submit("/admin/clients/update", **wrong)
        assert page.status_code == 400 and 'role="alert"' in page.text, wrong
        await admin.get(f"/admin/clients/edit?client={client.id}")
    assert await site.smart.clients.named(client.id) == after
    assert (await admin.get("/admin/clients/edit?client=nobody")).status_code == 404
    await site.smart.clients.deactivate(client.id)
    token = dict(admin.form("/auth/sign-out").fields)["csrf"]
    page = await admin.post("/admin/clients/activate", [("csrf", token), ("client", client.id)])
    assert "may connect again" in page.text and (await site.smart.clients.named(client.id)).active
    clerk = await _in(site, "clerk", "frontdesk")
    assert (await clerk.get(f"/admin/clients/edit?client={client.id}")).status_code == 403


async def test_an_administrator_lets_somebody_in_again(site: Site) -> None:
    admin, person = await _in(site, "boss", "admin"), await site.person("returner", "biller")
    await site.people.accounts.deactivate(person.id)
    page = await admin.get("/admin")
    assert "/admin/users/activate" in page.text
    token = dict(admin.form("/auth/sign-out").fields)["csrf"]
    page = await admin.post("/admin/users/activate", [("csrf", token), ("account", person.id)])
    assert "returner may sign in again" in page.text
    assert site.events[-1][0] == "user-activate"
    assert (await (await _in(site, "returner", "biller")).get("/account/apps")).status_code == 200


async def test_administrators_see_what_roles_may(site: Site) -> None:
    admin = await _in(site, "boss", "admin")
    page = await admin.get("/admin/roles?role=biller")
    assert re.search(r'<th scope="row">Claim</th>\s*<td>\s*<div>[a-z, ]*read', page.text)
    assert "biller rule" in page.text
    assert (await admin.get("/admin/roles?role=king")).status_code == 404


async def test_breaking_the_glass_wants_a_reason(site: Site) -> None:
    browser = await _in(site, "breaker", "practitioner")
    await browser.get("/account/break-glass")
    page = await browser.submit("/account/break-glass", reason="  urgent  ")
    assert page.status_code == 400 and "10 to 300 characters" in page.text
    await browser.submit("/account/break-glass", reason="unconscious,\n no history   at hand")
    assert "unconscious, no history at hand" in browser.page.text
    event, who, _, detail = site.events[-1]
    assert (event, who.reason, detail) == ("break-glass", "unconscious, no history at hand", {"on": True})
    site.clock.pass_(800)
    await browser.get("/account/apps")
    site.clock.pass_(800)
    await browser.get("/account/apps")
    site.clock.pass_(300)
    assert "Emergency access is on" not in (await browser.get("/account/apps")).text
    assert (await (await _in(site, "not-breaker", "biller")).get("/account/break-glass")).status_code == 403


async def test_mending_the_glass_ends_what_it_opened_for_apps(site: Site) -> None:
    account = await site.person("mender", "practitioner")
    browser = await _in(site, "mender", "practitioner")
    await browser.get("/account/break-glass")
    await browser.submit("/account/break-glass", reason="unconscious, no history")
    session = (await site.smart.lane.fetch("select id from session where account = $1", account.id))[0]["id"]
    opened = await site.connect(account, "Chart", "user/*.rs")
    told = "update grant_ set session = $2, reason = 'unconscious', reason_until = $3 where id = $1"
    await site.smart.lane.fetch(told, opened, session, site.clock() + 10**9)
    before = await site.smart.lane.fetch("select version from grant_ where id = $1", opened)
    await browser.submit("/account/break-glass", off="1")
    after = await site.smart.lane.fetch("select version, reason_until from grant_ where id = $1", opened)
    assert after[0]["reason_until"] == 0 and after[0]["version"] > before[0]["version"]


async def test_sign_ins_are_on_record(site: Site) -> None:
    await site.person("recorded", "biller")
    site.events.clear()
    browser = site.browser("192.0.2.44")
    await browser.sign_in("recorded", "wrong")
    await browser.sign_in("who is this", "wrong")
    await browser.sign_in("recorded", GOOD)
    await browser.submit("/auth/sign-out")
    told = [(event, who.user, who.address, outcome) for event, who, outcome, _ in site.events]
    assert told == [
        ("login", "recorded", "192.0.2.44", 4),
        ("login", "", "192.0.2.44", 4),
        ("login", "recorded", "192.0.2.44", 0),
        ("logout", "recorded", "192.0.2.44", 0),
    ]
    assert "wrong" not in str(site.events) and GOOD not in str(site.events)


async def test_the_demo_has_a_login_for_each_role(site: Site) -> None:
    keys = Keys(b"d" * 32)
    clients = Clients(site.smart.lane, site.clock)
    assert await demo.ensure_people(site.people, keys) == len(demo.LOGINS)
    assert await demo.ensure_people(site.people, keys) == 0
    assert await demo.ensure_clients(clients, keys) == 2
    assert await demo.ensure_clients(clients, keys) == 0
    shown = await demo.logins(site.smart.lane, keys)
    assert {one.role for one in shown} == {"admin", "practitioner", "frontdesk", "biller", "patient"}
    for one in shown:
        browser = site.browser()
        await browser.sign_in(one.username, one.password)
        assert "Sign out" in browser.page.text, one
    assert not {demo.password(Keys(b"e" * 32), one.username) for one in shown} & {
        one.password for one in shown
    }
    for name in await demo.has_demo(site.smart.lane):
        await site.people.accounts.deactivate((await site.people.accounts.named(name)).id)
    assert await demo.has_demo(site.smart.lane) == [] == await demo.logins(site.smart.lane, keys)
