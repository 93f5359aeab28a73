"""A laboratory's system against a real server: it signs its way in, takes what its scopes allow, sends results.

Written as a stranger would, with python-jose and httpx and nothing of the server's own code.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from jose import jwt

from support.practice import READINGS, Practice, opened, reading
from support.smart import Signer
from support.workers import one_to_each

SCOPE = "system/Patient.rs system/Observation.crus"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FHIR = {"Content-Type": "application/fhir+json"}
pytestmark = pytest.mark.process


class Lab:
    """The system: its key, its client_id, and what it found out about the server."""

    def __init__(self, practice: Practice, signer: Signer) -> None:
        self.signer = signer
        self.id = practice.system(f"Lab {signer.algorithm}", SCOPE, signer.jwks)
        found = httpx.get(f"{practice.base}/.well-known/smart-configuration", trust_env=False).json()
        self.endpoint: str = found["token_endpoint"]

    def assertion(self, **changed: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.id, "sub": self.id, "aud": self.endpoint, "exp": now + 240, "jti": secrets.token_hex(16),
        } | changed  # fmt: skip
        headers = {"kid": self.signer.kid, "typ": "JWT"}
        return str(jwt.encode(claims, self.signer.pem, algorithm=self.signer.algorithm, headers=headers))

    def asked(self, client: httpx.Client, assertion: str = "", scope: str = SCOPE) -> httpx.Response:
        """A request for a token over ``client``'s connection."""
        form = {
            "grant_type": "client_credentials", "scope": scope, "client_assertion_type": TYPE,
            "client_assertion": assertion or self.assertion(),
        }  # fmt: skip
        return client.post(self.endpoint, data=form)

    def token(self, client: httpx.Client) -> dict[str, str]:
        """The header of a fresh token."""
        answer = self.asked(client)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture(scope="module")
def practice(request: pytest.FixtureRequest) -> Iterator[Practice]:
    with opened(request.config.getoption("--postgres-bin")) as made:
        yield made


@pytest.fixture(scope="module")
def workers(practice: Practice) -> Iterator[list[httpx.Client]]:
    with ExitStack() as stack:
        yield one_to_each(practice.server, stack)


@pytest.fixture(scope="module", params=["ES384", "RS384"])
def lab(request: pytest.FixtureRequest, practice: Practice) -> Lab:
    return Lab(practice, Signer(request.param))


def test_it_takes_all_that_it_may_page_by_page(lab: Lab, workers: list[httpx.Client]) -> None:
    answer = lab.asked(workers[0])
    body = answer.json()
    assert (body["token_type"], body["scope"]) == ("Bearer", SCOPE) and 0 < body["expires_in"] <= 300
    assert "refresh_token" not in body and answer.headers["cache-control"] == "no-store"
    token = {"Authorization": f"Bearer {body['access_token']}"}
    found = {"Patient": set(), "Observation": set()}
    for type, ids in found.items():
        url, turn = f"{type}?_count=20", 0
        while url:
            # Each page from another worker than the one before.
            page = workers[turn % 2].get(url, headers=token)
            assert page.status_code == 200, page.text
            bundle = page.json()
            for entry in bundle.get("entry", []):
                assert entry["resource"]["id"] not in ids
                ids.add(entry["resource"]["id"])
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
            turn += 1
    assert found["Patient"] == {"ana", "ben"}
    assert {f"{who}-{n}" for who in ("ana", "ben") for n in range(READINGS)} <= found["Observation"]
    refused = workers[1].get("Condition?patient=ana", headers=token)
    assert refused.status_code == 403 and "system/Condition.s" in refused.text
    assert workers[1].get("Observation", headers={"Authorization": "Bearer " + "x" * 43}).status_code == 401


