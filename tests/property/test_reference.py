"""The extractor, the parser and the predicates together against a plain reading of the specification."""

from __future__ import annotations

import os
from random import Random

import pytest

from fhirhub.errors import BadRequest
from property.queries import Queries
from property.reference import PATHS, finds, knows
from property.worlds import World
from searching import Shelf, document, parser, registry

WORLDS = int(os.environ.get("FHIRHUB_PROPERTY_WORLDS", "4"))
FIRST = int(os.environ.get("FHIRHUB_PROPERTY_FIRST", "0"))
CRITERIA = 1000
"""Criteria of each world."""


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WORLDS))
def test_criteria_find_what_the_specification_says(seed: int) -> None:
    documents = [document(each) for each in World(seed).documents]
    documents = [each for each in documents if each["resourceType"] in PATHS and "text" not in each]
    shelf = Shelf(documents)
    rng = Random(f"criteria {seed}")
    queries = Queries(registry, documents, rng)
    told = 0
    for _ in range(CRITERIA):
        kind = rng.choice(sorted(PATHS))
        name, value = queries.criterion(kind, depth=9)
        code, _, modifier = name.partition(":")
        if not knows(kind, code, modifier, value):
            continue
        try:
            parser.parse(kind, [(name, value)])
        except BadRequest:
            continue
        expected = sorted(
            each["id"]
            for each in documents
            if each["resourceType"] == kind and finds(each, code, modifier, value)
        )
        assert shelf.find(f"{kind}?{name}={value}") == expected, f"world {seed}: {kind}?{name}={value}"
        told += 1
    assert told > CRITERIA / 4
