"""Compiling definitions: splitting expressions, keeping numbers, and the committed data being what the
sources give."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fhirhub.definitions import parameters
from fhirhub.definitions.compile import compiled
from fhirhub.definitions.tables import DATA

SOURCES = Path(__file__).parents[4] / "shared" / "data" / "definitions"


def test_unions_are_split_outside_brackets_and_quotes() -> None:
    assert parameters.split("A.b | (A.c | A.d).e | A.f.where(x='|')") == [
        "A.b",
        "(A.c | A.d).e",
        "A.f.where(x='|')",
    ]


def test_known_numbers_stay_and_new_ones_are_counted_on() -> None:
    entry = {"kind": "token", "expression": "", "targets": [], "components": [], "url": ""}
    searches = {"B": {"a": entry, "new": entry}, "A": {"x": entry}}
    rows = parameters.numbered(searches, {"B": [[7, "a", "token", "", [], [], ""]]})
    assert {(name, row[1]): row[0] for name, found in rows.items() for row in found} == {
        ("B", "a"): 7, ("A", "x"): 8, ("B", "new"): 9
    }  # fmt: skip


@pytest.mark.skipif(
    not SOURCES.is_dir(), reason="HL7's definitions are not beside this checkout (../shared/data)"
)
def test_the_package_data_is_what_the_sources_give() -> None:
    data = json.loads(gzip.decompress(DATA.read_bytes()))
    assert compiled(SOURCES / "r4", SOURCES / "r4-required-bindings.json.gz", data) == data
