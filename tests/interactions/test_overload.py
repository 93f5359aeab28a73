"""Too much at once, too slow, going away: what callers see then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.lifespan import running

BASE = "http://testserver/fhir/"
PATIENT = {"resourceType": "Patient"}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE)


async def test_too_many_requests_in_hand_are_sent_away(settings: Settings) -> None:
    async with running(create_app(replace(settings, max_in_flight=4))) as app, client_of(app) as client:
        answers = await asyncio.gather(*(client.post("Patient", json=PATIENT) for _ in range(40)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused and {answer.status_code for answer in answers} == {201, 503}
        for answer in refused:
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["issue"][0]["code"] == "throttled"
        assert (await client.get("metadata")).status_code == 200
        assert app.in_flight == 0


async def test_before_start_and_after_stop_the_answer_is_503(settings: Settings) -> None:
    app = create_app(settings)
    async with client_of(app) as client:
        assert (await client.get("metadata")).status_code == 503
        async with running(app):
            assert (await client.get("metadata")).status_code == 200
        answer = await client.get("metadata")
        assert answer.status_code == 503 and answer.json()["resourceType"] == "OperationOutcome"


async def test_a_fault_of_ours_tells_the_log_not_the_caller(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(create_app(settings)) as app, client_of(app) as client:

        async def broken(*_: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(app.hub.store, "read", broken)
        answer = await client.get("Patient/1", headers={"x-request-id": "find-me"})
        assert answer.status_code == 500
        assert "secret" not in answer.text and "find-me" in answer.text
        assert "find-me" in caplog.text and "secret detail" in caplog.text


async def test_a_client_that_leaves_is_let_go(settings: Settings) -> None:
    async with running(create_app(settings)) as app:
        messages = iter(
            [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/fhir/Patient", "query_string": b"", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], "server": ("testserver", 80),
        }  # fmt: skip
        await app(scope, receive, send)
        assert sent == [] and app.in_flight == 0


async def test_the_referential_integrity_can_be_off(settings: Settings) -> None:
    lenient = replace(settings, referential_integrity=False)
    async with running(create_app(lenient)) as app, client_of(app) as client:
        body = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": "Patient/x"},
        }
        assert (await client.post("Observation", json=body)).status_code == 201
        assert (await client.get("Patient/x")).status_code == 404
        assert (await client.get("Observation?subject=Patient/x")).json()["entry"]


async def test_what_was_referred_to_can_be_written_later(settings: Settings) -> None:
    lenient = replace(settings, referential_integrity=False)
    async with running(create_app(lenient)) as app, client_of(app) as client:
        body = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": "Patient/y"}}
        assert (await client.post("Basic", json=body)).status_code == 201
        assert (await client.put("Patient/y", json={"resourceType": "Patient", "id": "y"})).status_code == 201
        assert (await client.get("Basic?subject=Patient/y")).json()["entry"]
        assert (await client.delete("Patient/y")).status_code == 204
