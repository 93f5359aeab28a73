"""The record: resources, their history and their index rows."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
