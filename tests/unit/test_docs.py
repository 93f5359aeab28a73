"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhirhub.settings import describe, load

ROOT = Path(__file__).parents[2]


def settings_table() -> str:
    rows = ["| Variable | Default | What it is |", "|---|---|---|"]
    for row in describe(load({})):
        default = f"`{row['default']}`" if row["default"] is not None else "none"
        rows.append(f"| `{row['name']}` | {default} | {row['about']} |")
    return "\n".join(rows) + "\n"


def test_settings_are_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in text, "docs/settings.md should hold this table:\n" + settings_table()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for part in text.split("](")[1:]:
        target = part.split(")")[0]
        if "://" not in target:
            assert (ROOT / target).exists(), f"{name} names {target}"


def test_ci_runs_the_readme_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
