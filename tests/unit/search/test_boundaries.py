"""Where searches by date, number and quantity begin and end, worked out by hand from the text of the specification.

eq: the search value's range fully contains that of the target, ne: it does not; gt and lt: what lies above or below
the search value overlaps the target; ge and le: that, or eq; sa and eb: the target lies wholly above or below.
A date lasts as long as it is precise, a number reaches half a unit of its last digit to either side (for gt, lt, ge,
le, sa and eb it is exact). https://hl7.org/fhir/R4/search.html#prefix, #date, #number, #quantity
"""

from __future__ import annotations

from typing import Any

import pytest

from searching import finds

EVERY = ("eq", "ne", "lt", "gt", "le", "ge", "sa", "eb")
WITHIN, AFTER, BEFORE = "eq ge le", "ne gt ge sa", "ne lt le eb"
AROUND, INTO, OUT_OF = "ne lt gt le ge", "ne lt le", "ne gt ge"
"""The target lies within the search value, after it, before it, around it, reaches into it from below, out of it above."""

UCUM = "http://unitsofmeasure.org"


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "x", **more}


def at(moment: str) -> dict[str, Any]:
    return observation(effectiveDateTime=moment)


def instant(moment: str) -> dict[str, Any]:
    return observation(effectiveInstant=moment)


def during(start: str | None, end: str | None) -> dict[str, Any]:
    ends = {"start": start, "end": end}
    return observation(effectivePeriod={name: value for name, value in ends.items() if value})


def events(*moments: str) -> dict[str, Any]:
    return observation(effectiveTiming={"event": list(moments)})


def quantity(value: float, comparator: str = "", code: str = "mg") -> dict[str, Any]:
    more = {"comparator": comparator} if comparator else {}
    return observation(valueQuantity={"value": value, "system": UCUM, "code": code, **more})


def sampled(data: str, origin: float = 100, factor: float = 2) -> dict[str, Any]:
    made = {"origin": {"value": origin}, "factor": factor, "period": 1, "dimensions": 1, "data": data}
    return observation(valueSampledData=made)


def risk(low: float | None, high: float | None) -> dict[str, Any]:
    ends = {name: {"value": value} for name, value in (("low", low), ("high", high)) if value is not None}
    return {"resourceType": "RiskAssessment", "id": "x", "prediction": [{"probabilityRange": ends}]}


def chance(value: float) -> dict[str, Any]:
    return {"resourceType": "RiskAssessment", "id": "x", "prediction": [{"probabilityDecimal": value}]}


