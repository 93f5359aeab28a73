"""What is done on the command line, for the audit trail."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Any

from fhirhub import keys
from fhirhub.exchange import Caller
from fhirhub.settings import Settings
from fhirhub.store.audit.chain import Chains
from fhirhub.store.audit.trail import event
from fhirhub.store.audit.writer import AuditWriter
from fhirhub.store.engine import Lane

CLIENT = "command line"


async def record(chosen: Settings, lane: Lane, what: str, detail: Mapping[str, Any]) -> None:
    """Put on record that somebody with access to this machine did ``what``; ``detail`` holds no secrets.

    ``lane`` leads to a migrated store. Nothing is kept where there is no trail.
    """
    if not chosen.is_audited:
        return
    caller = Caller(client=CLIENT, client_name=f"fhirhub, by {_operator()} on the server's machine")
    writer = AuditWriter(lane, Chains(keys.load(chosen).derive("audit")))
    await writer.record([event("admin", what, caller, more=detail)])
    await writer.drain()


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return "somebody"
