"""docs/smart-checklist.md names tests that exist, for every row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "smart-checklist.md").read_text(encoding="utf-8")


def test_every_row_is_there() -> None:
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert rows == list(range(1, 35))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([a-z_/0-9]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 50
    missing = [f"{file}::{name}" for file, name in named if name not in _functions(file)]
    assert not missing


def test_a_row_without_tests_says_why() -> None:
    for row in re.findall(r"^\| \d+ \|.*$", PAGE, re.MULTILINE):
        tests = row.split("|")[3]
        assert "::test_" in tests or tests.strip().startswith("none: "), row


def _functions(file: str) -> set[str]:
    path = TESTS / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
