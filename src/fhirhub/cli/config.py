"""``fhirhub config show``."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from fhirhub.cli.common import JSON, answer, settings
from fhirhub.settings import describe

app = typer.Typer(no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the effective settings."""


@app.command()
def show(as_json: bool = JSON) -> None:
    """Every setting with its value and where that comes from; secrets are masked."""
    loaded = settings()
    rows = describe(loaded)
    if as_json:
        answer({"settings": rows, "warnings": list(loaded.warnings)}, "", True)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("Variable", "Value", "From", "What it is"):
        table.add_column(title, overflow="fold")
    for row in rows:
        value = "" if row["value"] is None else row["value"]
        table.add_row(row["name"], value, row["origin"], row["about"])
    Console().print(table)
