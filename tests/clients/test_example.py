"""docs/examples/lab.py, as the README shows it: a key, a registration, a token, and no more than it is registered for."""

from __future__ import annotations

import importlib.util
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from fhirhub.app import create_app
from fhirhub.resource import json
from fhirhub.settings import Settings
from fhirhub.smart.people import now
from fhirhub.smart.storage.clients import Clients
from support.lifespan import running
from support.live import Live, serving
from support.smart import bearer, lane_to

FILE = Path(__file__).parents[2] / "docs" / "examples" / "lab.py"


@pytest.fixture(scope="module")
def live(dsn: str, tmp_path_factory: Any) -> Iterator[Live]:
    settings = Settings(database_url=dsn, data_dir=tmp_path_factory.mktemp("keys"), log_level="error")

    @asynccontextmanager
    async def opened() -> AsyncIterator[SimpleNamespace]:
        async with running(create_app(settings)) as app:
            yield SimpleNamespace(app=app)

    with serving(opened) as made:
        yield made


@pytest.fixture(scope="module")
def lab() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lab", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_laboratory_gets_what_it_is_registered_for(
    live: Live, lab: ModuleType, dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "key.pem"
    published = json.parse(lab.keys(file).encode())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        lab.keys(file)

    async def register() -> str:
        async with lane_to(dsn) as lane:
            made, _ = await Clients(lane, now).add(
                name="Lab", kind="backend", scopes="system/Observation.crus", jwks=published
            )
            return made.id

    token = lab.token(f"{live.base}/fhir", live.run(register()), file)
    with httpx.Client(base_url=f"{live.base}/fhir", headers=bearer(token), trust_env=False) as client:
        result = {"resourceType": "Observation", "status": "final", "code": {"text": "A1c"}}
        assert client.post("/Observation", json=result).status_code == 201
        refused = client.get("/Condition")
        assert refused.status_code == 403 and "system/Condition.s" in refused.text


def test_a_laboratory_that_is_not_registered_is_told_so(live: Live, lab: ModuleType, tmp_path: Path) -> None:
    lab.keys(tmp_path / "key.pem")
    with pytest.raises(SystemExit, match="invalid_client"):
        lab.token(f"{live.base}/fhir", "nobody", tmp_path / "key.pem")
