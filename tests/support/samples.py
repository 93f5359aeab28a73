"""Values to plant for search parameters: for each kind and element type the value, what finds it and what does not.

https://hl7.org/fhir/R4/search.html#table
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from support.planting import Leaf, Planter

SYSTEM = "http://planted.test/system"
UCUM = "http://unitsofmeasure.org"
AIM, BASE = "aim", "base"
"""Ids of the resources that planted references and fillers lead to."""
RECORDED = "AuditEvent"
"""The type that only the server writes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value as a resource holds it, a search value that finds it and one that does not."""

    value: Any
    hit: str
    miss: str


Make = Callable[[int, Leaf, Planter], Sample]


def escaped(text: str) -> str:
    r"""``text`` with ``\ , $ |`` escaped."""
    for sign in "\\,$|":
        text = text.replace(sign, "\\" + sign)
    return text


def _day(number: int) -> str:
    """A day of its own for each number, before any filler."""
    return (date(1800, 1, 1) + timedelta(days=number)).isoformat()


def _dated(value: Callable[[str], Any]) -> Make:
    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        return Sample(value(_day(number)), _day(number), _day(number + 20_000))

    return make


def _said(value: Callable[[str], Any]) -> Make:
    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        return Sample(value(f"Zörg{number}x"), f"zorg{number}x", f"zorg{number}y")

    return make


def _named(value: Callable[[str], Any]) -> Make:
    """Codes that any text may be."""

    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        return Sample(value(f"k-{number}"), f"k-{number}", f"K-{number}z")

    return make


def _chosen(number: int, leaf: Leaf, planter: Planter) -> tuple[str, str]:
    """(system, code): the last of a required binding, which no filler has if there are several; else a new one."""
    codes = planter.codes(leaf.element)
    return codes[-1] if codes else (SYSTEM, f"k-{number}")


def _code(number: int, leaf: Leaf, planter: Planter) -> Sample:
    code = _chosen(number, leaf, planter)[1]
    return Sample(code, escaped(code), f"{escaped(code)}-not")


def _coded(value: Callable[[dict[str, str]], Any]) -> Make:
    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        system, code = _chosen(number, leaf, planter)
        coding = {"system": system, "code": code}
        return Sample(value(coding), f"{system}|{escaped(code)}", f"{system}/not|{escaped(code)}")

    return make


def _identifier(number: int, leaf: Leaf, planter: Planter) -> Sample:
    value = {"system": SYSTEM, "value": f"k-{number}"}
    return Sample(value, f"{SYSTEM}|k-{number}", f"{SYSTEM}|k-{number}z")


def _contact(number: int, leaf: Leaf, planter: Planter) -> Sample:
    # An expression that names the system of the contact puts it into the value itself.
    return Sample({"system": "phone", "value": f"k-{number}"}, f"k-{number}", f"k-{number}z")


def _boolean(number: int, leaf: Leaf, planter: Planter) -> Sample:
    return Sample(True, "true", "false")


def _counted(value: Callable[[int], Any]) -> Make:
    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        return Sample(value(number + 100), str(number + 100), str(number + 100_100))

    return make


def _measured(value: Callable[[int], Any], unit: str = f"|{UCUM}|mg") -> Make:
    def make(number: int, leaf: Leaf, planter: Planter) -> Sample:
        return Sample(value(number + 100), f"{number + 100}{unit}", f"{number + 100_100}{unit}")

    return make


def _quantity(value: int, code: str = "mg") -> dict[str, Any]:
    return {"value": value, "unit": code, "system": UCUM, "code": code}


def _range(value: int) -> dict[str, Any]:
    return {"low": _quantity(value), "high": _quantity(value)}


def _sampled(value: int) -> dict[str, Any]:
    data = {"origin": _quantity(value), "period": 10, "dimensions": 1, "data": "0 0 0"}
    return data | {"lowerLimit": 0, "upperLimit": 0}


def _url(number: int, leaf: Leaf, planter: Planter) -> Sample:
    return Sample(
        f"http://planted.test/{number}", f"http://planted.test/{number}", f"http://planted.test/{number}/x"
    )


def _reference(number: int, leaf: Leaf, planter: Planter) -> Sample:
    targets = [
        each
        for each in leaf.steps[-1][0].type.targets or planter.definitions.resource_types
        if each != RECORDED
    ]
    type_ = leaf.only or targets[number % len(targets)]
    return Sample({"reference": f"{type_}/{AIM}"}, f"{type_}/{AIM}", f"{type_}/{BASE}")


def _inline(number: int, leaf: Leaf, planter: Planter) -> Sample:
    """A whole resource as the value: the first of a document or message Bundle."""
    type_ = leaf.only
    return Sample(
        {**planter.minimal(type_), "id": f"k-{number}"}, f"{type_}/k-{number}", f"{type_}/k-{number}z"
    )


_PERIOD = _dated(lambda day: {"start": day, "end": day})
SAMPLES: dict[tuple[str, str], Make] = {
    **{("string", name): _said(lambda text: text) for name in ("string", "markdown")},
    ("string", "HumanName"): _said(lambda text: {"given": [text]}),
    ("string", "Address"): _said(lambda text: {"city": text}),
    ("token", "code"): _code,
    ("token", "boolean"): _boolean,
    ("token", "Coding"): _coded(lambda coding: coding),
    ("token", "CodeableConcept"): _coded(lambda coding: {"coding": [{"code": "another"}, coding]}),
    ("token", "Identifier"): _identifier,
    ("token", "ContactPoint"): _contact,
    **{("token", name): _named(lambda text: text) for name in ("string", "id")},
    ("token", "uri"): _url,
    **{("date", name): _dated(lambda day: day) for name in ("date", "dateTime")},
    ("date", "instant"): _dated(lambda day: f"{day}T12:00:00Z"),
    ("date", "Period"): _PERIOD,
    ("date", "Timing"): _dated(lambda day: {"event": [day]}),
    **{("number", name): _counted(lambda number: number) for name in ("integer", "decimal", "positiveInt")},
    ("number", "Range"): _counted(lambda number: {"low": {"value": number}, "high": {"value": number}}),
    ("quantity", "Quantity"): _measured(_quantity),
    **{("quantity", name): _measured(lambda value: _quantity(value, "a"), f"|{UCUM}|a") for name in ("Age", "Duration")},
    ("quantity", "Money"): _measured(lambda value: {"value": value, "currency": "USD"}, "||USD"),
    ("quantity", "Range"): _measured(_range),
    ("quantity", "SampledData"): _measured(_sampled),
    ("reference", "Reference"): _reference,
    ("reference", "Resource"): _inline,
    **{("reference", name): _url for name in ("canonical", "uri")},
    **{("uri", name): _url for name in ("uri", "url", "canonical")},
}  # fmt: skip
"""(kind of the parameter, type of the element) -> maker. What is not here holds no values of that kind."""
