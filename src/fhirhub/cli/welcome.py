"""What `fhirhub serve` shows of the demo practice when it is ready: logins, and a token for a first request.

On this machine only; a server that others can reach does not start while demo accounts are active.
"""

from __future__ import annotations

import asyncio

from fhirhub.keys import load
from fhirhub.settings import Settings
from fhirhub.smart import demo
from fhirhub.smart.people import now
from fhirhub.smart.storage import grants
from fhirhub.smart.storage.accounts import Accounts
from fhirhub.smart.storage.authorizations import Context, new_handle
from fhirhub.smart.storage.clients import Clients
from fhirhub.smart.storage.grants import GrantRow
from fhirhub.store.engine import Lane

HOURS = 8
"""How long the token of the line to paste is good."""
SCOPES = "user/*.rs"


def lines(settings: Settings, dsn: str, base: str) -> list[str]:
    """Lines about the demo logins that work, and a line to paste; what to do first where there are none."""
    return asyncio.run(_lines(settings, dsn, base))


async def _lines(settings: Settings, dsn: str, base: str) -> list[str]:
    lane = Lane(dsn, 1)
    await lane.open()
    try:
        found = await demo.logins(lane, load(settings))
        if not found:
            return ["  the first account:  fhirhub users add NAME --role admin --password-stdin"]
        token = await _token(lane, found[0].username)
        sample = await demo.has_app(Clients(lane, now))
    finally:
        await lane.close()
    width = max(len(login.username) for login in found)
    return [
        *([f"  a sample app:       {base.removesuffix('/fhir')}{demo.APP_PATH}"] if sample else []),
        "  demo logins:",
        *(f"    {login.username:{width}}  {login.password}  ({login.role})" for login in found),
        *(
            [
                f"  a line to paste ({HOURS} hours long):",
                f"    curl -s -H 'Authorization: Bearer {token}' '{base}/Patient?_count=3&_pretty=true'",
            ]
            if token
            else []
        ),
    ]


async def _token(lane: Lane, username: str) -> str | None:
    """An access token of the demo app for a demo account."""
    account = await Accounts(lane, now).by_name(username)
    if account is None:
        return None
    at = now()
    until = at + HOURS * 3600 * grants.SECOND
    row = GrantRow(
        id=new_handle(), client=demo.APP, account=account.id, scopes=SCOPES, context=Context(), access="none",
        session=None, reason="", nonce=None, signed_in=None, created=at, expires=until,
    )  # fmt: skip
    await grants.create(lane, row)
    return (await grants.issue(lane, row.id, "access", at, until)).handle
