"""Clients, grants, tokens and signing keys."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
