"""Authorization requests that must come to nothing, as data: SMART rows 5, 7, 8, 9, 11 and 22; RFC 6749, 7636, 9700.

Whatever is sent, no code is made. Until the redirect URI is proven, and for a wrong ``aud``, nothing is redirected at all.
"""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest

from fhirhub.smart.storage import authorizations
from support.flow import AUD, Browser, answer_of, asking, gives_nothing
from support.flow_rig import Rig
from support.hostile_redirects import FOR_NATIVE, FOR_WEB

FORM = {"content-type": "application/x-www-form-urlencoded"}
SCOPE = "launch/patient patient/Observation.rs"
LONG = "a" * 70_000


async def _codes(rig: Rig) -> int:
    rows = await rig.smart.lane.fetch(
        "select (select count(*) from authorization_code) + (select count(*) from authorization_request) as n"
    )
    return int(rows[0]["n"])


async def _send(rig: Rig, pairs: list[tuple[str, str]] | dict[str, str], method: str) -> httpx.Response:
    content = urlencode(pairs, errors="surrogatepass")
    before = await _codes(rig)
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.patient)
        if method == "GET":
            answer = await browser.get(f"/auth/authorize?{content}")
        else:
            answer = await browser.post("/auth/authorize", content=content, headers=FORM)
    assert await _codes(rig) == before, "something was kept"
    return answer


