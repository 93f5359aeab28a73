"""String and uri searches: https://hl7.org/fhir/R4/search.html#string and #uri"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirhub.errors import BadRequest
from fhirhub.search.parameters.string import normalised
from searching import finds, rows, search


def named(**name: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "x", "name": [name]}


@pytest.mark.parametrize(
    ("query", "document", "expected"),
    [
        ("name=eve", named(family="Everett"), True),
        ("name=EVE", named(given=["Adam", "Evelyn"]), True),
        ("name=eve", named(family="Severin"), False),
        ("name:contains=eve", named(family="Severine"), True),
        ("name:contains=evx", named(family="Severine"), False),
        ("name:exact=Eve", named(family="Eve"), True),
        ("name:exact=eve", named(family="Eve"), False),
        ("name:exact=Eve", named(family="Evelyn"), False),
        ("name=ángel", named(given=["Angel"]), True),
        ("name=Angel", named(given=["Ángel"]), True),
        ("name:exact=Angel", named(given=["Ángel"]), False),
        ("name=ordonez", named(family="Ordóñez"), True),
        ("family=strasse", named(family="Straße"), True),
        ("family=o'brien", named(family="O Brien"), True),
        ("family=van  der", named(family="van-der Berg"), True),
        ("family=berg", named(family="van der Berg"), False),
        ("given=Adam,Eve", named(given=["Eve"]), True),
        ("given=Adam&given=Eve", named(given=["Eve"]), False),
        ("given=Adam&given=Eve", named(given=["Eve", "Adam"]), True),
        ("family=Adam", named(given=["Adam"]), False),
        ("phonetic=everet", named(family="Everett"), True),
        ("name=dr", named(prefix=["Dr."]), True),
        ("name=whole", named(text="Whole Name"), True),
        ("family:text=berg van", named(family="van der Berg"), True),
        ("family:text=BER", named(family="van der Berg"), True),
        ("family:text=erg", named(family="van der Berg"), False),
        ("family:text=berg dem", named(family="van der Berg"), False),
        ("name:text=eve berg", named(family="van der Berg", given=["Evelyn"]), True),
        ("name:missing=true", named(use="old"), True),
        (r"family=a\,b", named(family="a,b"), True),
        ("family=山", named(family="山田"), True),
    ],
)
def test_names(query: str, document: dict[str, Any], expected: bool) -> None:
    assert finds(f"Patient?{query}", document) is expected


def test_addresses() -> None:
    address = {"line": ["1 Main St", "Flat 2"], "city": "Zürich", "postalCode": "8001", "country": "CH"}
    patient = {"resourceType": "Patient", "id": "x", "address": [address]}
    for value in ("1 main", "flat", "zurich", "80", "ch"):
        assert finds(f"Patient?address={value}", patient), value
    assert finds("Patient?address-city=zur", patient)
    assert not finds("Patient?address-city=8001", patient)


def test_long_values_are_found_by_their_beginning_and_exactly_by_all_of_it() -> None:
    text = "word " * 100 + "end"
    plan = {"resourceType": "PlanDefinition", "id": "x", "description": text}
    assert finds(f"PlanDefinition?description={text}", plan)
    assert finds(f"PlanDefinition?description:exact={text}", plan)
    assert not finds(f"PlanDefinition?description:exact={text}x", plan)
    assert all(len(value) <= 200 for _, value in rows(plan).strings)


def test_punctuation_alone_does_not_match_everything() -> None:
    assert not finds("Patient?name=...", named(family="Eve"))
    assert finds("Patient?name=...", named(family="..."))


@given(st.text(max_size=40))
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


def test_many_words_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        search("Patient?name:text=" + " ".join(f"w{number}" for number in range(21)))
    assert caught.value.issues[0].code == "too-costly"


def test_blank_strings_are_refused() -> None:
    with pytest.raises(BadRequest):
        search("Patient?name= ")


def test_uris() -> None:
    value_set = {"resourceType": "ValueSet", "id": "x", "url": "http://acme.org/fhir/ValueSet/123"}
    assert finds("ValueSet?url=http://acme.org/fhir/ValueSet/123", value_set)
    assert not finds("ValueSet?url=http://acme.org/fhir/ValueSet/12", value_set)
    assert not finds("ValueSet?url=HTTP://acme.org/fhir/ValueSet/123", value_set)
    assert finds("ValueSet?url=urn:oid:1,http://acme.org/fhir/ValueSet/123", value_set)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("below=http://acme.org/fhir/ValueSet/123", True),
        ("below=http://acme.org/fhir/ValueSet", True),
        ("below=http://acme.org/fhir/", True),
        ("below=http://acme.org", True),
        ("below=http://acme.org/fhir/ValueSet/12", False),
        ("below=http://acme.org/fhi", False),
        ("below=http://acme.org/fhir/ValueSet/123/5", False),
        ("above=http://acme.org/fhir/ValueSet/123/5", True),
        ("above=http://acme.org/fhir/ValueSet/123/", True),
        ("above=http://acme.org/fhir/ValueSet/123", True),
        ("above=http://acme.org/fhir/ValueSet", False),
        ("below=http://other.org/,http://acme.org/", True),
    ],
)
def test_uris_have_a_hierarchy(query: str, expected: bool) -> None:
    value_set = {"resourceType": "ValueSet", "id": "x", "url": "http://acme.org/fhir/ValueSet/123"}
    assert finds(f"ValueSet?url:{query}", value_set) is expected


def test_a_urn_has_no_path() -> None:
    with pytest.raises(BadRequest, match="path of segments"):
        search("ValueSet?url:below=urn:oid:1.2.3")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("below=http://q/a|1", True),
        ("below=http://q/a|1.2", True),
        ("below=http://q/a|1.2.3", True),
        ("below=http://q/a|2", False),
        ("below=http://q/a|1.22", False),
        ("below=http://q/a", True),
        ("below=http://q", True),
        ("above=http://q/a|1.2.3.4", True),
        ("above=http://q/a|1.2", False),
    ],
)
def test_versions_of_canonicals_have_a_hierarchy(query: str, expected: bool) -> None:
    response = {"resourceType": "QuestionnaireResponse", "id": "x", "questionnaire": "http://q/a|1.2.3"}
    assert finds(f"QuestionnaireResponse?questionnaire:{query}", response) is expected


def test_profiles_are_found_with_and_without_their_version() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "x",
        "meta": {"profile": ["http://p/us|6.1.0"], "source": "urn:s"},
    }
    assert finds("Patient?_profile=http://p/us", patient)
    assert finds("Patient?_profile=http://p/us|6.1.0", patient)
    assert not finds("Patient?_profile=http://p/us|3.1.1", patient)
    assert finds("Patient?_source=urn:s", patient)
