"""Number and quantity searches against https://hl7.org/fhir/R4/search.html#number and #quantity."""

from __future__ import annotations

from typing import Any

import pytest

from fhirhub.errors import BadRequest
from searching import finds, search

EVERY = ("eq", "ne", "lt", "gt", "le", "ge", "sa", "eb")


def risk(value: str) -> str:
    prediction = '{"probabilityDecimal":' + value + "}"
    return '{"resourceType":"RiskAssessment","id":"x","prediction":[' + prediction + "]}"


def quantity(value: str, **more: Any) -> dict[str, Any]:
    from_text = {"value": float(value), "system": "http://unitsofmeasure.org", "code": "mg"}
    return {"resourceType": "Observation", "id": "x", "valueQuantity": {**from_text, **more}}


def between(low: float | None, high: float | None) -> dict[str, Any]:
    ends = {name: {"value": value} for name, value in (("low", low), ("high", high)) if value is not None}
    return {"resourceType": "RiskAssessment", "id": "x", "prediction": [{"probabilityRange": ends}]}


# (search value, value of the resource, prefixes that find it). The ranges 99.5-100.5, 99.995-100.005 and
# 95-105 are the specification's; with lt, gt, le, ge, sa and eb the search value is exact.
POINTS = [
    ("100", "100", "eq le ge"),
    ("100", "99.5", "eq lt le eb"),
    ("100", "99.49", "ne lt le eb"),
    ("100", "100.49", "eq gt ge sa"),
    ("100", "100.5", "ne gt ge sa"),
    ("100.00", "99.995", "eq lt le eb"),
    ("100.00", "99.99", "ne lt le eb"),
    ("100.00", "100.0049", "eq gt ge sa"),
    ("100.00", "100.005", "ne gt ge sa"),
    ("1e2", "95", "eq lt le eb"),
    ("1e2", "94.9", "ne lt le eb"),
    ("1e2", "104.9", "eq gt ge sa"),
    ("1e2", "105", "ne gt ge sa"),
    ("1.0e2", "104.9", "eq gt ge sa"),
    ("1.00e2", "100.4", "eq gt ge sa"),
    ("-3", "-3.5", "eq lt le eb"),
    ("-3", "-2.5", "ne gt ge sa"),
    ("0", "0", "eq le ge"),
    ("0", "0.5", "ne gt ge sa"),
    ("5.4", "5.35", "eq lt le eb"),
    ("5.4", "5.45", "ne gt ge sa"),
    ("0.1", "1E-1", "eq le ge"),
]
RANGES = [
    ("100", (99.5, 100.4), "eq lt gt le ge"),
    ("100", (90, 110), "ne lt gt le ge"),
    ("100", (90, 100), "ne lt le"),
    ("100", (100, 110), "ne gt ge"),
    ("100", (101, 110), "ne gt ge sa"),
    ("100", (90, 99), "ne lt le eb"),
    ("100", (101, None), "ne gt ge sa"),
    ("100", (None, 99), "ne lt le eb"),
    ("100", (None, 101), "ne lt gt le ge"),
]


@pytest.mark.parametrize(("value", "stored", "prefixes"), POINTS)
def test_numbers_at_the_edges(value: str, stored: str, prefixes: str) -> None:
    found = {prefix for prefix in EVERY if finds(f"RiskAssessment?probability={prefix}{value}", risk(stored))}
    assert found == set(prefixes.split())
    assert finds(f"RiskAssessment?probability={value}", risk(stored)) is ("eq" in found)


@pytest.mark.parametrize(("value", "stored", "prefixes"), POINTS)
def test_quantities_at_the_edges(value: str, stored: str, prefixes: str) -> None:
    found = {prefix for prefix in EVERY if finds(f"Condition?onset-age={prefix}{value}", age(stored))}
    assert found == set(prefixes.split())


def age(value: str) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": "x", "onsetAge": {"value": float(value), "code": "a"}}


