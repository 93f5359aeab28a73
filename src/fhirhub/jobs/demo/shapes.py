"""Small parts that the resources of the demo practice share. R4's names stand here because this is R4 content."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from fhirhub.jobs.demo.words import TERMS, UCUM, US_CORE
from fhirhub.resource import json

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Care:
    """Who cares for a patient, where, and who may pay for it."""

    office: Resource
    room: Resource
    doctor: Resource
    nurse: Resource
    payers: list[Resource]


def concept(system: str, code: str, display: str, *others: tuple[str, str, str]) -> Resource:
    """A CodeableConcept with one coding or several, and the first display as its text."""
    codings = [{"system": s, "code": c, "display": d} for s, c, d in ((system, code, display), *others)]
    return {"coding": codings, "text": display}


def term(name: str, code: str) -> Resource:
    """A CodeableConcept from one of HL7's own code systems."""
    return {"coding": [{"system": TERMS + name, "code": code}]}


def ref(resource: Resource, display: str | None = None) -> Resource:
    """A Reference to ``resource``."""
    made = {"reference": f"{resource['resourceType']}/{resource['id']}"}
    return {**made, "display": display} if display else made


def quantity(value: float, unit: str, code: str, decimals: int) -> Resource:
    """A Quantity with exactly ``decimals`` digits after the point."""
    return {"value": number(value, decimals), "unit": unit, "system": UCUM, "code": code}


def money(value: float) -> Resource:
    """US dollars and cents."""
    return {"value": number(value, 2), "currency": "USD"}


def number(value: float, decimals: int) -> Any:
    """A JSON number that keeps its trailing zeros."""
    return json.number(str(Decimal(value).quantize(Decimal(1).scaleb(-decimals))))


def stamp(moment: datetime) -> str:
    """A dateTime; the practice lives five hours behind UTC all year round."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S-05:00")


def profile(*names: str) -> Resource:
    """A meta that claims US Core profiles."""
    return {"profile": [US_CORE + name for name in names]}


def extension(name: str, category: tuple[str, str]) -> Resource:
    """US Core's race or ethnicity."""
    code, display = category
    coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": code, "display": display}
    parts = [{"url": "ombCategory", "valueCoding": coding}, {"url": "text", "valueString": display}]
    return {"url": US_CORE + name, "extension": parts}
