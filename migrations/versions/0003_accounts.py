"""Accounts, sign-in sessions and what protects them."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
