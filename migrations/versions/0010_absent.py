"""Which parameters have values, in the index of a type."""

from __future__ import annotations

from fhirhub.store.upgrade import execute_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the SQL beside this file."""
    execute_file(__file__)
