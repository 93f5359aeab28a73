"""The journal of imports."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
