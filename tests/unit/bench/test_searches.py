"""The searches that are measured, and the plain computation of what they must find."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench import gate, plain  # noqa: E402
from bench.clinic import Clinic, bundle  # noqa: E402
from bench.exact import Script, literal  # noqa: E402
from bench.load import Answer  # noqa: E402
from bench.shapes import SETS, Draw  # noqa: E402

from fhirhub.definitions.tables import load  # noqa: E402
from fhirhub.resource.json import parse  # noqa: E402
from fhirhub.validation import Validator  # noqa: E402
from searching import parser  # noqa: E402


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    """Two patients, as if they had been posted."""
    made = Clinic()
    for number in (1, 2):
        entries = json.loads(bundle(number))["entry"]
        made.names[number] = [
            f"{each['resource']['resourceType']}/n{number}-{at}" for at, each in enumerate(entries)
        ]
        made.home.update(dict.fromkeys(made.names[number], number))
    return made


def test_bundles_are_valid() -> None:
    assert Validator(load()).validate(parse(bundle(3))) == []
    assert len(json.loads(bundle(3))["entry"]) == 52


def test_references_are_those_of_the_store(clinic: Clinic) -> None:
    documents = clinic.documents(1)
    assert b"urn:uuid" not in json.dumps(documents).encode()
    visit = next(each for each in documents if each["resourceType"] == "Encounter")
    assert visit["subject"] == {"reference": "Patient/n1-0"}
    assert clinic.of(f"Encounter/{visit['id']}") == visit


@pytest.mark.parametrize("name", SETS)
def test_every_drawn_search_is_understood(clinic: Clinic, name: str) -> None:
    draw = Draw(Random(name), clinic)
    assert len(SETS["search-hs"]) == 24 and len(SETS["search-mh"]) == 30
    for shape in SETS[name].values():
        for _ in range(10):
            path = shape(draw)
            type_, mark, query = path.partition("?")
            if mark:
                parser.parse(type_, parse_qsl(query), bases=("http://here.test/fhir",))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("Patient?identifier=urn:oid:1.2.36.146.595.217.0.1.0|MR-1", 1),
        ("Patient?gender=male,female", 2),
        ("Observation?patient=n1-0", 24),
        ("Observation?patient=n1-0&code=85354-9", 4),
        ("Observation?component-code-value-quantity=8480-6$gt0", 8),
        ("Observation?component-code-value-quantity=8480-6$gt500", 0),
        ("Observation?encounter.participant:Practitioner.name:contains=a&patient=n9", 0),
        ("Patient?_has:Observation:patient:code=72514-3", 2),
        ("Condition?code:not=1", 8),
        ("Observation?encounter:missing=true", 0),
        ("Observation?_content=pain sev", 8),
        ("Observation?_content=pain blood", 0),
    ],
)
def test_what_must_be_found(clinic: Clinic, path: str, found: int) -> None:
    question = gate.Question("x", path)
    gate.answer_all(clinic, [question])
    assert len(question.expected) == found


def told(clinic: Clinic, found: list[dict[str, Any]], total: int) -> dict[str, str]:
    """What the gate says of an answer to ``Condition?patient=n1-0&_count=2``."""
    question = gate.Question("conditions", "Condition?patient=n1-0&_count=2")
    gate.answer_all(clinic, [question])
    wrong: dict[str, str] = {}
    asking = gate._checker(clinic, [question], wrong)
    next(asking)
    entries = [{"resource": each, "search": {"mode": "match"}} for each in found]
    with suppress(StopIteration):
        asking.send(Answer(200, b"", json.dumps({"total": total}).encode()))
        asking.send(Answer(200, b"", json.dumps({"entry": entries}).encode()))
    return wrong


def test_the_gate_lets_nothing_wrong_pass(clinic: Clinic) -> None:
    own = [each for each in clinic.documents(1) if each["resourceType"] == "Condition"]
    other = next(each for each in clinic.documents(2) if each["resourceType"] == "Condition")
    assert told(clinic, own[:2], 4) == {}
    assert "3 hits instead of 4" in told(clinic, own[:2], 3)["conditions"]
    assert "1 on the first page" in told(clinic, own[:1], 4)["conditions"]
    assert "2 on the first page" in told(clinic, [own[0], own[0]], 4)["conditions"]
    assert "must not be found" in told(clinic, [own[0], other], 4)["conditions"]
    assert "body" in told(clinic, [own[0], {**own[1], "recordedDate": "1999"}], 4)["conditions"]


def test_a_search_becomes_a_script() -> None:
    script = Script([("select $1::bigint[],\n  $2 from x where a = $1", ([1, 2], "b")), ("select 1", ())])
    text, variables = script.text(7)
    assert text == "select :v7_0_1::bigint[], :v7_0_2 from x where a = :v7_0_1;\nselect 1;\n"
    assert variables == {"v7_0_1": "{1,2}", "v7_0_2": "b"}
    assert literal(['a"b', None, True]) == '{"a\\"b",null,t}'


def test_parameters_of_the_answer_select_nothing() -> None:
    assert plain.criteria("Patient?family=a&_count=5&_sort=-date&_include=x") == (("family", "a"),)