@pytest.mark.parametrize(("value", "ends", "prefixes"), RANGES)
def test_ranges_at_the_edges(value: str, ends: tuple[float | None, float | None], prefixes: str) -> None:
    found = {
        prefix for prefix in EVERY if finds(f"RiskAssessment?probability={prefix}{value}", between(*ends))
    }
    assert found == set(prefixes.split())


@pytest.mark.parametrize(
    ("value", "stored", "expected"),
    [("ap100", "90", True), ("ap100", "110", True), ("ap100", "89", False), ("ap100", "111", False),
     ("ap-100", "-109", True), ("ap0", "0.4", True), ("ap0", "0.6", False)],
)  # fmt: skip
def test_approximately_is_a_tenth(value: str, stored: str, expected: bool) -> None:
    assert finds(f"RiskAssessment?probability={value}", risk(stored)) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5.4|http://unitsofmeasure.org|mg", True),
        ("5.4||mg", True),
        ("5.4||milligram", True),
        ("5.4", True),
        ("5.4||", True),
        ("5.4||g", False),
        ("5.4|http://unitsofmeasure.org|g", False),
        ("le5.4|http://unitsofmeasure.org|mg", True),
        ("lt5.4|http://unitsofmeasure.org|mg", False),
        ("5.40e-3||mg", False),
        ("6||mg,5.4||mg", True),
        ("5.4||m\\|g", False),
    ],
)
def test_units(value: str, expected: bool) -> None:
    assert finds(f"Observation?value-quantity={value}", quantity("5.4", unit="milligram")) is expected


@pytest.mark.parametrize(
    ("comparator", "prefixes"),
    [("<", "ne lt le"), ("<=", "ne lt le"), (">", "ne gt ge sa"), (">=", "ne gt ge")],
)
def test_comparators_open_the_range(comparator: str, prefixes: str) -> None:
    document = quantity("5", comparator=comparator)
    expected = set(prefixes.split()) | ({"eb"} if comparator == "<" else set())
    found = {prefix for prefix in EVERY if finds(f"Observation?value-quantity={prefix}5", document)}
    # value-quantity may be SampledData, so both ends of a range count
    assert found == expected


def test_sampled_data_reaches_from_the_lowest_to_the_highest_sample() -> None:
    sampled = {
        "origin": {"value": 100, "code": "mV"},
        "period": 1,
        "factor": 2,
        "dimensions": 1,
        "data": "-5 0 E 10",
    }
    document = {"resourceType": "Observation", "id": "x", "valueSampledData": sampled}
    assert finds("Observation?value-quantity=gt119||mV", document)
    assert not finds("Observation?value-quantity=gt120", document)
    assert finds("Observation?value-quantity=lt91", document)
    assert not finds("Observation?value-quantity=lt90", document)


def test_money() -> None:
    invoice = {"resourceType": "Invoice", "id": "x", "totalNet": {"value": 40, "currency": "EUR"}}
    assert finds("Invoice?totalnet=40|urn:iso:std:iso:4217|EUR", invoice)
    assert not finds("Invoice?totalnet=40|urn:iso:std:iso:4217|USD", invoice)


def test_numbers_beyond_a_double_are_infinite() -> None:
    assert finds("RiskAssessment?probability=gt1e200", risk("1e400"))
    assert finds("RiskAssessment?probability=lt-1e200", risk("-" + "9" * 400))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "1,",
        "1e",
        "--1",
        "1.",
        ".5",
        "1e999",
        "1e-999",
        "NaN",
        "inf",
        "0x10",
        "1_000",
        "9" * 61,
        "gt",
        "١",
        "eq eq1",
    ],
)
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        search(f"RiskAssessment?probability={value}")
    assert caught.value.issues[0].expression == "RiskAssessment?probability"


@pytest.mark.parametrize("value", ["5|mg", "5|a|b|c", "5|http://unitsofmeasure.org|", "|a|b", "x||mg"])
def test_what_is_no_quantity_is_refused(value: str) -> None:
    with pytest.raises(BadRequest):
        search(f"Observation?value-quantity={value}")
