"""The verdicts of the validator beside those of fhir.resources (its R4B models), every difference explained.

The corpus is all published examples and all deliberate mistakes, and some Synthea bundles where they are at
hand. A difference that belongs to no class of the tables below fails the test, and so does a class that no
document needs.
"""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhirhub.definitions import tables
from fhirhub.errors import Issue
from fhirhub.resource import json
from fhirhub.validation import Validator
from mistakes import CASES, document_of

ARCHIVE = Path(__file__).parents[2] / "data" / "r4-examples.zip"
SYNTHEA = Path(__file__).parents[4] / "shared" / "data" / "synthea"

ONLY_WE_REFUSE = {
    # class: (pattern of our first issue as "code text", why the models let it pass)
    "boolean as text or number": (
        r"structure .* must be true or false \(boolean\)",
        "pydantic converts 1, 0, 'yes' and 'true'; JSON FHIR has only true and false",
    ),
    "number as text, whole number with a point": (
        r"structure .* must be a (whole )?number \((integer|positiveInt|unsignedInt|decimal)\)",
        "pydantic converts '1', 1.0 and true to a number; FHIR keeps JSON types apart",
    ),
    "decimal without end": (
        r"value .* has more than 1000 digits",
        "the models have no limit; ours keeps a number of twenty characters from becoming gigabytes",
    ),
    "uri with blanks, empty, or with an invalid urn": (
        r"value (system|profile|address|url) .* (contains a blank|must not be empty|is no valid (OID|UUID))",
        "the models take any text as uri, url and canonical",
    ),
    "id that is too long": (
        r"value id \"x+…\" is no id",
        "the models allow ids beyond 64 characters unless told otherwise",
    ),
    "uuid outside the regular expression": (
        r"value valueUuid .* is no UUID",
        "the models take any UUID spelling",
    ),
    "tab inside a code": (r"value language .* is no code", "the models allow any white space between words"),
    "control characters and empty markdown": (
        r"value (family|text) .* (contains the control character|must not be empty)",
        "the models' expressions for string and markdown do not look at them",
    ),
    "base64 that cannot be decoded": (r"value (data|hash) ", "the models decode leniently, or not at all"),
    "narrative": (r"value div ", "the models take any text as xhtml, scripts included"),
    "empty object or array": (
        r"structure .* is an empty (object|array)",
        "the models drop them; FHIR forbids them",
    ),
    "null": (
        r"structure .* must not (be|contain) null",
        "the models read null as absence",
    ),
    "value and extension arrays that do not match": (
        r"structure .* (has \d+ entries and|has null at a position)",
        "the models do not compare name and _name",
    ),
    "leftovers of older formats": (
        r"structure (fhir_comments|resourceType) is no element",
        "the models pass over fhir_comments (DSTU2) and a resourceType in any object",
    ),
    "contained resources": (
        r"(required|structure) A contained resource",
        "rules of contained resources are invariants to the models, which have none",
    ),
    "choice by extension only": (
        r"structure .* valueQuantity and valueString are given",
        "the models do not count _valueString as a value",
    ),
    "code outside a required value set": (r"code-invalid ", "the models do not know value sets"),
    "reference to the wrong type": (
        r"value .* (must not refer to|contradicts the ref|(no|names no) resource type of R4|has no valid id)",
        "the models do not look into references",
    ),
    "extension with value and extensions, or neither": (
        r"(structure|required) An extension ",
        "ext-1 is an invariant, and the models have none",
    ),
}

ONLY_THEY_REFUSE = {
    "R4B is not R4: Evidence was remade": lambda document, error: document["resourceType"] == "Evidence",
}

WITHOUT_MODEL = frozenset(
    """
    EffectEvidenceSynthesis MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication
    MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction
    MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical
    MedicinalProductUndesirableEffect RiskEvidenceSynthesis SubstanceSpecification """.split()
)
"""R4 types that R4B removed; there is no second opinion about them."""


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(tables.load())


def corpus() -> Iterator[dict[str, Any]]:
    archive = zipfile.ZipFile(ARCHIVE)
    for member in archive.namelist():
        for line in archive.read(member).splitlines():
            # The one ImplementationGuide of 2.7 MB costs more than the rest together.
            if len(line) < 1_000_000:
                yield json.parse(line)
    for case in CASES:
        yield document_of(case)
    for path in [*sorted(SYNTHEA.glob("v2.4-base/*.gz"))[:2], *sorted(SYNTHEA.glob("v2.7-us-core/*.gz"))[:1]]:
        for entry in json.parse(gzip.decompress(path.read_bytes()))["entry"]:
            yield entry["resource"]


def their_error(document: dict[str, Any]) -> str | None:
    """Why fhir.resources refuses ``document``; None when it accepts it."""
    try:
        get_fhir_model_class(str(document.get("resourceType"))).model_validate_json(json.dumps(document))
    except (ValueError, KeyError) as error:
        return str(error)
    return None


def class_of(issue: Issue) -> str | None:
    told = f"{issue.code} {issue.text}"
    return next((name for name, (pattern, _) in ONLY_WE_REFUSE.items() if re.match(pattern, told)), None)


def test_every_difference_is_explained(validator: Validator) -> None:
    used: set[str] = set()
    unexplained: list[str] = []
    for document in corpus():
        if str(document.get("resourceType")) in WITHOUT_MODEL:
            continue
        ours, theirs = validator.validate(document), their_error(document)
        if bool(ours) == bool(theirs):
            continue
        if ours:
            name = class_of(ours[0])
            told = f"only we refuse: {ours[0].code} {ours[0].text}"
        else:
            name = next((one for one, test in ONLY_THEY_REFUSE.items() if test(document, theirs)), None)
            told = f"only they refuse {document['resourceType']}/{document.get('id')}: {theirs}"
        if name:
            used.add(name)
        else:
            unexplained.append(told)
    assert unexplained == []
    assert used == {*ONLY_WE_REFUSE, *ONLY_THEY_REFUSE}
