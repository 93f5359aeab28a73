"""Authorizations under way: requests, codes and launches."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
