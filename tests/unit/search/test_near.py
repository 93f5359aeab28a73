"""Places and distances: https://hl7.org/fhir/R4/location.html#search."""

from __future__ import annotations

import math

import pytest

from fhirhub.search.parameters.near import metres
from searching import finds

BERN, ZURICH = (46.948, 7.4474), (47.3769, 8.5417)


def place(latitude: float, longitude: float) -> dict[str, object]:
    return {"resourceType": "Location", "id": "x", "position": {"latitude": latitude, "longitude": longitude}}


def test_distances() -> None:
    assert metres(BERN, ZURICH) == pytest.approx(95_500, rel=0.01)
    assert metres((0, 0), (0, 180)) == pytest.approx(math.pi * 6_371_008.8)
    assert metres(BERN, BERN) == 0


@pytest.mark.parametrize(
    ("at", "query", "expected"),
    [
        (ZURICH, "46.948|7.4474|100|km", True),
        (ZURICH, "46.948|7.4474|100", True),
        (ZURICH, "46.948|7.4474|90|km", False),
        (ZURICH, "46.948|7.4474|100|m", False),
        (ZURICH, "46.948|7.4474|60|[mi_i]", True),
        (ZURICH, "46.948|7.4474|59|[mi_i]", False),
        (ZURICH, "46.948|7.4474", False),
        (BERN, "46.948|7.4474", True),
        (BERN, "46.948|7.4474|0|km", True),
        (ZURICH, "0|0|1,46.948|7.4474|100", True),
        # The corner of the box around a circle is not in the circle.
        ((0.6, 0.6), "0|0|80|km", False),
        ((0.5, 0.5), "0|0|80|km", True),
        # Over the line where the day changes, and over the pole.
        ((10.0, -179.9), "10|179.9|30|km", True),
        ((10.0, 179.9), "10|-179.9|30|km", True),
        ((10.0, -179.9), "10|179.9|10|km", False),
        ((89.9, -90.0), "89.9|90|30|km", True),
        ((-89.9, 10.0), "-89.9|-170|30|km", True),
        ((-89.9, 10.0), "89.9|10|30|km", False),
    ],
)
def test_near(at: tuple[float, float], query: str, expected: bool) -> None:
    assert finds(f"Location?near={query}", place(*at)) is expected


def test_what_has_no_position() -> None:
    nowhere = {"resourceType": "Location", "id": "x", "name": "Nowhere"}
    assert not finds("Location?near=0|0|1000|km", nowhere)
    assert finds("Location?near:missing=true", nowhere)
    assert finds("Location?near:missing=false", place(1, 1))
