"""One server with two patients for each file of attacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest_asyncio

from attacks.cast import TYPES
from attacks.rig import GRANTS, Rig, Tokens, confined, prepared
from conftest import BASE
from fhirhub.app import create_app
from fhirhub.auth.authority import Authority
from fhirhub.auth.policy import load as load_policies
from fhirhub.packaged import folder
from fhirhub.settings import Settings
from searching import definitions, registry
from support.lifespan import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    app = create_app(replace(settings, referential_integrity=False))
    async with running(app):
        assert app.hub is not None
        tokens = Tokens()
        app.gate = tokens
        policies = load_policies(folder("capability") / "policies", definitions.resource_types)
        authority = Authority(definitions, registry, app.hub.parser, policies)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
            made = await prepared(client)
            for name, letters, types in (
                ("full", "cruds", TYPES),
                ("readonly", "rs", TYPES),
                ("search only", "s", TYPES),
                ("read only", "r", TYPES),
                ("observations", "cruds", ("Observation",)),
            ):
                tokens.known[f"{name} ana"] = confined(app.hub, made.ana, letters, types)
                tokens.known[f"{name} bob"] = confined(app.hub, made.bob, letters, types)
            for name, decide in GRANTS.items():
                for person in (made.ana, made.bob):
                    tokens.known[f"{name} {person.id[2:]}"] = await authority.access(decide(person.id))
            yield made
