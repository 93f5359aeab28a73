"""What a token stands for: a grant on the server, looked up anew with every request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhirhub.auth.scope import Scope

ROLES = ("admin", "practitioner", "frontdesk", "biller", "patient")


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may ask for what, as it stood when the request came in.

    ``kind`` is ``user`` (a person allowed it) or ``system`` (a backend service's own). Equal ``id`` and ``stamp``
    mean an equal Access, so that it may be kept.
    """

    id: str
    kind: str
    scopes: tuple[Scope, ...]
    client: str
    client_name: str = ""
    user: str | None = None
    """Username."""
    fhir_user: str | None = None
    """``Practitioner/1``: the resource that stands for the user."""
    role: str | None = None
    patient: str | None = None
    """Launch context: the logical id of the patient that ``patient/`` scopes are about."""
    encounter: str | None = None
    issuer: str = ""
    reason: str = ""
    """Why the glass was broken; empty when it was not."""
    client_policy: Mapping[str, Any] | None = None
    """What the client is confined to (:mod:`fhirhub.auth.policy`); None or empty: to its scopes only."""
    stamp: tuple[int, int] = (0, 0)
    """Versions of the grant and of all consents of the store."""
