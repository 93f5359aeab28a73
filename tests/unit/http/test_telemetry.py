"""Health, metrics and the access log, around an app that does nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fhirhub.http.metrics import Counters
from fhirhub.http.telemetry import ROUTE, Telemetry
from fhirhub.settings import Settings


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers the status in the path's last part, as the read of a Patient."""
    scope[ROUTE] = SimpleNamespace(interaction="read", type="Patient")
    status = int(scope["path"].rsplit("/", 1)[1])
    headers = [(b"x-request-id", b"abc")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def observed(tmp_path: Path, slot: int = 0, **settings: Any) -> Telemetry:
    telemetry = Telemetry(app, Settings(**settings), Counters(tmp_path, slot))
    telemetry.started.set()
    return telemetry


async def get(telemetry: Any, path: str, peer: str = "127.0.0.1", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=telemetry, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_readiness_follows_checks_and_draining(tmp_path: Path) -> None:
    state = {"well": True}

    async def check() -> None:
        if not state["well"]:
            raise RuntimeError("gone")

    telemetry = Telemetry(app, Settings(), Counters(tmp_path), {"store": check})
    assert (await get(telemetry, "/readyz")).status_code == 503
    telemetry.started.set()
    assert (await get(telemetry, "/readyz")).json() == {"status": "pass"}
    assert (await get(telemetry, "/health")).headers["content-type"] == "application/health+json"
    state["well"] = False
    await asyncio.sleep(0.3)
    answer = await get(telemetry, "/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (503, ["store"])
    state["well"], telemetry.draining = True, True
    await asyncio.sleep(0.3)
    assert (await get(telemetry, "/health")).json()["checks"]["serving"][0]["status"] == "fail"
    assert (await get(telemetry, "/livez")).status_code == 200


async def test_a_check_that_hangs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhirhub.http.telemetry._CHECK_TIMEOUT", 0.05)
    telemetry = Telemetry(app, Settings(), Counters(tmp_path), {"store": lambda: asyncio.sleep(9)})
    telemetry.started.set()
    assert (await get(telemetry, "/readyz")).status_code == 503


async def test_metrics_count_requests_of_all_workers(tmp_path: Path) -> None:
    one, two = observed(tmp_path, 0), observed(tmp_path, 1)
    for telemetry, path in ((one, "/fhir/200"), (one, "/fhir/404"), (two, "/fhir/200"), (two, "/fhir/500")):
        await get(telemetry, path)
    two._counters.share()
    found = samples((await get(one, "/metrics")).text)
    labels = {"type": "Patient", "interaction": "read"}
    for outcome, count in (("success", 2), ("refused", 1), ("failed", 1)):
        key = ("fhirhub_interactions_total", frozenset((labels | {"outcome": outcome}).items()))
        assert found[key] == count
    route = {
        "http_request_method": "GET",
        "http_route": "/fhir/{type}/{id}",
        "http_response_status_code": "200",
    }
    assert found[("http_server_request_duration_seconds_count", frozenset(route.items()))] == 2


async def test_a_restarted_worker_goes_on_counting(tmp_path: Path) -> None:
    first = observed(tmp_path)
    await get(first, "/fhir/200")
    first._counters.share()
    second = observed(tmp_path)
    await get(second, "/fhir/200")
    text = (await get(second, "/metrics")).text
    assert 'fhirhub_interactions_total{type="Patient",interaction="read",outcome="success"} 2' in text


async def test_metrics_are_guarded(tmp_path: Path) -> None:
    telemetry = observed(tmp_path)
    assert (await get(telemetry, "/metrics", peer="10.0.0.9")).status_code == 403
    assert (await get(telemetry, "/metrics", x_forwarded_for="10.0.0.9")).status_code == 403
    guarded = observed(tmp_path, metrics_token="hush")
    assert (await get(guarded, "/metrics")).status_code == 401
    assert (await get(guarded, "/metrics", peer="10.0.0.9", authorization="Bearer hush")).status_code == 200


async def test_the_access_log_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry = observed(tmp_path, access_log=True, log_format="json")
    await get(telemetry, "/fhir/Patient/secret-id/200?name=Chalmers")
    await asyncio.sleep(0.3)
    text = capsys.readouterr().err
    line = json.loads(text)
    assert (line["status"], line["interaction"], line["request"]) == (200, "read", "abc")
    assert "secret" not in text and "Chalmers" not in text


async def test_other_methods_are_refused(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(app=observed(tmp_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.post("/livez", headers={"X-Request-Id": "mine-1"})
    assert (answer.status_code, answer.headers["allow"], answer.headers["x-request-id"]) == (
        405,
        "GET, HEAD",
        "mine-1",
    )
