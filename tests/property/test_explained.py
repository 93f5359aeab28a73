"""Whatever can be searched for can be said in words and planned by the rules alone."""

from __future__ import annotations

from random import Random

import pytest

from fhirhub.errors import BadRequest
from fhirhub.search.predicate import And, Keys, Not, Or, Refers
from fhirhub.search.said import indexes, said
from fhirhub.search.sight import ALL
from fhirhub.store.explain import KINDS
from fhirhub.store.outline import outlined, suggestions
from property.queries import Queries
from property.worlds import World
from searching import BASES, definitions, parser, registry

WITHIN = (
    ALL,
    Refers(1, (("Patient", "p"),)),
    Not(Keys((-5,))),
    And((Or((Refers(1, (("Patient", "p"),)), Keys((-7,)))), Not(Keys((-5,))))),
)
OTHERS = (
    "Observation?code:in=http://vs", "Condition?code:below=http://snomed.info/sct|1", "Location?partof:below=Location/1",
    "ValueSet?url:below=http://a/b", "Observation?code:text=a", "Patient?_content=a", "Patient?_text=a", "Location?near=1|2|3|km",
    "MeasureReport?measure.title=a", "Measure?_has:MeasureReport:measure:status=complete", "Observation?value-quantity=5|http://unitsofmeasure.org|g",
    "Patient?_list=1", "Patient?_filter=family eq a or not (gender eq male)", "Patient?given:nickname=Bill", "Patient?_id=a&_lastUpdated=gt2020",
    "Patient?organization.name=x&_contained=true", "Observation?code=a&_sort=-_score&_content=b",
)  # fmt: skip


def check(type: str, pairs: list[tuple[str, str]], rng: Random) -> bool:
    try:
        request = parser.parse(type, pairs, bases=BASES, contained=True)
    except BadRequest:
        return False
    words = said(definitions, request.where)
    assert words and "Keys(" not in words
    assert set(indexes(request.where)) <= {"token", "string", "date", "number", "words", "resource", "none"}
    within = rng.choice(WITHIN)
    plan, driver = outlined(definitions, request, within, None)
    assert plan.kind in KINDS and driver
    assert (driver == "what you may see") <= (within != ALL)
    assert all(suggestions(request, plan))
    return True


@pytest.mark.parametrize("seed", range(2))
def test_random_searches(seed: int) -> None:
    rng = Random(seed)
    world = World(seed)
    queries = Queries(registry, world.documents, rng)
    understood = sum(check(*queries.search(), rng) for _ in range(1500))
    assert understood > 1300


@pytest.mark.parametrize("query", OTHERS)
def test_what_other_resources_decide(query: str) -> None:
    type, _, rest = query.partition("?")
    pairs = [tuple(pair.split("=", 1)) for pair in rest.split("&")]
    for seed in range(4):
        assert check(type, [(name, value) for name, value in pairs], Random(seed))
