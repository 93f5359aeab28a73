"""Names that somebody may be called by, and those that are another's."""

from __future__ import annotations

import pytest

from fhirhub.errors import BadRequest
from fhirhub.search.parameters import nickname
from fhirhub.search.parameters.nickname import related
from fhirhub.search.parameters.string import normalised
from searching import definitions, finds, registry, search

PEOPLE = ("Patient", "Person", "Practitioner", "RelatedPerson")


def named(type: str = "Patient", **name: object) -> dict[str, object]:
    return {"resourceType": type, "id": "x", "name": [name]}


@pytest.mark.parametrize(
    ("query", "name", "expected"),
    [
        ("given:nickname=Bill", {"given": ["William"]}, True),
        ("given:nickname=William", {"given": ["Bill"]}, True),
        ("given:nickname=Bill", {"given": ["Will"]}, True),
        ("given:nickname=Billy", {"given": ["Will"]}, True),
        ("given:nickname=bill", {"given": ["BILL"]}, True),
        ("given:nickname=BÍLL", {"given": ["Wílliam"]}, True),
        ("given:nickname=Bill", {"given": ["James", "William"]}, True),
        ("given:nickname=Bill", {"given": ["William James"]}, True),
        ("given:nickname=Bill", {"given": ["William-James"]}, True),
        ("given:nickname=Bill", {"given": ["Williamina"]}, False),
        ("given:nickname=Bill", {"given": ["Robert"]}, False),
        ("given:nickname=Jim", {"given": ["Jimmy"]}, True),
        ("given:nickname=Peggy", {"given": ["Margaret"]}, True),
        ("given:nickname=Margaret", {"given": ["Meg"]}, True),
        ("given:nickname=Xanthippe-Zoe", {"given": ["Xanthippe", "Zoe"]}, True),
        ("given:nickname=Zqhard", {"given": ["Zqhard"]}, True),
        ("given:nickname=Zqhard", {"given": ["Zqhardt"]}, False),
        ("given:nickname=Zqhard,Bill", {"given": ["Willie"]}, True),
        ("given:nickname=Жуков", {"given": ["Жуков"]}, True),
        ("given:nickname=Bill", {"family": "William"}, False),
        ("name:nickname=Bill", {"family": "William"}, True),
        ("name:nickname=Bill Smith", {"given": ["William"], "family": "Smith"}, True),
        ("name:nickname=Bill Smith", {"given": ["William"], "family": "Smithers"}, False),
        ("name:nickname=Bill Smith", {"text": "William Smith"}, True),
        ("name:nickname=Bill van der Berg", {"text": "Will van der Berg"}, True),
        ("given:nickname=Annie Marie", {"given": ["Ann-Marie"]}, True),
        ("given:missing=false", {"given": ["William"]}, True),
    ],
)
def test_names(query: str, name: dict[str, object], expected: bool) -> None:
    assert finds(f"Patient?{query}", named(**name)) is expected


@pytest.mark.parametrize("type", PEOPLE)
def test_people(type: str) -> None:
    assert finds(f"{type}?name:nickname=Liz", named(type, given=["Elizabeth"]))
    assert not finds(f"{type}?name:nickname=Liz", named(type, given=["Barbara"]))


def test_it_is_for_names_of_people_only() -> None:
    able = {
        (type, code)
        for type in definitions.resource_types
        for code, facet in registry.facets(type).items()
        if nickname.serves(facet)
    }
    assert able == {(type, "name") for type in PEOPLE} | {("Patient", "given"), ("Practitioner", "given")}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("Patient?family:nickname=Bill", "use given:nickname or name:nickname"),
        ("Patient?phonetic:nickname=Bill", "use given:nickname or name:nickname"),
        ("Person?gender:nickname=Bill", "use name:nickname"),
        ("Patient?birthdate:nickname=2020", "use given:nickname or name:nickname"),
        ("Organization?name:nickname=Bill", "has no modifier 'nickname'; it has :missing"),
        ("Patient?given:nick=Bill", "did you mean 'nickname'"),
        ("Patient?given:nickname=Bill,", "has an empty value"),
        ("Patient?given:nickname= ", "needs a name to look for"),
        ("Patient?given:nickname=" + ",".join(["Lena"] * 9), "more than 200 names"),
    ],
)
def test_what_is_refused(query: str, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        search(query)
    assert told in caught.value.issues[0].text


def test_lenient_handling_passes_over_it() -> None:
    assert search("Patient?family:nickname=Bill", lenient=True).notes


def test_whoever_belongs_to_another_is_belonged_to() -> None:
    short, full = nickname._facts()
    names = {*short, *full}
    assert len(names) > 2000
    for name in names:
        assert normalised(name) == name and " " not in name
        assert name in related(name)
        assert all(name in related(other) for other in related(name)), name
        assert len(related(name)) < nickname.MOST_NAMES / 2
