"""The documentation says what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

from fhirhub.cli.root import COMMANDS
from fhirhub.settings import describe, load
from unit.test_ladder import LEVEL

ROOT = Path(__file__).parents[2]
PAGES = [
    str(path.relative_to(ROOT))
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
]


def settings_table() -> str:
    rows = ["| Variable | Default | What it is |", "|---|---|---|"]
    for row in describe(load({})):
        default = f"`{row['default']}`" if row["default"] is not None else "none"
        rows.append(f"| `{row['name']}` | {default} | {row['about']} |")
    return "\n".join(rows) + "\n"


def test_settings_are_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in text, "docs/settings.md should hold this table:\n" + settings_table()


def _anchor(heading: str) -> str:
    """What a heading is linked by: as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.strip().replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{name} links to {target}; headings: {headings}"


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name: str) -> None:
    """``room/file.py`` is below the package, ``folder/…`` below the repository (or below tests, in tables of tests)."""
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", (ROOT / name).read_text(encoding="utf-8")):
        places = (ROOT, ROOT / "src" / "fhirhub", ROOT / "tests")
        if path.endswith((".py", ".sql", ".toml", ".md")) and "NNNN" not in path:
            assert any((place / path).exists() for place in places), f"{name} names {path}"


@pytest.mark.parametrize("name", [*PAGES, "compose.yaml", "Dockerfile", "Makefile"])
def test_settings_that_are_named_exist(name: str) -> None:
    known = {row["name"] for row in describe(load({}))}
    for setting in set(re.findall(r"\bFHIRHUB_[A-Z_]+[A-Z]\b", (ROOT / name).read_text(encoding="utf-8"))):
        if not setting.startswith("FHIRHUB_PROPERTY_"):
            assert setting.removesuffix("_FILE") in known, f"{name} names {setting}"


@pytest.mark.parametrize("name", [name for name in PAGES if name != "docs/settings.md"])
def test_commands_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for line in re.findall(r"\bfhirhub ([a-z]+(?: [a-z]+)?)", "\n".join(_code(text))):
        first, _, second = line.partition(" ")
        assert first in KNOWN, f"{name} names fhirhub {line}"
        group = KNOWN[first]
        if group and second:
            assert second in group, f"{name} names fhirhub {line}"


def _code(text: str) -> list[str]:
    """What a page says in code: between backticks, and indented."""
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ {4}.+$", text, re.MULTILINE)


def _commands() -> dict[str, set[str]]:
    """Command -> its subcommands."""
    found = {}
    for name, (module, _) in COMMANDS.items():
        command = get_command(importlib.import_module(module).app)
        # An app of one command is that command.
        found[name] = set(getattr(command, "commands", ()))
    return found


KNOWN = _commands()


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [room for cell in table for room in re.findall(r"`(\w+)`", cell)]
    assert set(named) == set(LEVEL)
    levels = [LEVEL[room] for room in named]
    assert levels == sorted(levels, reverse=True), "the map is not in the order of the ladder"


def test_ci_runs_the_readme_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
