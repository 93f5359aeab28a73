"""Statements kept by outline find what statements made for the one search find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

import fhirhub.store.templates as templates_module
from fhirhub.search.predicate import And, Keys, Not, Or
from fhirhub.store.store import Store
from property.rig import Rig
from searching import definitions

PATIENTS, CODES = 4, ("1-1", "2-2", "3-3", "4-4")


FAMILY = ("Anders", "Anderson", "X" * 300, "\ue000\ue000")


def observation(number: int) -> dict[str, Any]:
    codes = [CODES[number % 4]] + ([CODES[(number + 1) % 4]] if number % 3 == 0 else [])
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": ("final", "amended")[number % 5 == 0],
        "code": {"coding": [{"system": f"http://codes.test/{number % 2}", "code": code} for code in codes]},
        "subject": {"reference": f"Patient/p{number % PATIENTS}"},
        "effectiveDateTime": f"20{10 + number % 7}-0{1 + number % 9}-01",
    } | ({"encounter": {"reference": f"Encounter/e{number % 3}"}} if number % 4 else {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    store = await Store.open(dsn, definitions, connections=4)
    made = Rig(store)
    for number in range(PATIENTS):
        gender = ("male", "female")[number % 2]
        name = [{"family": FAMILY[number], "given": ["Ann", "Bo"][: 1 + number % 2]}]
        await made.put({"resourceType": "Patient", "id": f"p{number}", "gender": gender, "name": name})
    for number in range(3):
        subject = {"reference": f"Patient/p{number}"}
        document = {
            "resourceType": "Encounter",
            "id": f"e{number}",
            "status": "finished",
            "class": {"code": "AMB"},
        }
        await made.put({**document, "subject": subject})
    for number in range(40):
        await made.put(observation(number))
    yield made
    await store.close()


PATIENT = [f"p{number}" for number in range(PATIENTS)]
FAMILIES: dict[str, tuple[str, list[list[tuple[str, str]]]]] = {
    "patient": ("Observation", [[("patient", each)] for each in PATIENT]),
    "code": ("Observation", [[("code", each)] for each in CODES]),
    "coding": ("Observation", [[("code", f"http://codes.test/{n}|{CODES[n]}")] for n in (0, 1)]),
    "both": (
        "Observation",
        [[("patient", p), ("code", c), ("_sort", "-date")] for p in PATIENT for c in CODES],
    ),
    "either": (
        "Observation",
        [[("code", f"{a},{b}"), ("_sort", "date")] for a in CODES for b in CODES if a < b],
    ),
    "not": ("Observation", [[("patient", p), ("code:not", c)] for p in PATIENT for c in CODES]),
    "status": (
        "Observation",
        [[("status", each), ("_sort", "_lastUpdated")] for each in ("final", "amended")],
    ),
    "gathered": ("Observation", [[("code", each), ("_sort", "status,-date")] for each in CODES]),
    "missing": (
        "Observation",
        [[("patient", p), ("encounter:missing", m)] for p in PATIENT for m in ("true", "false")],
    ),
    "chain": ("Observation", [[("patient.gender", each), ("code", CODES[0])] for each in ("male", "female")]),
    "_has": ("Patient", [[("_has:Observation:patient:code", each)] for each in CODES]),
    "total": (
        "Observation",
        [[("code", c), ("patient", p), ("_total", "accurate")] for c in CODES for p in PATIENT],
    ),
    "now and then a total": (
        "Observation",
        [[("code", c), *more] for c in CODES for more in ([], [("_total", "accurate")])],
    ),
    "name": (
        "Patient",
        [[("family", each)] for each in ("a", "x", "and", "anders", "anderson", "X" * 300, "\ue000")],
    ),
    "names": ("Patient", [[("family", f), ("given", g)] for f in ("an", "xx") for g in ("an", "bo")]),
    "begins or holds": (
        "Patient",
        [[("family" + modifier, text)] for text in ("nd", "an", "xx") for modifier in ("", ":contains")],
    ),
    "chained name": (
        "Observation",
        [[("patient.family", f), ("patient.given", "a")] for f in ("and", "bnd", "x" * 9)],
    ),
    "many": ("Observation", [[("patient", ",".join(PATIENT[:n])), ("_count", "50")] for n in (1, 2, 3, 4)]),
    "all": ("Observation", [[("_count", str(n))] for n in (5, 5, 9)]),
    "include": ("Observation", [[("patient", p), ("_include", "Observation:encounter")] for p in PATIENT]),
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_kept_statement_finds_what_its_own_would(
    rig: Rig, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_, queries = FAMILIES[family]
    expected = []
    with monkeypatch.context() as patched:
        patched.setattr(templates_module, "CAPACITY", 0)
        for pairs in queries:
            expected.append(await outcome(rig, type_, pairs))
    searcher = rig.store.searcher
    before = len(searcher.templates)
    found = [await outcome(rig, type_, pairs) for pairs in (*queries, *queries)]
    assert found == expected * 2
    assert any(each[0] for each in expected)
    made = len(searcher.templates) - before
    assert 0 <= made < len(queries) or family == "many"
    if family == "begins or holds":
        return  # with trigrams, what is inside is looked up, and its statement made anew
    with monkeypatch.context() as patched:
        patched.setattr(type(searcher), "statement", None)
        assert [await outcome(rig, type_, pairs) for pairs in queries] == expected


async def outcome(
    rig: Rig, type_: str, pairs: list[tuple[str, str]]
) -> tuple[list[str], list[str], int | None]:
    """(ids in order, ids of what is included, total)."""
    page = await rig.store.search(rig.request(type_, pairs))
    return [each.id for each in page.matches], sorted(each.id for each in page.included), page.total


async def test_conditions_that_rules_add_are_part_of_the_outline(rig: Rig) -> None:
    request = rig.request("Observation", [("patient", "p0")])
    final = rig.parser.criterion("Observation", "status", "final")
    amended = rig.parser.criterion("Observation", "status", "amended")
    assert isinstance(final, Keys)
    everything = set((await outcome(rig, "Observation", [("patient", "p0")]))[0])
    seen = []
    for rule in (final, Not(final), amended, Or((final, amended)), Not(Or((final, amended)))):
        page = await rig.store.search(replace(request, where=And((rule, request.where))))
        seen.append({each.id for each in page.matches})
    assert seen[0] | seen[1] == everything and not seen[0] & seen[1] and seen[0] and seen[1]
    assert seen[2] == seen[1] and seen[3] == everything and not seen[4]


async def test_new_statistics_make_new_statements(rig: Rig) -> None:
    await outcome(rig, "Observation", [("patient", "p0")])
    assert len(rig.store.searcher.templates)
    rig.store.statistics.total += 1
    await outcome(rig, "Patient", [("_has:Observation:patient:status", "final")])
    assert len(rig.store.searcher.templates) == 1
