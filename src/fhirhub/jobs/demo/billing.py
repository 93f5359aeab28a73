"""Insurance, claims and what the payer says to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fhirhub.jobs.demo.shapes import Care, Resource, concept, money, ref, term
from fhirhub.jobs.demo.words import CPT, TERMS

_PAID_AFTER_65 = 0.8
_PAID = 0.7


def coverage(patient: Resource, payer: Resource, today: datetime) -> Resource:
    """The patient's own insurance, running."""
    number = patient["id"].rpartition("-")[2]
    return {
        "resourceType": "Coverage",
        "id": f"{patient['id']}-coverage-1",
        "status": "active",
        "type": term("v3-ActCode", "EHCPOL"),
        "subscriber": ref(patient),
        "subscriberId": f"HFP-{number}",
        "beneficiary": ref(patient),
        "relationship": term("subscriber-relationship", "self"),
        "period": {"start": f"{today.year - 6}-01-01"},
        "payor": [ref(payer, payer["name"])],
        "class": [{"type": term("coverage-class", "plan"), "value": "demo", "name": payer["name"]}],
    }


def claim(
    patient: Resource,
    care: Care,
    insured: Resource,
    encounter: Resource,
    reason: Any,
    number: int,
    payer: Resource,
) -> Resource:
    """The claim for a visit."""
    _, display, cpt, price = reason
    day = encounter["period"]["start"]
    return {
        "resourceType": "Claim",
        "id": f"{patient['id']}-claim-{number}",
        "status": "active",
        "type": term("claim-type", "professional"),
        "use": "claim",
        "patient": ref(patient),
        "billablePeriod": encounter["period"],
        "created": day,
        "insurer": ref(payer),
        "provider": ref(care.office),
        "priority": term("processpriority", "normal"),
        "insurance": [{"sequence": 1, "focal": True, "coverage": ref(insured)}],
        "item": [
            {
                "sequence": 1,
                "productOrService": concept(CPT, cpt, display),
                "servicedDate": day[:10],
                "unitPrice": money(price),
                "net": money(price),
                "encounter": [ref(encounter)],
            }
        ],
        "total": money(price),
    }


def explanation(billed: Resource, insured: Resource, reason: Any, age: int) -> Resource:
    """What the payer made of a claim."""
    price = reason[3]
    paid = price * (_PAID_AFTER_65 if age >= 65 else _PAID)
    amounts = (("submitted", price), ("benefit", paid), ("copay", price - paid))
    adjudication = [{"category": _category(name), "amount": money(value)} for name, value in amounts]
    item = billed["item"][0]
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": billed["id"].replace("-claim-", "-eob-"),
        "status": "active",
        "type": billed["type"],
        "use": "claim",
        "patient": billed["patient"],
        "billablePeriod": billed["billablePeriod"],
        "created": billed["created"],
        "insurer": billed["insurer"],
        "provider": billed["provider"],
        "claim": ref(billed),
        "outcome": "complete",
        "insurance": [{"focal": True, "coverage": ref(insured)}],
        "item": [
            {
                "sequence": 1,
                "productOrService": item["productOrService"],
                "servicedDate": item["servicedDate"],
                "encounter": item["encounter"],
                "adjudication": adjudication,
            }
        ],
        "total": adjudication,
        "payment": {"amount": money(paid)},
    }


def _category(name: str) -> Resource:
    return concept(TERMS + "adjudication", name, name.capitalize())
