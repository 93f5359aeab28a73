"""Index rows of real resources."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirhub.fhirpath.compile import follow
from fhirhub.search.contained import PLACE
from fhirhub.search.parameters import composite, date, number, phonetic, quantity, string, token, uri
from fhirhub.search.parameters.base import Context
from fhirhub.search.rows import MIN_DATE, Rows, key_pid
from searching import BASES, SECRET, definitions, document, example, examples, extractor, finds, registry

MEMBERS = ("core", "us-core-3.1.1", "us-core-6.1.0", "carin-bb-2.0.0", "davinci-pas-2.0.1", "faulty")
INDEXERS = {
    "string": string,
    "token": token,
    "date": date,
    "number": number,
    "quantity": quantity,
    "uri": uri,
}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_example_has_rows(member: str) -> None:
    for resource in examples(member):
        rows = extractor.rows(resource, BASES)
        own = {each.pid for each in definitions.search_parameters(resource["resourceType"]).values()}
        used = {key_pid(key) for key in rows.tokens} | {pid for pid, _, _ in rows.references}
        used |= {key_pid(each[0]) for each in (*rows.strings, *rows.dates, *rows.numbers)}
        assert used - {0, PLACE} <= rows.params <= own
        assert all(lo <= hi for _, lo, hi in rows.dates) or member == "faulty"
        assert all(isinstance(value, float) for _, lo, hi, _, _ in rows.numbers for value in (lo, hi))


@pytest.mark.parametrize("member", MEMBERS)
def test_the_tree_finds_what_each_route_finds(member: str) -> None:
    """The tree walks a document once for all parameters; route by route it comes to the same."""
    for whole in examples(member):
        # What is contained has tests of its own.
        resource = {name: value for name, value in whole.items() if name != "contained"}
        expected = Rows()
        for facet in registry.facets(resource["resourceType"]).values():
            if facet.aliases or facet.kind == "reference":
                continue
            for route in facet.routes:
                _apply(facet, route, resource, expected)
        found = extractor.rows(resource, BASES)
        references = {
            each.pid
            for each in registry.facets(resource["resourceType"]).values()
            if each.kind == "reference"
        }
        # Words, places and sounds have tests of their own.
        special = {
            each.pid
            for each in definitions.search_parameters(resource["resourceType"]).values()
            if each.kind == "special" or each.code == phonetic.CODE
        }
        assert found.strings == expected.strings
        assert found.dates == expected.dates
        assert {each for each in found.numbers if key_pid(each[0]) not in special} == expected.numbers
        assert {key for key in found.tokens if key_pid(key) not in references | special} == {
            key for key in expected.tokens if key_pid(key) not in special
        }
        assert found.params - references - special == expected.params - special


def _apply(facet: Any, route: Any, resource: dict[str, Any], rows: Rows) -> None:
    from_here = follow(route, resource)
    if facet.kind == "composite":
        emit = composite.indexer(facet, SECRET)
    else:
        emit = INDEXERS[facet.kind].indexer(facet.pid, route, SECRET)
    if emit is not None:
        context = Context(resource, BASES)
        for value in from_here:
            emit(value, rows, context)


BY_HAND = {
    ("Patient", "example"): {
        "yes": [
            "family=chalmers",
            "given=jim",
            "name=windsor",
            "identifier=urn:oid:1.2.36.146.595.217.0.1|12345",
            "birthdate=1974-12-25",
            "gender=male",
            "active=true",
            "deceased=false",
            "address-city=pleasant",
            "address=534 erewhon",
            "address-postalcode=3999",
            "address-use=home",
            "phone=(03) 5555 6473",
            "organization=Organization/1",
            "general-practitioner:missing=true",
            "_id=example",
        ],
        "no": [
            "family=peter",
            "gender=female",
            "birthdate=1974-12-24",
            "name=marché",
            "email=(03) 5555 6473",
        ],
    },
    ("Observation", "f001"): {
        "yes": [
            "code=http://loinc.org|15074-8",
            "subject=Patient/f001",
            "patient=f001",
            "status=final",
            "performer=Practitioner/f005",
            "value-quantity=6.3|http://unitsofmeasure.org|mmol/L",
            "value-quantity=gt6.2",
            "code-value-quantity=15074-8$gt6",
            "date=ge2013-04-02",
            "date=gt2020",
            "combo-code=15074-8",
            "identifier=6323",
            "value-quantity=6.3||mmol/l",
        ],
        "no": [
            "date=2013-04-02",
            "date=lt2013-04-02T08:30:10Z",
            "value-quantity=3.1",
            "value-quantity=6.2",
            "performer=Patient/f001",
            "component-code=15074-8",
        ],
    },
    ("Encounter", "f001"): {
        "yes": [
            "class=AMB",
            "type=http://snomed.info/sct|270427003",
            "status=finished",
            "patient=f001",
            "participant=Practitioner/f002",
            "practitioner=f002",
            "reason-code=34068001",
            "length=140||min",
            "length=lt150",
            "service-provider=Organization/f001",
            "date:missing=true",
        ],
        "no": [
            "class=IMP",
            "length=gt140",
            "practitioner=Organization/f001",
            "reason-reference:missing=false",
        ],
    },
    ("Coverage", "9876B1"): {
        "yes": [
            "beneficiary=Patient/4",
            "patient=4",
            "subscriber=Patient/4",
            "payor=Organization/2",
            "policy-holder=http://benefitsinc.com/FHIR/Organization/CBI35",
            "status=active",
            "dependent=0",
            "type=EHCPOL",
            "class-value=SILVER",
            "class-type=http://terminology.hl7.org/CodeSystem/coverage-class|plan",
            "identifier=http://benefitsinc.com/certificate|12345",
        ],
        "no": ["beneficiary=Patient/5", "policy-holder=Organization/CBI35", "class-value=gold"],
    },
    ("Claim", "100150"): {
        "yes": [
            "patient=Patient/1",
            "created=2014-08-16",
            "insurer=Organization/2",
            "provider=Organization/1",
            "priority=normal",
            "use=claim",
            "status=active",
            "care-team=Practitioner/example",
            "identifier=http://happyvalley.com/claim|12345",
        ],
        "no": [
            "patient=Patient/2",
            "created=gt2014-08-16",
            "use=preauthorization",
            "encounter:missing=false",
        ],
    },
    ("ServiceRequest", "example"): {
        "yes": [
            "code=http://snomed.info/sct|303653007",
            "category=103693007",
            "subject=Patient/example",
            "patient=example",
            "status=completed",
            "intent=order",
        ],
        "no": ["code=303653008", "status=active", "occurrence:missing=false"],
    },
}


@pytest.mark.parametrize(("type", "id"), BY_HAND)
def test_core_types_by_hand(type: str, id: str) -> None:
    for query in BY_HAND[type, id]["yes"]:
        assert finds(f"{type}?{query}", example(type, id)), query
    for query in BY_HAND[type, id]["no"]:
        assert not finds(f"{type}?{query}", example(type, id)), query


def test_main_dates() -> None:
    assert extractor.rows(example("Claim", "100150")).date == 1_408_147_200_000_000
    assert extractor.rows(example("ServiceRequest", "example")).date == MIN_DATE


def test_mistaken_shapes_make_no_rows() -> None:
    for value in (1, "x", True, None, {}, [], [[1]], {"coding": 1}, {"coding": [1, None]}, [{"reference": 1}],
                  {"value": "x", "system": 1}, {"start": 1}, {"low": 1}, [None]):  # fmt: skip
        for type in ("Observation", "Patient", "MolecularSequence", "Bundle", "ValueSet"):
            names = definitions.types[type].properties
            extractor.rows({**dict.fromkeys(names, value), "resourceType": type})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "coding",
                    "code",
                    "system",
                    "value",
                    "reference",
                    "identifier",
                    "start",
                    "end",
                    "family",
                    "low",
                    "high",
                    "origin",
                    "data",
                    "event",
                    "repeat",
                    "type",
                    "extension",
                    "url",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["Observation", "Patient", "Claim", "QuestionnaireResponse", "ValueSet"]), st.data())
def test_extracting_never_fails(type: str, data: st.DataObject) -> None:
    names = sorted(definitions.types[type].properties)
    body = data.draw(st.dictionaries(st.sampled_from(names), _JSON, max_size=6))
    extractor.rows({**body, "resourceType": type}, BASES)


def test_decimals_keep_their_value() -> None:
    text = '{"resourceType":"Observation","valueQuantity":{"value":5.40,"code":"mg"}}'
    ((_, lo, hi, _, _),) = extractor.rows(document(text)).numbers
    assert lo == hi == 5.4
