"""Rows of the audit trail in plain words, for people: "looked at Observation/7", by whom, with which app."""

from __future__ import annotations

import re

from fhirhub.store.audit.search import Fetch, Place, Row, Rows, Wanted, find

_PAGE = 50
_VERBS = {
    "read": "looked at", "vread": "looked at an earlier version of", "history-instance": "looked at the history of",
    "create": "added", "update": "changed", "patch": "changed", "delete": "deleted",
    "conditional-update": "changed", "conditional-patch": "changed", "conditional-delete": "deleted",
    "search-type": "searched", "search-system": "searched", "search-compartment": "searched the record of",
    "history-type": "looked at the history of all", "history-system": "looked at the history of everything",
    "capabilities": "asked what the server can do", "refused": "asked for",
}  # fmt: skip
_OPERATIONS = {
    "$everything": "took out the whole record of",
    "$lastn": "looked at the latest of",
    "$explain": "asked how to search",
    "$export": "exported",
}
_EVENTS = {
    "login": "signed in", "logout": "signed out", "lockout": "was locked out after failed sign-ins",
    "second-factor": "used a second factor", "password": "changed a password", "consent": "decided on an app's access",
    "revoke": "took an app's access away", "token": "was given access", "launch": "started an app",
    "break-glass": "asked for emergency access", "user-add": "added a user", "user-deactivate": "deactivated a user",
    "user-reset": "reset a user's password", "client-add": "added an app", "client-rotate": "changed an app's secret",
    "client-deactivate": "deactivated an app", "client-activate": "activated an app",
    "client-update": "changed an app's registration", "user-activate": "activated a user", "audit-search": "looked through the audit trail",
    "refused": "asked for a page that is for others", "import": "imported resources",
}  # fmt: skip
OUTCOMES = {0: "done", 4: "refused", 8: "failed", 12: "failed"}
_PLACE = re.compile(r"(\d{1,18})\.(\d{1,4})\.(\d{1,18})")


def what(row: Row) -> str:
    """What was done, to what: ``changed Observation/7``; refusals and failures say so."""
    if row.kind == "rest":
        verb = _VERBS.get(row.interaction) or _OPERATIONS.get(row.interaction)
        name = "/".join([part for part in (row.type, row.id) if part])
        if verb is None:
            verb = f"used {row.interaction} on"
        text = f"{verb} {name}" if name else verb
    else:
        text = _EVENTS.get(row.interaction, row.interaction.replace("-", " "))
    return text if not row.outcome else f"{text} ({OUTCOMES.get(row.outcome, 'failed')})"


def who(row: Row) -> str:
    """The user with the role; the program where there is none."""
    user, role = row.detail.get("user") or row.detail.get("fhirUser"), row.detail.get("role")
    if not user:
        return str(row.detail.get("clientName") or row.detail.get("client") or "somebody unknown")
    return f"{user} ({role})" if role else str(user)


def app(row: Row) -> str:
    """The program that was used, '' when it is not known or the one acting."""
    return str(row.detail.get("clientName") or row.detail.get("client") or "")


async def looked_at(fetch: Fetch, patient: str, after: Place | None = None, count: int = _PAGE) -> Rows:
    """A page of who did what with the record of the patient with this logical id, newest first."""
    return await find(fetch, Wanted(patients=frozenset({patient}), count=count, after=after))


def written(place: Place | None) -> str:
    """Where the next page begins, as text for a link; '' when there is none. No secret: it is three numbers."""
    return ".".join([str(each) for each in place]) if place is not None else ""


def place(text: str) -> Place | None:
    """What :func:`written` wrote; None (from the beginning) for anything else."""
    found = _PLACE.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
