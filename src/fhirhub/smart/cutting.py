"""What is taken from an account that is deactivated, beside its sessions; see ``Accounts.deactivate``."""

from __future__ import annotations

from fhirhub.smart.storage import authorizations, grants
from fhirhub.smart.storage.accounts import Cut

CUTS: tuple[Cut, ...] = (authorizations.void, grants.cut)
"""All run in the transaction that deactivates: launches, requests and codes under way, grants and
their tokens."""
