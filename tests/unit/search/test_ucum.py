"""Units of measure: https://ucum.org/ucum. The factors were compared once with UCUM's own table (ucum-essence)."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fhirhub.search.ucum import converted, read
from searching import finds

UCUM = "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    ("value", "code", "expected", "other"),
    [
        ("2", "g", "2000", "mg"),
        ("1", "mg/dL", "0.01", "g/L"),
        ("1", "mg/dL", "10", "ug/mL"),
        ("37", "Cel", "98.6", "[degF]"),
        ("0", "K", "-273.15", "Cel"),
        ("120", "mm[Hg]", "15.99864", "kPa"),
        ("60", "/min", "1", "Hz"),
        ("72", "{beats}/min", "72", "/min"),
        ("1", "[lb_av]", "453.59237", "g"),
        ("1", "[in_i]", "2.54", "cm"),
        ("1", "d", "24", "h"),
        ("1", "a", "365.25", "d"),
        ("7", "10*3/uL", "7", "10*9/L"),
        ("1", "[IU]/mL", "1000", "[iU]/L"),
        ("1", "kg.m/s2", "1", "N"),
        ("1", "mmol/(24.h)", "1", "mmol/d"),
        ("50", "%", "0.5", "1"),
        ("1", "cm2", "100", "mm2"),
    ],
)
def test_conversion(value: str, code: str, expected: str, other: str) -> None:
    unit, wanted = read(code), read(other)
    assert unit is not None and wanted is not None
    assert unit.dimension == wanted.dimension
    assert unit.name == wanted.name
    assert converted(Fraction(value), unit, wanted) == Fraction(expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mg", "mL"),
        ("mmol/L", "meq/L"),
        ("mg/dL", "mmol/L"),
        ("[iU]/L", "U/L"),
        ("Cel", "Cel/h"),
        ("[iU]", "[arb'U]"),
    ],
)
def test_what_measures_something_else(one: str, other: str) -> None:
    unit, wanted = read(one), read(other)
    assert unit is not None and wanted is not None
    assert unit.dimension != wanted.dimension


@pytest.mark.parametrize(
    "text",
    ["", "mmHg", "foo", "mg/", "/", "mg//dL", "(mg", "{x", "mg dL", "10*" + "9" * 70, "m999", "(" * 20 + "m"],
)
def test_what_is_no_unit(text: str) -> None:
    assert read(text) is None


def weight(value: str, code: str, system: str = UCUM) -> dict[str, object]:
    quantity = {"value": float(value), "system": system, "code": code, "unit": "as printed"}
    return {"resourceType": "Observation", "id": "x", "status": "final", "valueQuantity": quantity}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"2|{UCUM}|g", True),
        (f"2000|{UCUM}|mg", True),
        ("2||g", True),
        (f"0.002|{UCUM}|kg", True),
        (f"2|{UCUM}|mg", False),
        (f"2|{UCUM}|mL", False),
        (f"gt1.9|{UCUM}|g", True),
        (f"lt2|{UCUM}|g", False),
        (f"le2|{UCUM}|g", True),
        (f"ge2.00|{UCUM}|g", True),
        (f"ap2.1|{UCUM}|g", True),
        (f"ne2|{UCUM}|g", False),
        (f"2.00|{UCUM}|g", True),
        (f"1.99|{UCUM}|g", False),
        ("2|urn:other|g", False),
        ("2000||as printed", True),
        ("2||as printed", False),
    ],
)
def test_search_in_another_unit(query: str, expected: bool) -> None:
    assert finds(f"Observation?value-quantity={query}", weight("2000", "mg")) is expected


def test_temperatures_have_different_zeros() -> None:
    assert finds(f"Observation?value-quantity=98.6|{UCUM}|[degF]", weight("37", "Cel"))
    assert finds(f"Observation?value-quantity=gt100|{UCUM}|[degF]", weight("38", "Cel"))
    assert not finds(f"Observation?value-quantity=gt101|{UCUM}|[degF]", weight("38", "Cel"))