DATES = [
    # a year
    ("2020", at("2020-01-01T00:00:00Z"), WITHIN),
    ("2020", at("2019-12-31T23:59:59.999Z"), BEFORE),
    ("2020", at("2020-12-31T23:59:59.999Z"), WITHIN),
    ("2020", at("2021-01-01T00:00:00.000Z"), AFTER),
    ("2020", at("2020"), WITHIN),
    ("2020", during("2020", "2020"), WITHIN),
    ("2020", during("2020-06", "2021-06"), OUT_OF),
    ("2020", during("2019-06", "2020-06"), INTO),
    ("2020", during("2019", "2021"), AROUND),
    ("2020", during("2020", None), OUT_OF),
    ("2020", during(None, "2020"), INTO),
    ("2020", during("2021", None), AFTER),
    ("2020", during(None, "2019"), BEFORE),
    ("2020", during("2020", "2020-06-15"), WITHIN),
    # a month, and the end of February
    ("2020-02", at("2020-02-29T23:59:59.999Z"), WITHIN),
    ("2020-02", at("2020-03-01T00:00:00Z"), AFTER),
    ("2019-02", at("2019-03-01"), AFTER),
    ("2019-02", at("2019-02-28T23:59:59Z"), WITHIN),
    ("2020-02", at("2020-01-31T23:59:59Z"), BEFORE),
    ("2020-02", at("2020"), AROUND),
    ("2020-02", during("2020-02-01", "2020-02-29"), WITHIN),
    ("2020-02", during("2020-01-31", "2020-02-29"), INTO),
    ("2020-02", during("2020-02-29", "2020-03-01"), OUT_OF),
    ("2020-06", during("2020", "2020-06-15"), INTO),
    ("2020-12", at("2021-01"), AFTER),
    # a day, and where it is another one
    ("2020-02-29", at("2020-02-29T12:00:00+12:00"), WITHIN),
    ("2020-02-29", at("2020-02-29T11:59:59+12:00"), BEFORE),
    ("2020-12-31", at("2021-01-01T00:30:00+01:00"), WITHIN),
    ("2020", at("2021-01-01T00:30:00+01:00"), WITHIN),
    ("2020", at("2020-12-31T23:30:00-01:00"), AFTER),
    ("2020-02-29", during("2020-02-28T23:59:59Z", "2020-02-29T00:00:00Z"), INTO),
    ("2020-02-29", during("2020-02-29T23:59:59Z", "2020-03-01T00:00:00Z"), OUT_OF),
    ("2020-02-29", during("2020-02-29T00:00:00Z", "2020-02-29T23:59:59Z"), WITHIN),
    # a minute
    ("2020-06-01T10:00Z", at("2020-06-01T10:00:59Z"), WITHIN),
    ("2020-06-01T10:00Z", at("2020-06-01T10:01:00Z"), AFTER),
    ("2020-06-01T10:00Z", at("2020-06-01T09:59:59Z"), BEFORE),
    ("2020-06-01T10:00Z", at("2020-06-01"), AROUND),
    ("2020-06-01T10:00+02:00", at("2020-06-01T08:00:30Z"), WITHIN),
    ("2020-06-01T10:00-02:00", at("2020-06-01T08:00:30Z"), BEFORE),
    # a second
    ("2020-06-01T10:00:00Z", instant("2020-06-01T10:00:00.999Z"), WITHIN),
    ("2020-06-01T10:00:00Z", instant("2020-06-01T10:00:01.000Z"), AFTER),
    ("2020-06-01T10:00:00Z", instant("2020-06-01T09:59:59.999Z"), BEFORE),
    ("2020-06-01T10:00:00Z", during("2020-06-01T10:00:00Z", "2020-06-01T10:00:00Z"), WITHIN),
    ("2020-06-01T10:00:00Z", during("2020-06-01T10:00:00Z", "2020-06-01T10:00:01Z"), OUT_OF),
    # a part of one
    ("2020-06-01T10:00:00.000Z", instant("2020-06-01T10:00:00.000Z"), WITHIN),
    ("2020-06-01T10:00:00.000Z", at("2020-06-01T10:00:00Z"), OUT_OF),
    ("2020-06-01T10:00:00.000Z", instant("2020-06-01T10:00:00.001Z"), AFTER),
    ("2020-06-01T10:00:00.0Z", instant("2020-06-01T10:00:00.099Z"), WITHIN),
    ("2020-06-01T10:00:00.0Z", instant("2020-06-01T10:00:00.100Z"), AFTER),
    # of a Timing, the outer limits count
    ("2020-01", events("2020-01-10", "2020-01-20"), WITHIN),
    ("2020-01-15", events("2020-01-10", "2020-01-20"), AROUND),
    ("2020-01-10", events("2020-01-10", "2020-01-20"), OUT_OF),
    ("2020-01-20", events("2020-01-10", "2020-01-20"), INTO),
    ("2020-01-21", events("2020-01-10", "2020-01-20"), BEFORE),
]

