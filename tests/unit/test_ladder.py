"""The house's own rules, held over the syntax trees: the import ladder, sizes, no late imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fhirhub

ROOT = Path(fhirhub.__file__).parent
RUNGS = [
    {"errors", "exchange", "settings", "packaged", "logs", "keys"},
    {"definitions"},
    {"fhirpath"},
    {"resource"},
    {"capability"},
    {"search"},
    {"auth", "validation"},
    {"store"},
    {"view"},
    {"hub"},
    {"interactions"},
    {"operations"},
    {"http", "smart", "jobs"},
    {"pages"},
    {"bridges", "consents"},
    {"gatehouse", "site"},
    {"app", "cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(RUNGS) for room in rooms}
SAME_RUNG = {("app", "cli"), ("cli", "app"), ("__main__", "cli")}
"""Pairs that share a rung and may import each other's modules without a cycle: the entry points."""
MODULES = sorted(path for path in ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "fhirhub":
                yield from (f"fhirhub.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_go_down_the_ladder(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    assert room in LEVEL, f"{room} has no rung"
    for name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] != "fhirhub" or len(parts) < 2 or parts[1] not in LEVEL or parts[1] == room:
            continue
        below = LEVEL[parts[1]] < LEVEL[room] or (room, parts[1]) in SAME_RUNG
        # The rung of plain values: they know each other.
        below = below or LEVEL[parts[1]] == LEVEL[room] == 0
        assert below, f"{path.relative_to(ROOT)} imports {name}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_imports_inside_functions(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late = [n.lineno for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not late, f"{path.relative_to(ROOT)} imports inside a function, line {late}"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500, f"{path.relative_to(ROOT)} is too long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 60, f"{node.name} in {path.relative_to(ROOT)} has {lines} lines"


def test_only_settings_reads_the_environment() -> None:
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        reads = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        ]
        # Those that hand the environment on to a process they start.
        if path.name not in ("settings.py", "supervisor.py", "migrate.py"):
            assert not reads, f"{path.relative_to(ROOT)} reads the environment, line {reads}"
