"""What people do at the pages, for the audit trail: sign-in and out, changes of passwords, of users and of clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from fhirhub.exchange import Caller
from fhirhub.pages.session import address
from fhirhub.smart.context import Smart
from fhirhub.smart.storage.accounts import Account


async def note(
    smart: Smart,
    request: Request,
    event: str,
    account: Account | None = None,
    *,
    outcome: int = 0,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Put ``event`` on record; returns when it is. ``outcome`` 0 done, 4 refused (AuditEvent.outcome)."""
    if smart.audit is not None:
        await smart.audit(event, caller(request, account, reason), outcome, dict(detail or {}))


def caller(request: Request, account: Account | None, reason: str = "") -> Caller:
    """Who does something at a page."""
    return Caller(
        user=account.username if account else "",
        fhir_user=(account.fhir_user or "") if account else "",
        role=account.role if account else "",
        address=address(request),
        reason=reason,
    )
