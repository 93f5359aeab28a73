"""Date searches against the tables of https://hl7.org/fhir/R4/search.html#prefix and #date."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import BadRequest
from fhirhub.search.parameters.date import interval
from fhirhub.search.rows import MAX_DATE, MIN_DATE, range_key
from searching import definitions, finds, rows, search

DAY = 86_400_000_000


def observation(**effective: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "x", **effective}


def at(moment: str) -> dict[str, Any]:
    return observation(effectiveDateTime=moment)


def during(start: str | None = None, end: str | None = None) -> dict[str, Any]:
    ends = {"start": start, "end": end}
    return observation(effectivePeriod={name: value for name, value in ends.items() if value})


FROM_21_JAN = during("2013-01-21")
FROM_15_MAR = during("2013-03-15")
UNTIL_21_JAN = during(None, "2013-01-21")

# The rows of the specification's own table, in its order.
SPECIFICATION = [
    ("eq2013-01-14", at("2013-01-14T00:00:00Z"), True),
    ("eq2013-01-14", at("2013-01-14T10:00:00Z"), True),
    ("eq2013-01-14", at("2013-01-15T00:00:00Z"), False),
    ("ne2013-01-14", at("2013-01-15T00:00:00Z"), True),
    ("ne2013-01-14", at("2013-01-14T00:00:00Z"), False),
    ("ne2013-01-14", at("2013-01-14T10:00:00Z"), False),
    ("lt2013-01-14T10:00", at("2013-01-14"), True),
    ("gt2013-01-14T10:00", at("2013-01-14"), True),
    ("ge2013-03-14", FROM_21_JAN, True),
    ("le2013-03-14", FROM_21_JAN, True),
    ("sa2013-03-14", FROM_15_MAR, True),
    ("sa2013-03-14", FROM_21_JAN, False),
    ("sa2013-03-14", UNTIL_21_JAN, False),
    ("eb2013-03-14", FROM_15_MAR, False),
    ("eb2013-03-14", FROM_21_JAN, False),
    ("eb2013-03-14", UNTIL_21_JAN, True),
    ("ap2013-03-14", at("2013-03-14"), True),
    ("ap2013-03-14", at("2013-01-21"), True),
    ("ap2013-03-14", at("2015-06-15"), False),
]

# The edges of a day, to the microsecond, worked out from "contains", "above", "below" and "overlaps".
EDGES = [
    ("2013-01-14", at("2013-01-13T23:59:59.999999Z"), "ne lt le eb"),
    ("2013-01-14", at("2013-01-14T00:00:00Z"), "eq ge le"),
    ("2013-01-14", at("2013-01-14"), "eq ge le"),
    ("2013-01-14", at("2013-01-14T23:59:59Z"), "eq ge le"),
    ("2013-01-14", at("2013-01-15T00:00:00.000Z"), "ne gt ge sa"),
    ("2013-01-14", at("2013-01"), "ne lt gt le ge"),
    ("2013-01-14", at("2013"), "ne lt gt le ge"),
    ("2013-01", at("2013-01-31T23:59:59Z"), "eq ge le"),
    ("2013-01", at("2013-02-01T00:00:00Z"), "ne gt ge sa"),
    ("2013", at("2013-12-31"), "eq ge le"),
    ("2013", at("2014"), "ne gt ge sa"),
    ("2012-02", at("2012-02-29"), "eq ge le"),
    # a period that begins before the day and ends on it reaches below but not above
    ("2013-01-14", during("2013-01-01", "2013-01-14"), "ne lt le"),
    ("2013-01-14", during("2013-01-14", "2013-01-20"), "ne gt ge"),
    ("2013-01-14", during("2013-01-01", "2013-01-20"), "ne lt gt le ge"),
    ("2013-01-14", during("2013-01-14", "2013-01-14"), "eq ge le"),
    ("2013-01-14", during("2013-01-14"), "ne gt ge"),
    ("2013-01-14", during(None, "2013-01-14"), "ne lt le"),
    ("2013-01-14", during("2013-01-15"), "ne gt ge sa"),
    ("2013-01-14", during(None, "2013-01-13"), "ne lt le eb"),
    # zones: 2013-01-14T23:30-05:00 is the 15th in UTC
    ("2013-01-14", at("2013-01-14T23:30:00-05:00"), "ne gt ge sa"),
    ("2013-01-15", at("2013-01-14T23:30:00-05:00"), "eq ge le"),
    ("2013-01-15T04:30:00Z", at("2013-01-14T23:30:00-05:00"), "eq ge le"),
    ("2013-01-15T10:00:00+05:30", at("2013-01-15T04:30:00Z"), "eq ge le"),
    ("2013-01-15T10:00:00 05:30", at("2013-01-15T04:30:00Z"), "eq ge le"),
    # precision: a minute and a second contain what is written more finely
    ("2013-01-15T10:00", at("2013-01-15T10:00:59.999Z"), "eq ge le"),
    ("2013-01-15T10:00:00Z", at("2013-01-15T10:00:00.5Z"), "eq ge le"),
    ("2013-01-15T10:00:00.5Z", at("2013-01-15T10:00:00Z"), "ne lt gt le ge"),
    ("2013-01-15T10:00:00.500Z", at("2013-01-15T10:00:00.5009Z"), "eq ge le"),
]


@pytest.mark.parametrize(("value", "document", "expected"), SPECIFICATION)
def test_the_table_of_the_specification(value: str, document: dict[str, Any], expected: bool) -> None:
    assert finds(f"Observation?date={value}", document) is expected


@pytest.mark.parametrize(("value", "document", "prefixes"), EDGES)
def test_every_prefix_at_the_edges(value: str, document: dict[str, Any], prefixes: str) -> None:
    every = ("eq", "ne", "lt", "gt", "le", "ge", "sa", "eb")
    found = {prefix for prefix in every if finds(f"Observation?date={prefix}{value}", document)}
    assert found == set(prefixes.split())
    assert finds(f"Observation?date={value}", document) is ("eq" in found)


def test_approximately_is_a_tenth_of_the_distance_from_now() -> None:
    # now is 2023-11-14: 2013-11-16 is ten years off, so a year on either side counts
    assert finds("Observation?date=ap2013-11-16", at("2012-12-01"))
    assert finds("Observation?date=ap2013-11-16", at("2014-11-01"))
    assert not finds("Observation?date=ap2013-11-16", at("2012-10-01"))
    assert not finds("Observation?date=ap2013-11-16", at("2015-01-01"))


def test_intervals() -> None:
    assert interval("1970") == (0, 365 * DAY - 1)
    assert interval("1970-02") == (31 * DAY, 59 * DAY - 1)
    assert interval("1970-01-02") == (DAY, 2 * DAY - 1)
    assert interval("1970-01-01T00:00:01Z") == (1_000_000, 1_999_999)
    assert interval("1970-01-01T00:00:01.5Z") == (1_500_000, 1_599_999)
    assert interval("1970-01-01T00:00:01.1234567Z") == (1_123_456, 1_123_456)
    assert interval("1970-01-01T00:00:01") == (1_000_000, 1_999_999)
    assert interval("1970-01-01T01:00:00+01:00") == (0, 999_999)
    assert interval("2016-12-31T23:59:60Z")[0] == interval("2017-01-01T00:00:00Z")[0]
    assert interval("0001-01-01T00:00:00+14:00") < interval("0001")
    assert interval("9999-12-31")[1] == interval("9999")[1] == interval("9999-12")[1]


def test_what_is_indexed() -> None:
    key = range_key(definitions.search_parameters("Observation")["date"].pid)
    assert rows(during()).dates == set()
    assert rows(during("1970-01-02")).dates == {(key, DAY, MAX_DATE)}
    assert rows(during(None, "1970-01-01")).dates == {(key, MIN_DATE, DAY - 1)}
    timing = {
        "event": ["1970-01-02", "1970-01-05"],
        "repeat": {"boundsPeriod": {"start": "1970-01-03", "end": "1970-01-09"}},
    }
    assert rows(observation(effectiveTiming=timing)).dates == {(key, DAY, 9 * DAY - 1)}
    assert rows(observation(effectiveTiming={"code": {"text": "BID"}})).dates == set()


def test_the_main_date() -> None:
    assert rows(at("1970-01-02T00:00:00Z")).date == DAY
    assert rows(observation()).date == MIN_DATE
    assert rows(observation(effectiveDateTime="1970-01-02", valueDateTime="1969")).date == DAY
    assert rows(during(None, "1970-01-02")).date == MIN_DATE


def test_values_are_alternatives_and_repetition_narrows() -> None:
    assert finds("Observation?date=2012,2013", at("2013-05"))
    assert finds("Observation?date=ge2013-01-01&date=lt2014", at("2013-05"))
    assert not finds("Observation?date=ge2013-01-01&date=lt2013-05", at("2013-05-01"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "2013-1",
        "2013-13",
        "2013-02-30",
        "20130114",
        "2013-W03",
        "13",
        "2013-01-14T10",
        "2013-01-14T25:00",
        "2013-01-14T10:00+25:00",
        "eq",
        "xx2013",
        "2013-01-14 10:00",
        "2013/01/14",
        "-2013",
        "0000",
        "٢٠١٣",
        "2013-01-14T10:00:00.Z",
        "ne ne2013",
    ],
)
def test_what_is_no_date_is_refused(value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        search(f"Observation?date={value}")
    assert caught.value.issues[0].expression == "Observation?date"


def test_last_updated_is_a_moment() -> None:
    patient = {"resourceType": "Patient", "id": "x"}
    noon = interval("2020-06-01T12:00:00.000Z")[0]
    for value, expected in [
        ("2020-06-01", True), ("ne2020-06-01", False), ("ge2020-06-01", True), ("le2020-06-01", True),
        ("gt2020-06-01", False), ("lt2020-06-01", False), ("gt2020-06-01T11:59", True), ("sa2020-05", True),
        ("eb2020-06-02", True), ("ge2020-06-01T12:00:00.001Z", False), ("le2020-06-01T11:59:59Z", False),
        ("ap2020-06-05", True),
    ]:  # fmt: skip
        assert finds(f"Patient?_lastUpdated={value}", patient, noon) is expected, value
