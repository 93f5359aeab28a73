"""What HL7 and Synthea publish is accepted, except for the documents that are known to be faulty."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from fhirhub.definitions import tables
from fhirhub.resource import json
from fhirhub.validation import Validator

ARCHIVE = Path(__file__).parents[2] / "data" / "r4-examples.zip"
SYNTHEA = Path(__file__).parents[4] / "shared" / "data" / "synthea"


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(tables.load())


@pytest.mark.parametrize(
    ("member", "count"),
    [
        ("core.ndjson", 771),
        ("us-core-3.1.1.ndjson", 83),
        ("us-core-6.1.0.ndjson", 183),
        ("carin-bb-2.0.0.ndjson", 32),
        ("davinci-pas-2.0.1.ndjson", 39),
    ],
)
def test_published_examples_are_good(validator: Validator, member: str, count: int) -> None:
    lines = zipfile.ZipFile(ARCHIVE).read(member).splitlines()
    assert len(lines) == count
    for line in lines:
        document = json.parse(line)
        assert validator.validate(document) == [], f"{document['resourceType']}/{document.get('id')}"


def test_published_mistakes_are_found(validator: Validator) -> None:
    found = {}
    for line in zipfile.ZipFile(ARCHIVE).read("faulty.ndjson").splitlines():
        document = json.parse(line)
        found[document["resourceType"]] = {issue.expression for issue in validator.validate(document)}
    assert "ImplementationGuide.name" in found["ImplementationGuide"]
    assert "Questionnaire.item[0].item[0].linkId" in found["Questionnaire"]
    assert found["DiagnosticReport"] == {"DiagnosticReport.presentedForm[0].hash"}


@pytest.mark.skipif(
    not SYNTHEA.is_dir(), reason="the Synthea bundles are not beside this checkout (../shared/data)"
)
def test_every_synthea_bundle_is_good(validator: Validator) -> None:
    resources = 0
    for path in sorted(SYNTHEA.glob("*/*.json.gz")):
        bundle = json.parse(gzip.decompress(path.read_bytes()))
        assert validator.validate(bundle) == [], path.name
        resources += len(bundle["entry"])
    assert resources == 110_853
