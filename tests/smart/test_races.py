"""What ends access at the same moment as it is used: one waits for the other, neither fails, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.smart.cutting import CUTS
from fhirhub.smart.grants import authorization_code
from fhirhub.smart.storage import grants
from support.token_rig import TokenRig, exchange, token_rig

HELD = 0.4
"""Seconds that one side is held, so that the other runs into it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[TokenRig]:
    async with token_rig(dsn) as made:
        yield made


def _held(rig: TokenRig, then: Callable[[], Awaitable[Any]], inner: Any, started: list[Any]) -> Any:
    """``inner``, after which ``then`` is started and given time to run into what ``inner`` has locked."""

    async def held(*args: Any, **more: Any) -> Any:
        found = await inner(*args, **more)
        started.append(asyncio.ensure_future(then()))
        await asyncio.sleep(HELD)
        return found

    return held


async def test_a_code_is_exchanged_while_its_account_is_deactivated(
    rig: TokenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await rig.smart.people.accounts.add("leaves-now", "practitioner", "Practitioner/9", "-")
    code = await rig.code(of=account)
    started: list[asyncio.Task[Any]] = []

    async def deactivate() -> Any:
        return await rig.smart.people.accounts.deactivate(account.id, CUTS)

    monkeypatch.setattr(
        authorization_code, "take_code", _held(rig, deactivate, authorization_code.take_code, started)
    )
    answer = await rig.token(exchange(code, rig.public))
    cut = await started[0]
    assert cut is not None and answer.status_code in (200, 400), answer.text
    assert await grants.of_account(rig.smart.lane, account.id, rig.clock()) == []


async def test_a_grant_is_refreshed_while_it_is_revoked(
    rig: TokenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await rig.exchanged()
    grant = (await grants.of_account(rig.smart.lane, rig.doctor.id, rig.clock()))[0].grant
    started: list[asyncio.Task[Any]] = []

    async def revoke() -> Any:
        return await grants.revoke(rig.smart.lane, grant, rig.clock())

    monkeypatch.setattr(grants, "present", _held(rig, revoke, grants.present, started))
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": told["refresh_token"],
        "client_id": rig.public.id,
    }
    answer = await rig.token(fields)
    assert await started[0] is True and answer.status_code in (200, 400), answer.text
    assert await grants.of_account(rig.smart.lane, rig.doctor.id, rig.clock()) == []
