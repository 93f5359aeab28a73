"""Further indexes for searches."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
