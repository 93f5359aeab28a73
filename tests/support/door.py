"""A server with a gate, and callers by their tokens (fixtures ``door`` and ``token``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from fhirhub.app import create_app
from fhirhub.settings import Settings
from support.access import observation, patient
from support.lifespan import running
from support.smart import bearer, issue

V3 = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
Document = dict[str, Any]


@dataclass
class Door:
    """A server with a gate, and tokens by name."""

    client: httpx.AsyncClient
    dsn: str
    token: str = ""

    def by(self, token: str) -> Door:
        """The same door for somebody else."""
        return replace(self, token=token)

    async def call(self, method: str, path: str, body: Document | None = None) -> httpx.Response:
        return await self.client.request(method, path, json=body, headers=bearer(self.token))

    async def put(self, document: Document) -> httpx.Response:
        return await self.call("PUT", f"/{document['resourceType']}/{document['id']}", document)

    async def sees(self, path: str) -> bool:
        """Whether a read finds it; a search by id says the same."""
        answer = await self.call("GET", path)
        type, _, id = path.strip("/").partition("/")
        found = (await self.call("GET", f"/{type}?_id={id}&_total=accurate")).json()
        assert answer.status_code in (200, 404), answer.text
        assert found["total"] == (1 if answer.status_code == 200 else 0)
        return answer.status_code == 200


Token = Callable[..., Awaitable[Door]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    guarded = replace(settings, no_auth=False, audit="on", data_dir=tmp_path_factory.mktemp("keys"))
    async with running(create_app(guarded)) as app:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver/fhir", timeout=30
        ) as client:
            assert guarded.database_url
            made = Door(client, guarded.database_url)
            root = made.by(await issue(made.dsn, "system/*.cruds", policy={"labels": ["*"]}))
            for document in (
                {"resourceType": "Patient", "id": "ana", "name": [{"family": "Ana"}], "gender": "female"},
                {"resourceType": "Patient", "id": "bob"},
                {"resourceType": "Organization", "id": "lab", "name": "The lab"},
                {"resourceType": "Practitioner", "id": "doc"},
                {"resourceType": "Practitioner", "id": "other"},
                observation("ana", id="plain"),
                observation("ana", id="very", meta={"security": [{"system": V3, "code": "V"}]}),
                observation("bob", id="bobs"),
                {
                    "resourceType": "Condition",
                    "id": "c",
                    "subject": patient("ana"),
                    "note": [{"text": "private"}],
                },
            ):
                answer = await root.put(document)
                assert answer.status_code == 201, answer.text
            made.token = root.token
            yield made


@pytest.fixture
def token(door: Door) -> Token:
    """A door for a caller: scopes, and what :func:`support.smart.issue` takes."""

    async def make(scopes: str = "user/*.cruds", **more: Any) -> Door:
        return door.by(await issue(door.dsn, scopes, **more))

    return make
