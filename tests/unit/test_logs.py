"""Log lines for machines and people."""

from __future__ import annotations

import json
import logging
import sys

from fhirhub.logs import HumanLines, JsonLines


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "fhirhub.x", "levelno": 30, "levelname": "WARNING", "msg": "lost %s"} | extra
    )
    made.args = ("it",)
    return made


def test_json_lines_carry_extra_fields() -> None:
    line = json.loads(JsonLines().format(record(worker=3)))
    assert (line["event"], line["level"], line["worker"]) == ("lost it", "warning", 3)


def test_a_traceback_stays_on_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        line = JsonLines().format(record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["traceback"]


def test_human_lines_are_short() -> None:
    assert HumanLines().format(record(worker=3)).endswith("warning  lost it  worker=3")