def _page(answer: httpx.Response) -> None:
    assert answer.status_code == 400 and gives_nothing(answer), answer.headers
    assert "text/html" in answer.headers["content-type"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("uri", FOR_WEB, ids=range(len(FOR_WEB)))
async def test_row_5_web_redirects(rig: Rig, uri: str, method: str) -> None:
    _page(await _send(rig, asking(rig.web.id, uri, SCOPE), method))


@pytest.mark.parametrize("uri", FOR_NATIVE, ids=range(len(FOR_NATIVE)))
async def test_row_5_native_redirects(rig: Rig, uri: str) -> None:
    _page(await _send(rig, asking(rig.native.id, uri, SCOPE), "GET"))


async def test_row_5_the_loopback_rule_is_for_native_apps(rig: Rig) -> None:
    uri = "http://127.0.0.1:5000/web"
    _page(await _send(rig, asking(rig.confidential.id, uri, SCOPE), "GET"))


UNKNOWN = {
    "absent": None, "empty": "", "unknown": "nobody", "blank": " ", "null": "null", "nul": "a\0b", "long": "a" * 5000,
    "sql": "' or 1=1 --", "percent": "%", "unicode": "\u0430", "newline": "a\nb", "wildcard": "*", "path": "../admin",
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
async def test_clients_that_are_not_known(rig: Rig, name: str) -> None:
    _page(await _send(rig, asking(rig.web.id, rig.web_uri, SCOPE, client_id=UNKNOWN[name]), "GET"))


@pytest.mark.parametrize(
    "change", [str.upper, lambda id_: f" {id_}", lambda id_: f"{id_} ", lambda id_: id_[:-1]]
)
async def test_clients_that_are_nearly_known(rig: Rig, change: object) -> None:
    assert callable(change)
    near = change(rig.web.id)
    _page(await _send(rig, asking(rig.web.id, rig.web_uri, SCOPE, client_id=near), "GET"))


async def test_clients_that_may_not_ask(rig: Rig) -> None:
    for client in (rig.backend, rig.ended):
        _page(await _send(rig, asking(client.id, rig.web_uri, SCOPE), "GET"))


AUDIENCES = {
    "absent": None, "empty": "", "root": "http://testserver", "root/": "http://testserver/", "https": "https://testserver/fhir",
    "host": "http://evil.example/fhir", "suffix": "http://testserver.evil.example/fhir", "sub": "http://a.testserver/fhir",
    "user": "http://testserver@evil.example/fhir", "port": "http://testserver:80/fhir", "port2": "http://testserver:8080/fhir",
    "case": "http://TESTSERVER/fhir", "path-case": "http://testserver/FHIR", "deeper": "http://testserver/fhir/Patient",
    "r4": "http://testserver/fhir/r4", "double": "http://testserver//fhir", "two-slashes": "http://testserver/fhir//",
    "fragment": "http://testserver/fhir#", "query": "http://testserver/fhir?", "encoded": "http://testserver/%66hir",
    "dots": "http://testserver/x/../fhir", "space": "http://testserver/fhir ", "newline": "http://testserver/fhir\n",
    "relative": "/fhir", "scheme-less": "//testserver/fhir", "two": "http://testserver/fhir http://evil.example/fhir",
    "comma": "http://testserver/fhir,http://evil.example/fhir", "json": '["http://testserver/fhir"]', "null": "null",
    "auth": "http://testserver/auth/token", "back": "http:\\\\testserver\\fhir", "file": "file:///fhir",
}  # fmt: skip


@pytest.mark.parametrize("name", AUDIENCES)
async def test_row_8_wrong_audience(rig: Rig, name: str) -> None:
    answer = await _send(rig, asking(rig.web.id, rig.web_uri, SCOPE, aud=AUDIENCES[name]), "GET")
    _page(answer)
    assert "another server" in answer.text


async def test_row_8_aud_and_resource_that_differ(rig: Rig) -> None:
    _page(
        await _send(rig, asking(rig.web.id, rig.web_uri, SCOPE, resource="http://evil.example/fhir"), "GET")
    )
    _page(
        await _send(
            rig, asking(rig.web.id, rig.web_uri, SCOPE, aud=None, resource="http://evil.example"), "GET"
        )
    )


_HASH = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    # response_type
    "no-type": ({"response_type": None}, "invalid_request"),
    **{
        f"type-{index}": ({"response_type": value}, "unsupported_response_type")
        for index, value in enumerate(
            ["", "token", "id_token", "code token", "code id_token", "CODE", "code ", " code", "code,token", "none"]
        )
    },
    "mode-fragment": ({"response_mode": "fragment"}, "invalid_request"),
    "mode-form": ({"response_mode": "form_post"}, "invalid_request"),
    "mode-empty": ({"response_mode": ""}, "invalid_request"),
    "request": ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
    "request-uri": ({"request_uri": "https://evil.example/r"}, "request_uri_not_supported"),
    "registration": ({"registration": "{}"}, "registration_not_supported"),
    # PKCE: row 9
    "no-pkce": ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    "no-challenge": ({"code_challenge": None}, "invalid_request"),
    "no-method": ({"code_challenge_method": None}, "invalid_request"),
    **{
        f"method-{index}": ({"code_challenge_method": value}, "invalid_request")
        for index, value in enumerate(["", "plain", "PLAIN", "s256", "S256 ", "S512", "S256,plain", "none", "sha256"])
    },
    **{
        f"challenge-{index}": ({"code_challenge": value}, "invalid_request")
        for index, value in enumerate(
            ["", " ", "short", _HASH[:-1], _HASH + "A", _HASH + "=", _HASH + "==", _HASH[:-1] + "=", _HASH[:-1] + "B",
             _HASH[:-1] + "-", "+" + _HASH[1:], "/" + _HASH[1:], " " + _HASH[1:], _HASH[:20] + "\n" + _HASH[21:],
             _HASH + "\n", "\u0430" + _HASH[1:], "~" + _HASH[1:], "." + _HASH[1:], "%" + _HASH[1:], "*" * 43, LONG[:9000]]
        )
    },
    # state: row 11
    "no-state": ({"state": None}, "invalid_request"),
    **{
        f"state-{index}": ({"state": value}, "invalid_request")
        for index, value in enumerate(["", "a\nb", "a\r\nSet-Cookie: b", "\0", "\x7f", "\u00e9", "a" * 2049, "\u202e"])
    },
    # scope
    "no-scope": ({"scope": None}, "invalid_scope"),
    **{
        f"scope-{index}": ({"scope": value}, "invalid_scope")
        for index, value in enumerate(
            ["", " ", "nonsense", "patient/Observation", "patient/Observation.", "patient/Observation.dus",
             "patient/Observation.sr", "patient/Observation.rr", "patient/Observation.x", "patient/Observation.READ",
             "patient/Nothing.rs", "patient/observation.rs", "Patient/Observation.rs", "patient/.rs", "/Observation.rs",
             "patient//Observation.rs", "patient/Observation.rs.rs", "patient/Observation.rs?", "patient/*.",
             "patient/Observation.rs?category", "patient/Observation.rs?nonsense=1", "patient/**.rs", "*/*.rs", "*",
             "patient/Observation.rs?code:not=1", "patient/Observation.rs?subject.name=x", "patient/*.rs?_lastUpdated=gt2020", "patient/Observation.rs?_filter=x",
             "system/Observation.rs", "system/*.cruds", "user/Patient.cruds", "launch", "launch/encounter",
             "launch/patient", "offline_access", "online_access launch/patient", "fhirUser", "patient/Procedure.rs",
             'patient/Observation.rs"', "patient/Observation.rs\\", "patient/Observation.rs\0", "patient/Observation.rs\n",
             "p\u0430tient/Observation.rs", "x" * 9000, " ".join(f"a{n}" for n in range(300))]
        )
    },
    # OpenID Connect
    "prompt-none-login": ({"prompt": "none login"}, "invalid_request"),
    "prompt-unknown": ({"prompt": "silently"}, "invalid_request"),
    "age-negative": ({"max_age": "-1"}, "invalid_request"),
    "age-text": ({"max_age": "soon"}, "invalid_request"),
    "age-huge": ({"max_age": "9" * 30}, "invalid_request"),
    "age-arabic": ({"max_age": "\u0661"}, "invalid_request"),
    "nonce-empty": ({"nonce": ""}, "invalid_request"),
    "nonce-long": ({"nonce": "a" * 513}, "invalid_request"),
    "nonce-line": ({"nonce": "a\nb"}, "invalid_request"),
    # launches that are none: row 6
    **{
        f"launch-{index}": ({"scope": f"launch {SCOPE}", "launch": value}, "invalid_request")
        for index, value in enumerate(["", "x", "a" * 43, "' or 1=1 --", "\0", "a" * 5000, "../../x", "1", "null"])
    },
}  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", REFUSED)
async def test_requests_the_app_is_told_to_be_wrong(rig: Rig, name: str, method: str) -> None:
    changed, error = REFUSED[name]
    asked = asking(rig.web.id, rig.web_uri, SCOPE, **changed)
    answer = await _send(rig, asked, method)
    assert answer.status_code == 303 and answer.headers["location"].startswith(f"{rig.web_uri}?"), answer.text
    told = answer_of(answer)
    assert told["error"] == error and told["error_description"] and "code" not in told
    assert told["iss"] == rig.smart.issuer("http://testserver")
    if "state" not in changed:
        assert told["state"] == asked["state"]
    else:
        assert "state" not in told


TWICE = ["response_type", "scope", "aud", "code_challenge", "code_challenge_method", "nonce"]


@pytest.mark.parametrize("name", TWICE)
async def test_parameters_that_come_twice(rig: Rig, name: str) -> None:
    asked = asking(rig.web.id, rig.web_uri, SCOPE, nonce="n")
    answer = await _send(rig, [*asked.items(), (name, asked[name])], "GET")
    assert answer_of(answer)["error"] == "invalid_request" and "code" not in answer_of(answer)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
@pytest.mark.parametrize("second", ["same", "other"])
async def test_what_proves_the_client_comes_once(rig: Rig, name: str, second: str) -> None:
    asked = asking(rig.web.id, rig.web_uri, SCOPE)
    again = asked[name] if second == "same" else "https://evil.example/"
    for pairs in ([*asked.items(), (name, again)], [(name, again), *asked.items()]):
        _page(await _send(rig, pairs, "GET"))


async def test_a_state_that_comes_twice_is_not_given_back(rig: Rig) -> None:
    asked = asking(rig.web.id, rig.web_uri, SCOPE)
    answer = await _send(rig, [*asked.items(), ("state", "other")], "GET")
    assert answer_of(answer)["error"] == "invalid_request" and "state" not in answer_of(answer)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", "application/json"),
        (b"--x", "multipart/form-data; boundary=x"),
        (b"", ""),
        (b"client_id", "application/x-www-form-urlencoded"),
        (b"a=%ff%fe", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 1000), "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded"),
        (b"\xff\xfe=\x00", "application/x-www-form-urlencoded"),
    ],
    ids=range(8),
)
async def test_bodies_that_are_no_forms(rig: Rig, content: bytes, kind: str) -> None:
    async with Browser(rig.app) as browser:
        _page(await browser.post("/auth/authorize", content=content, headers={"content-type": kind}))


