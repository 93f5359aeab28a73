"""docs/search.md names tests that exist, and what it calls missing is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fhirhub.errors import BadRequest
from searching import search

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")


def test_every_row_names_tests_that_exist() -> None:
    served = TEXT.partition("## What is missing")[0]
    rows = [row for row in served.splitlines() if row.startswith("| ") and "shown by" not in row]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)`", row.rpartition(" | ")[2])
        assert named, f"no test: {row}"
        for path in named:
            assert (ROOT / "tests" / path).is_file(), path


def test_what_is_missing_is_refused() -> None:
    for query in (
        "Patient?_query=x",
        "Patient?_list=$current-problems",
        "Patient?age=5",
    ):
        with pytest.raises(BadRequest):
            search(query)