def test_it_sends_results_which_say_where_they_come_from(lab: Lab, workers: list[httpx.Client]) -> None:
    one, other = workers
    token = lab.token(one)
    result = reading("ana", "", 77)
    del result["id"]
    sent = other.post("Observation", json=result, headers=token | FHIR)
    assert sent.status_code == 201, sent.text
    said = {
        "resourceType": "Provenance",
        "recorded": "2026-11-24T10:00:00Z",
        "agent": [{"who": {"display": "City Lab"}}],
    }
    told = other.post("Observation", json=result, headers=token | FHIR | {"X-Provenance": json.dumps(said)})
    # It holds no scope to write Provenance by itself; the server's own statement takes none.
    assert told.status_code == 403 and "system/Provenance.c" in told.text
    id = sent.json()["id"]
    changed = sent.json() | {"status": "amended"}
    stale = one.put(f"Observation/{id}", json=changed, headers=token | FHIR | {"If-Match": 'W/"9"'})
    assert stale.status_code == 412
    amended = one.put(f"Observation/{id}", json=changed, headers=token | FHIR | {"If-Match": 'W/"1"'})
    assert amended.status_code == 200, amended.text
    assert one.delete(f"Observation/{id}", headers=token).status_code == 403
    assert (
        other.post("Condition", json={"resourceType": "Condition"}, headers=token | FHIR).status_code == 403
    )
    assert other.get(f"Observation/{id}", headers=token).json()["status"] == "amended"


def test_what_it_sends_is_witnessed(practice: Practice, workers: list[httpx.Client]) -> None:
    signer = Signer()
    lab = Lab(practice, signer)
    lab.id = practice.system("City Lab", "system/Observation.crus system/Provenance.rs", signer.jwks)
    answer = lab.asked(workers[0], scope="system/Observation.crus system/Provenance.rs")
    token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    result = reading("ben", "", 81)
    del result["id"]
    id = workers[1].post("Observation", json=result, headers=token | FHIR).json()["id"]
    found = workers[0].get(f"Provenance?target=Observation/{id}", headers=token).json()
    (witness,) = (entry["resource"] for entry in found["entry"])
    assert "City Lab" in json.dumps(witness["agent"])
    event = practice.command("audit", "search", "--user", lab.id, "--entity", f"Observation/{id}")
    assert event["interaction"] == "create"


def test_an_assertion_is_good_once_whichever_worker_gets_it(lab: Lab, workers: list[httpx.Client]) -> None:
    statuses: list[int] = []
    assertion = lab.assertion()

    def send(to: httpx.Client) -> None:
        for _ in range(10):
            statuses.append(lab.asked(to, assertion).status_code)

    both = [threading.Thread(target=send, args=(each,)) for each in workers]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(statuses) == [200] + [401] * 19


def test_assertions_that_are_refused(lab: Lab, workers: list[httpx.Client]) -> None:
    now = int(time.time())
    wrong = [
        lab.assertion(aud="https://other.example/auth/token"), lab.assertion(exp=now - 10), lab.assertion(exp=now + 3600),
        lab.assertion(sub="somebody"), lab.assertion(iss="somebody", sub="somebody"), lab.assertion()[:-8] + "AAAAAAAA",
        jwt.encode({"iss": lab.id, "sub": lab.id, "aud": lab.endpoint, "exp": now + 200, "jti": "1"}, "x" * 64, algorithm="HS384"),
    ]  # fmt: skip
    for number, assertion in enumerate(wrong):
        answer = lab.asked(workers[number % 2], assertion)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), number
    answer = lab.asked(workers[0], scope="system/Condition.rs")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_it_is_cut_off_on_every_worker(practice: Practice, workers: list[httpx.Client]) -> None:
    lab = Lab(practice, Signer())
    token = lab.token(workers[0])
    assert [each.get("Patient/ana", headers=token).status_code for each in workers] == [200, 200]
    cut = practice.command("clients", "deactivate", lab.id)
    assert cut["deactivated"] and cut["cut"] == {"grants": 1, "tokens": 1}
    assert [each.get("Patient/ana", headers=token).status_code for each in workers] == [401, 401]
    assert [lab.asked(each).json()["error"] for each in workers] == ["invalid_client"] * 2
