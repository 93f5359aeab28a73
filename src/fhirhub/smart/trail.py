"""The audit trail as the authorization server and the pages use it: what they add to it, and what they show of it.

:func:`hooks` gives the values for ``audit``, ``looked_at`` and ``trail`` of :class:`fhirhub.smart.context.Smart`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fhirhub.exchange import Caller
from fhirhub.search.parameters.date import interval
from fhirhub.smart.hooks import Event, Look
from fhirhub.store.audit.search import Condition, Fetch, Row, Wanted, find
from fhirhub.store.audit.told import OUTCOMES, app, looked_at, place, what, who, written
from fhirhub.store.audit.trail import event
from fhirhub.store.audit.writer import AuditWriter

PAGE = 50
_LOGINS = frozenset({"login", "logout", "lockout", "second-factor"})
_TOKENS = frozenset({"token", "refresh", "introspect"})
_CONSENTS = frozenset({"consent", "revoke", "launch"})
_ADMIN = ("user-", "client-")


def kind_of(name: str) -> str:
    """The kind of row that an event of this name is."""
    if name in _LOGINS:
        return "login"
    if name in _TOKENS:
        return "token"
    if name in _CONSENTS:
        return "consent"
    return "admin" if name.startswith(_ADMIN) else "security"


def hooks(audit: AuditWriter, fetch: Fetch) -> dict[str, Any]:
    """The hooks on a trail that ``audit`` adds to and ``fetch`` reads."""

    async def put(name: str, caller: Caller, outcome: int, detail: dict[str, Any]) -> None:
        patient = str(detail.get("patient") or "").removeprefix("Patient/")
        await audit.record(
            [event(kind_of(name), name, caller, outcome=outcome, patients=[patient], more=detail)]
        )

    async def looks(patient: str, cursor: str) -> tuple[Sequence[Look], str]:
        if not patient:
            return (), ""
        page = await looked_at(fetch, patient, place(cursor), PAGE)
        return [_look(row) for row in page.rows], written(page.next)

    async def search(conditions: Mapping[str, str], cursor: str) -> tuple[Sequence[Event], str]:
        wanted = _wanted(conditions, cursor)
        if wanted is None:
            return (), ""
        page = await find(fetch, wanted)
        return [_event(row) for row in page.rows], written(page.next)

    return {"audit": put, "looked_at": looks, "trail": search}


def _wanted(conditions: Mapping[str, str], cursor: str) -> Wanted | None:
    """None when a date is none, so that nothing can be found."""
    found = []
    if conditions.get("user"):
        found.append(Condition("agent", (conditions["user"],)))
    try:
        if conditions.get("since"):
            found.append(Condition("since", (interval(conditions["since"])[0],)))
        if conditions.get("until"):
            found.append(Condition("until", (interval(conditions["until"])[1],)))
    except ValueError:
        return None
    patient = conditions.get("patient", "").removeprefix("Patient/")
    return Wanted(tuple(found), frozenset({patient}) if patient else None, count=PAGE, after=place(cursor))


def _look(row: Row) -> Look:
    return Look(row.at, who(row), app(row), what(row), str(row.detail.get("reason") or ""))


def _event(row: Row) -> Event:
    shown = row.patients[:5]
    more = f" and {len(row.patients) - 5} more" if len(row.patients) > 5 else ""
    return Event(
        row.at, who(row), app(row), what(row), ", ".join(shown) + more, OUTCOMES.get(row.outcome, "failed"),
        str(row.detail.get("address") or ""), row.request,
    )  # fmt: skip