NUMBERS = [
    ("1000", chance(1000.4), "eq gt ge sa"),
    ("1000", chance(999.5), "eq lt le eb"),
    ("1000", chance(1000.5), AFTER),
    ("1e3", chance(1049), "eq gt ge sa"),
    ("1e3", chance(950), "eq lt le eb"),
    ("1e3", chance(1050), AFTER),
    ("1e3", chance(949), BEFORE),
    ("5e-1", chance(0.504), "eq gt ge sa"),
    ("5e-1", chance(0.505), AFTER),
    ("0.0", chance(0.04), "eq gt ge sa"),
    ("0.0", chance(0.05), AFTER),
    ("0.0", chance(-0.05), "eq lt le eb"),
    ("-0.5", chance(-0.5), WITHIN),
    ("-100", chance(-100.4), "eq lt le eb"),
    ("-100", chance(-99.6), "eq gt ge sa"),
    ("-100", chance(-101), BEFORE),
    # a Range: both of its ends count
    ("100", risk(100, 100), WITHIN),
    ("100", risk(100, None), OUT_OF),
    ("100", risk(None, 100), INTO),
    ("100.00", risk(99.995, 100.004), "eq lt gt le ge"),
    ("100.00", risk(99.99, 100.004), AROUND),
    ("1e2", risk(95, 104), "eq lt gt le ge"),
    ("1e2", risk(94, 104), AROUND),
    ("1e2", risk(110, None), AFTER),
    ("1e2", risk(None, 90), BEFORE),
    ("-0.5", risk(-1, 0), AROUND),
]

QUANTITIES = [
    # what is below 5 may lie on either side of 4; all of it lies below 6
    ("4", quantity(5, "<"), AROUND),
    ("6", quantity(5, "<"), BEFORE),
    ("5", quantity(5, "<"), BEFORE),
    ("5", quantity(5, "<="), INTO),
    ("4.9", quantity(5, ">="), AFTER),
    ("5", quantity(5, ">="), OUT_OF),
    ("5", quantity(5, ">"), AFTER),
    ("4", quantity(5, ">"), AFTER),
    ("6", quantity(5, ">"), AROUND),
    # from the lowest sample to the highest, 90 to 120
    ("89", sampled("-5 0 E 10"), AFTER),
    ("90", sampled("-5 0 E 10"), OUT_OF),
    ("100", sampled("-5 0 E 10"), AROUND),
    ("1e2", sampled("-5 0 E 10"), AROUND),
    ("120", sampled("-5 0 E 10"), INTO),
    ("121", sampled("-5 0 E 10"), BEFORE),
    ("100", sampled("0 0 0"), WITHIN),
    # another unit of the same kind; the half unit is that of the search value
    (f"2|{UCUM}|g", quantity(2000), WITHIN),
    (f"2|{UCUM}|g", quantity(2400), "eq gt ge sa"),
    (f"2|{UCUM}|g", quantity(2500), AFTER),
    (f"2.00|{UCUM}|g", quantity(2004), "eq gt ge sa"),
    (f"2.00|{UCUM}|g", quantity(2005), AFTER),
    (f"2000|{UCUM}|mg", quantity(2, code="g"), WITHIN),
    # and one of another kind is not comparable at all
    (f"2|{UCUM}|m", quantity(2000), ""),
]


@pytest.mark.parametrize(("value", "document", "prefixes"), DATES)
def test_dates(value: str, document: dict[str, Any], prefixes: str) -> None:
    assert found("Observation?date", value, document) == set(prefixes.split())


@pytest.mark.parametrize(("value", "document", "prefixes"), NUMBERS)
def test_numbers(value: str, document: dict[str, Any], prefixes: str) -> None:
    assert found("RiskAssessment?probability", value, document) == set(prefixes.split())


@pytest.mark.parametrize(("value", "document", "prefixes"), QUANTITIES)
def test_quantities(value: str, document: dict[str, Any], prefixes: str) -> None:
    assert found("Observation?value-quantity", value, document) == set(prefixes.split())


def found(parameter: str, value: str, document: dict[str, Any]) -> set[str]:
    """The prefixes with which the search value finds the document; none is as good as eq."""
    prefixes = {prefix for prefix in EVERY if finds(f"{parameter}={prefix}{value}", document)}
    assert finds(f"{parameter}={value}", document) is ("eq" in prefixes)
    return prefixes
