"""Random grants in random worlds: the predicates allow what a plain reading of policies and documents allows."""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any

import pytest

from fhirhub.auth.scope import parse
from fhirhub.search.match import Subject, matches
from property.walking import LABELS, may
from property.worlds import World
from searching import BASES, document, extractor
from support.access import decided, grant

WORLDS = int(os.environ.get("FHIRHUB_PROPERTY_WORLDS", "4"))
FIRST = int(os.environ.get("FHIRHUB_PROPERTY_FIRST", "0"))
GRANTS = 60
"""Grants in each world."""
QUERIES = {
    "Observation": ("category=urn:x|a", "code=b", "status=final&code=a", "category=b"),
    "Condition": ("code=a", "code=http://loinc.org|A"),
    "Encounter": ("status=planned", "class=a"),
}
TYPES = (
    "*",
    "*",
    "Patient",
    "Observation",
    "Encounter",
    "Condition",
    "Group",
    "Practitioner",
    "RiskAssessment",
)
ORDERED = ("cruds", "rs", "r", "s", "cu", "cud", "rus", "d")


def _label(rng: Random, each: dict[str, Any]) -> dict[str, Any]:
    """``each``, now and then with a security label, spelt in some way."""
    if rng.random() < 0.7:
        return each
    system, _, code = rng.choice(rng.choice(LABELS)["codes"]).partition("|")
    label = rng.choice(({"system": system, "code": code}, {"code": code}, {"system": "urn:y", "code": code}))
    return {**each, "meta": {**each.get("meta", {}), "security": [label]}}


def _witness(rng: Random, number: int, among: list[dict[str, Any]]) -> dict[str, Any]:
    """A Provenance of one or two of the documents ``among``; now and then of what is not there, or elsewhere."""
    targets = [f"{each['resourceType']}/{each['id']}" for each in rng.sample(among, rng.choice((1, 1, 2)))]
    if rng.random() < 0.2:
        targets.append(
            rng.choice(("Observation/nowhere", "http://elsewhere.test/Observation/1", "Practitioner/1"))
        )
    return {
        "resourceType": "Provenance",
        "id": f"witness{number}",
        "target": [{"reference": each} for each in targets],
        "recorded": "2026-11-24T10:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }


class Around:
    """All there is, for conditions on what is pointed to."""

    def __init__(self, subjects: dict[tuple[str, str], Subject]) -> None:
        self._subjects = subjects

    def resource(self, type: str, id: str) -> Subject | None:
        """The resource ``type/id``."""
        return self._subjects.get((type, id))

    def resources(self, type: str) -> list[Subject]:
        """All of ``type``."""
        return [each for (kind, _), each in self._subjects.items() if kind == type]


def _scope(rng: Random, level: str) -> tuple[str, str, str, str]:
    type = rng.choice(TYPES)
    query = rng.choice(QUERIES[type]) if type in QUERIES and rng.random() < 0.5 else ""
    return level, type, rng.choice(ORDERED), query


def _caller(rng: Random, patients: list[str]) -> dict[str, Any]:
    if rng.random() < 0.2:
        return {
            "kind": "system",
            "role": None,
            "fhir_user": "",
            "patient": rng.choice((None, *patients)),
            "glass": False,
        }
    role = rng.choice(
        ("admin", "practitioner", "practitioner", "frontdesk", "biller", "patient", "patient", "nobody")
    )
    user = f"Patient/{rng.choice(patients)}" if role == "patient" else f"Practitioner/pra{rng.randrange(3)}"
    patient = (
        user.partition("/")[2] if role == "patient" and rng.random() < 0.7 else rng.choice((None, *patients))
    )
    return {"kind": "user", "role": role, "fhir_user": user, "patient": patient, "glass": rng.random() < 0.3}


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WORLDS))
def test_access_is_what_policies_and_documents_say(seed: int) -> None:
    rng = Random(f"access {seed}")
    documents = [document(_label(rng, each)) for each in World(seed, 60).documents]
    documents += [document(_label(rng, _witness(rng, n, documents))) for n in range(12)]
    among = {(each["resourceType"], each["id"]): each for each in documents}
    subjects = [
        Subject(each["resourceType"], each["id"], 0, extractor.rows(each, BASES)) for each in documents
    ]
    around = Around({(each.type, each.id): each for each in subjects})
    patients = [each["id"] for each in documents if each["resourceType"] == "Patient"]
    told: Counter[tuple[str, str, bool]] = Counter()
    for _ in range(GRANTS):
        who = _caller(rng, patients)
        levels = ("system",) if who["kind"] == "system" else ("patient", "user")
        scopes = [_scope(rng, rng.choice(levels)) for _ in range(rng.randint(1, 4))]
        texts = " ".join(
            f"{level}/{type}.{let}{'?' if query else ''}{query}" for level, type, let, query in scopes
        )
        assert all(parse(text) for text in texts.split())
        given = grant(texts, kind=who["kind"], role=who["role"], fhir_user=who["fhir_user"] or None,
                      patient=who["patient"], reason="an emergency" if who["glass"] else "")  # fmt: skip
        sight = decided(given).sight
        for each, subject in zip(documents, subjects, strict=True):
            for letter in "cruds":
                expected = may(who["kind"], scopes, who["role"], who["fhir_user"], who["patient"], who["glass"],
                               letter, each, among)  # fmt: skip
                got = matches(sight.of(letter, subject.type), subject, around)
                told[who["kind"], letter, got] += 1
                assert got == expected, f"world {seed}: {texts} {who} {letter} {each}"
    assert all(told["user", letter, yes] for letter in "crus" for yes in (True, False)), told
    assert all(told["system", letter, True] for letter in "cruds"), told
