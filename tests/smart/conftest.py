"""``rig``: a practice with people and apps on the module's database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from fhirhub.keys import Keys
from fhirhub.settings import Settings
from fhirhub.smart.context import smart
from fhirhub.store.engine import Lane
from support.flow import make_app
from support.flow_rig import Clock, Patients, Rig, furnish


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    events: list[Any] = []

    async def audit(*event: Any) -> None:
        events.append(event)

    settings, clock = Settings(database_url=dsn, registration=True), Clock()
    hooks = {"audit": audit, "patients": Patients()}
    made = smart(settings, Lane(dsn, 4), Keys(bytes(32)), clock, hooks)
    try:
        yield await furnish(made, make_app(made), clock, events)
    finally:
        await made.close()
