"""What the commands share: their settings, and answers for people or programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import typer

from fhirhub import logs
from fhirhub.settings import Loaded, load

JSON = typer.Option(False, "--json", help="Answer in JSON, for programs.")


def settings() -> Loaded:
    """The settings of the environment; warnings about them go to stderr."""
    loaded = load()
    for text in loaded.warnings:
        sys.stderr.write(f"fhirhub: warning: {text}\n")
    logs.configure(loaded.settings.log_level, loaded.settings.log_format)
    return loaded


def answer(value: Any, text: str, as_json: bool) -> None:
    """Print ``value`` as one line of JSON, or ``text``."""
    sys.stdout.write((json.dumps(value, default=str) if as_json else text) + "\n")
    sys.stdout.flush()


def cut_off(cut: Mapping[str, int], nothing: str = "nothing was open") -> str:
    """What ended, for people: ``2 grants, 3 tokens``."""
    return ", ".join(f"{count} {what}" for what, count in cut.items() if count) or nothing
