"""Every deliberate mistake of ``tests/cases/mistakes.json`` is refused, at the right place, for the right
reason."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.definitions import tables
from fhirhub.resource import json
from fhirhub.validation import Validator
from mistakes import BASES, CASES, document_of


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