async def test_other_methods_are_not_served(rig: Rig) -> None:
    async with Browser(rig.app) as browser:
        for method in ("PUT", "DELETE", "PATCH", "HEAD"):
            assert (await browser.request(method, "/auth/authorize")).status_code == 405


async def test_row_6_launches_of_others(rig: Rig) -> None:
    """A handle is good once, for its client, for five minutes."""
    good = f"launch {SCOPE}"
    context = authorizations.Context(patient="p1")
    handle = await authorizations.add_launch(
        rig.smart.lane, rig.native.id, rig.doctor.id, context, rig.clock()
    )
    answer = await _send(rig, asking(rig.web.id, rig.web_uri, good, launch=handle), "GET")
    assert answer_of(answer)["error"] == "invalid_request"
    old = await authorizations.add_launch(rig.smart.lane, rig.web.id, rig.doctor.id, context, rig.clock())
    rig.clock.pass_(301)
    answer = await _send(rig, asking(rig.web.id, rig.web_uri, good, launch=old), "GET")
    assert answer_of(answer)["error"] == "invalid_request"


async def test_answers_name_this_server_only(rig: Rig) -> None:
    """A forged Host is no host of ours, but what it says goes nowhere but into this answer."""
    async with Browser(rig.app) as browser:
        answer = await browser.get(
            "/auth/authorize", params=asking(rig.web.id, rig.web_uri, SCOPE), headers={"host": "evil.example"}
        )
    _page(answer)
    assert AUD not in answer.text
