"""The audit trail."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
