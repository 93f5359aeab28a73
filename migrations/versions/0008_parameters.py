"""Search parameters of one's own, and jobs."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
