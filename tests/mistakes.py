"""The corpus of deliberate mistakes, ``cases/mistakes.json``.

A case changes one of the good documents under ``bases``: ``set`` (with ``value``) or ``remove`` name a place
in it, ``replace`` is a whole document. ``at`` and ``code`` are the expressions and codes of all issues, in
order; ``says`` is a part of the first issue's text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fhirhub.resource import json

# NUL is refused when a document is read; here it is let in, because the validator has its own rule.
_TEXT = (Path(__file__).parent / "cases" / "mistakes.json").read_bytes().replace(rb"\u0000", rb"\u0002")
CORPUS = json.parse(_TEXT)
BASES: dict[str, Any] = CORPUS["bases"]
CASES: list[dict[str, Any]] = CORPUS["cases"]
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def document_of(case: dict[str, Any]) -> dict[str, Any]:
    """The faulty document that ``case`` describes."""
    if "replace" in case:
        return case["replace"]
    document = json.copy(BASES[case["base"]])
    path = case["set"] if "set" in case else case["remove"]
    steps: list[Any] = [int(index) if index else name for name, index in _STEP.findall(path)] or [""]
    holder = document
    for step in steps[:-1]:
        holder = holder[step]
    if "set" in case:
        holder[steps[-1]] = case["value"]
    else:
        del holder[steps[-1]]
    return document
