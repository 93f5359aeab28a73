"""``site``: the pages on the module's database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from support import site as support


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(dsn: str) -> AsyncIterator[support.Site]:
    async with support.opened(dsn) as made:
        yield made
