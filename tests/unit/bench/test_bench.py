"""The arithmetic of the benchmark, and that the records it makes are valid."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench import records, report  # noqa: E402
from bench.load import Answer, Tally, WrongAnswer, expect, id_of, percentile, unchunked  # noqa: E402

from fhirhub.definitions.tables import load  # noqa: E402
from fhirhub.resource.json import parse  # noqa: E402
from fhirhub.validation import Validator  # noqa: E402


def test_percentile_is_a_value_that_the_share_does_not_exceed() -> None:
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile([1.0, 2.0], 0.99) == 2.0
    assert percentile([], 0.5) == 0.0


def test_tally_counts_failures_apart() -> None:
    tally = Tally()
    tally.begin()
    tally.add("read", 200, 0.002)
    tally.add("read", 503, 0.001)
    tally.end()
    assert tally.count == 1 and dict(tally.failures) == {"read 503": 1}
    assert tally.percentile(0.5) == pytest.approx(2.0)


def test_chunks_are_joined() -> None:
    assert unchunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n") == b"abcde"


def test_a_wrong_status_ends_a_run() -> None:
    answer = Answer(201, b"", b'{"resourceType":"Patient","id":"x1","meta":{}}')
    assert id_of(expect(answer, 201)) == "x1"
    with pytest.raises(WrongAnswer):
        expect(answer, 200)


def test_made_bundles_are_valid_and_repeatable() -> None:
    first, again = next(records.bundles(7, 1)), next(records.bundles(7, 1))
    assert first == again
    assert Validator(load()).validate(parse(first)) == []
    assert len(json.loads(first)["entry"]) == 40


def test_the_table_tells_what_was_missed() -> None:
    run = {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"cores": 2, "cpu": "any", "memory_gib": 8, "system": "Linux", "python": "3.11",
                    "commit": "abc", "load_before": [0.1]},
        "postgres": "PostgreSQL 18", "http_server": "uvicorn", "workers": 2, "full": False, "seconds": 9.0,
        "figures": {"start": {"seconds": 1.5}, "memory": {"peak_rss": 90.0, "growth": 0.0}, "read": {"failed": "x"}},
    }  # fmt: skip
    text = report.markdown(run)
    assert "| start to first read | 1.5 s | ≤ 1 | **missed** |" in text
    assert "| worker under load, RSS | 90 MiB | ≤ 150 | met |" in text
    assert "not idle" not in text
