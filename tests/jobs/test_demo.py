"""The demo practice: sound, always the same, and what the first run promises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fhirhub.cli import import_
from fhirhub.definitions.tables import load
from fhirhub.jobs.demo.practice import practice
from fhirhub.resource import json
from fhirhub.settings import Settings
from fhirhub.validation import Validator


def test_every_resource_is_sound() -> None:
    validator = Validator(load())
    seen: set[str] = set()
    for resource in practice():
        document = json.parse(json.dumps(resource))
        assert not validator.validate(document), resource["id"]
        name = f"{resource['resourceType']}/{resource['id']}"
        assert name not in seen
        seen.add(name)


def test_it_is_always_the_same() -> None:
    assert [json.dumps(one) for one in practice(3)] == [json.dumps(one) for one in practice(3)]


def test_it_has_what_a_practice_has() -> None:
    counts = Counter(resource["resourceType"] for resource in practice())
    assert counts["Patient"] == 30
    assert counts["Observation"] > 2_000
    for kind in (
        "Coverage",
        "Encounter",
        "ServiceRequest",
        "MedicationRequest",
        "Claim",
        "ExplanationOfBenefit",
    ):
        assert counts[kind] >= 20, kind
    years: dict[str, set[str]] = {}
    for resource in practice():
        if resource["resourceType"] == "Observation":
            subject = resource["subject"]["reference"]
            years.setdefault(subject, set()).add(resource["effectiveDateTime"][:4])
    assert len(years) == 30
    assert min(map(len, years.values())) >= 3


def test_it_is_loaded_into_an_empty_store_only(fresh_dsn: str, tmp_path: Path) -> None:
    settings = Settings(database_url=fresh_dsn, no_auth=True)
    options = {"workers": 1, "dry_run": False, "again": False, "errors": tmp_path / "errors.ndjson"}
    summary = import_.load_demo(settings, **options)
    assert summary is not None
    assert summary.problems == 0
    assert summary.counts == Counter(resource["resourceType"] for resource in practice())
    assert import_.load_demo(settings, **options) is None
