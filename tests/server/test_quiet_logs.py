"""Logs name no patient: not in addresses, not in errors, not in what failed to be understood."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from support.process import Server

CANARY = "zqcanary"


@pytest.mark.process
def test_nothing_of_a_patient_is_logged() -> None:
    home = Path(tempfile.mkdtemp(prefix="fhirhub-test-"))
    variables = {"FHIRHUB_ACCESS_LOG": "on", "FHIRHUB_LOG_LEVEL": "debug", "FHIRHUB_SHARED_BUFFERS": "64MiB"}
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": CANARY}]}
    try:
        with Server(home, "--workers", "1", variables=variables) as server:
            with httpx.Client(base_url=server.base + "/", timeout=30) as client:
                assert client.put("Patient/p1", json=patient).status_code == 201
                asked = [
                    client.get("Patient", params={"name": CANARY}),
                    client.post("Patient/_search", data={"name": CANARY}),
                    client.get("Patient", params={f"name:{CANARY}": "x"}),
                    client.get("Patient", params={"birthdate": CANARY}),
                    client.get("Patient", params={"_filter": f"name eq {CANARY} ("}),
                    client.put("Patient/p1", json=patient | {"gender": CANARY}),
                    client.post("Patient", content=f'{{"resourceType": "Patient", "{CANARY}'),
                    client.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [{"fullUrl": CANARY}]}),
                    client.get("Patient", headers={"x-request-id": f"{CANARY} {CANARY}"}),
                    client.patch("Patient/p1", json=[{"op": "test", "path": "/gender", "value": CANARY}],
                                 headers={"content-type": "application/json-patch+json"}),
                ]  # fmt: skip
                assert asked[0].json()["entry"] and {each.status_code for each in asked} > {200, 400}
                # The log is read by a thread of its own; this line comes after all others.
                client.get("metadata", headers={"x-request-id": "the-last-one"})
                for _ in range(100):
                    if any("the-last-one" in line for line in server.log):
                        break
                    time.sleep(0.05)
            lines = list(server.log)
        assert sum('"event":"request"' in line for line in lines) > len(asked), "the access log is off"
        assert any("the-last-one" in line for line in lines)
        assert not [line for line in lines if CANARY in line]
    finally:
        shutil.rmtree(home, ignore_errors=True)
