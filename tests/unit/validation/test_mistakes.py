"""Every deliberate mistake of ``tests/cases/mistakes.json`` is refused, at the right place, for the right
reason.

A case changes one of the good documents under ``bases``: ``set`` (with ``value``) or ``remove`` name a place
in it, ``replace`` is a whole document. ``at`` and ``code`` are the expressions and codes of all issues, in
order; ``says`` is a part of the first issue's text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fhirhub.definitions import tables
from fhirhub.resource import json
from fhirhub.validation import Validator

# NUL is refused when a document is read; here it is let in, because the validator has its own rule.
_TEXT = (Path(__file__).parents[2] / "cases" / "mistakes.json").read_bytes().replace(rb"\u0000", rb"\u0002")
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


def name_of(case: dict[str, Any]) -> str:
    """A short name for the test report."""
    if "replace" in case:
        return f"{case['base']} with several"
    value = json.dumps(case["value"])[:30].decode(errors="replace") if "set" in case else "removed"
    return f"{case['base']}.{case.get('set', case.get('remove'))}={value}"


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(tables.load())


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("name", BASES)
def test_bases_are_good(validator: Validator, name: str) -> None:
    assert validator.validate(BASES[name]) == []


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_mistake_is_refused_where_it_is(validator: Validator, case: dict[str, Any]) -> None:
    issues = validator.validate(document_of(case))
    at, code = case["at"], case["code"]
    assert [issue.expression for issue in issues] == (at if isinstance(at, list) else [at])
    assert [issue.code for issue in issues] == (code if isinstance(code, list) else [code])
    assert case.get("says", "") in issues[0].text
    assert all(issue.severity == "error" and len(issue.text) < 600 for issue in issues)
