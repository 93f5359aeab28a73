"""The audit trail as one caller may see it.

A predicate on resources cannot be evaluated on the trail, so there are two ways to it: to see all of it, or, being
confined to patients, what is about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhirhub.errors import Forbidden, Issue, MethodNotAllowed
from fhirhub.search.sight import Sight
from fhirhub.store.audit.search import Wanted
from fhirhub.store.records import Change

TYPE = "AuditEvent"
_PATIENT = "Patient/"


def reach(sight: Sight, action: str) -> frozenset[str] | None:
    """Logical ids of the patients whose events ``sight`` reaches for ``action`` (r or s); None: all events.

    Raises Forbidden where it reaches none.
    """
    if sight.is_open(action, TYPE):
        return None
    if not sight.about or not sight.allows(action, TYPE):
        text = (
            "The audit trail is for those who may see all of it, and for patients as far as it is about them: this"
            " needs AuditEvent without further conditions, or a patient in context."
        )
        raise Forbidden(Issue("forbidden", text))
    return frozenset(name.removeprefix(_PATIENT) for name in sight.about if name.startswith(_PATIENT))


def limited(wanted: Wanted, patients: frozenset[str] | None) -> Wanted:
    """``wanted`` as far as it is about ``patients``; None: all of it."""
    if patients is None:
        return wanted
    return replace(wanted, patients=patients if wanted.patients is None else patients & wanted.patients)


def check_writable(changes: Sequence[Change]) -> None:
    """Raise MethodNotAllowed for a change of what only the server adds, and nobody changes."""
    if any(change.type == TYPE for change in changes):
        text = "AuditEvents are recorded by the server itself; they cannot be created, changed or deleted."
        raise MethodNotAllowed(Issue("not-supported", text), headers={"Allow": "GET, HEAD, OPTIONS"})
