"""The index of numbers by their unit, and counts that are kept."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0013"
down_revision = "0010"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
