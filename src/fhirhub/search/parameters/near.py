"""``near``: https://hl7.org/fhir/R4/location.html#search, ``latitude|longitude|distance|unit``.

The position stands in two number rows, for a box around the place; what is in the box is then measured over the
sphere. Without a unit the distance is in kilometres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fhirhub.search import ucum
from fhirhub.search.parameters.base import Context, Emit, Query, any_of, refuse, shortened, split, unescape
from fhirhub.search.parameters.number import as_float
from fhirhub.search.predicate import And, Bound, Near, Predicate, Quantity
from fhirhub.search.rows import Rows, range_key

CODE = "near"
RADIUS = 6_371_008.8
"""Metres from the centre of the earth, on average."""
USUAL = 50_000.0
"""Metres, where no distance is given."""


def keys(pid: int, secret: bytes) -> tuple[int, int]:
    """The range keys of latitude and longitude."""
    return range_key(pid, "latitude", secret), range_key(pid, "longitude", secret)


def indexer(pid: int, secret: bytes) -> Emit:
    """The emitter for a position."""
    latitude_key, longitude_key = keys(pid, secret)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        latitude, longitude = as_float(value.get("latitude")), as_float(value.get("longitude"))
        if latitude is not None and longitude is not None:
            rows.params.add(pid)
            rows.numbers.add((latitude_key, latitude, latitude, 0, 0))
            rows.numbers.add((longitude_key, longitude, longitude, 0, 0))

    return emit


def metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The way over the sphere between two places (latitude, longitude in degrees)."""
    (a, b), (c, d) = ((math.radians(x), math.radians(y)) for x, y in (one, other))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * RADIUS * math.asin(min(1.0, math.sqrt(half)))


def parse(expression: str, pid: int, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    return any_of([_one(expression, pid, value, query) for value in values])


def _one(expression: str, pid: int, value: str, query: Query) -> Predicate:
    pieces = [unescape(piece).strip() for piece in split(value, "|")]
    shape = "near is written latitude|longitude|distance|unit, as in 46.95|7.44|5|km"
    if len(pieces) not in (2, 3, 4):
        raise refuse(expression, shape)
    try:
        latitude, longitude = float(pieces[0]), float(pieces[1])
        distance = float(pieces[2]) if len(pieces) > 2 and pieces[2] else None
    except ValueError:
        raise refuse(expression, shape) from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180) or (
        distance is not None and not 0 <= distance < 1e9
    ):
        raise refuse(expression, f"there is no such place or distance; {shape}")
    reach = (
        USUAL
        if distance is None
        else distance * _metres_of(expression, pieces[3] if len(pieces) > 3 else "km")
    )
    latitude_key, longitude_key = keys(pid, query.secret)
    parts: list[Predicate] = [Quantity(latitude_key, _between(latitude, math.degrees(reach / RADIUS)))]
    beyond = _width(latitude, reach)
    if beyond is not None:
        # The box may reach over the line where 180 degrees east become 180 degrees west.
        turns = [
            turn
            for turn in (-360, 0, 360)
            if -180 <= longitude + turn + beyond and longitude + turn - beyond <= 180
        ]
        parts.append(any_of([Quantity(longitude_key, _between(longitude + turn, beyond)) for turn in turns]))
    return And((*parts, Near(latitude_key, longitude_key, latitude, longitude, reach)))


def _metres_of(expression: str, code: str) -> float:
    unit = ucum.read(code or "km")
    if unit is None or unit.dimension != (("m", 1),):
        raise refuse(expression, f"{shortened(code)!r} is no UCUM unit of length; write km, m or [mi_i]")
    return float(unit.factor)


def _between(middle: float, margin: float) -> tuple[Bound, ...]:
    margin += 1e-9
    return ("lo", ">=", middle - margin), ("lo", "<=", middle + margin)


def _width(latitude: float, reach: float) -> float | None:
    """Degrees of longitude to either side; None for all around, as near the poles."""
    angle = reach / RADIUS
    if abs(latitude) + math.degrees(angle) >= 90:
        return None
    return math.degrees(math.asin(math.sin(angle) / math.cos(math.radians(latitude))))
