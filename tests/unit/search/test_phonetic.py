"""Names that sound alike, and names that do not."""

from __future__ import annotations

import pytest

from fhirhub.search.parameters.phonetic import sound
from searching import finds

ALIKE = [
    "smith smyth smithe", "schmidt schmitt shmit", "meyer maier meier mayer mayr", "catherine katharine kathryn katrin",
    "stephen steven stefan", "philip phillip filip", "johnson jonson", "thompson tomson thomson", "knight night",
    "wright right rite", "clark clarke klark", "jerald gerald", "shawn shaun", "muller mueller", "vogt fogt",
    "nguyen", "jackson jakson", "xavier savier", "hoffmann hofmann", "whitaker witaker", "lamb lam", "rodriguez rodrigues",
]  # fmt: skip
APART = [
    "smith jones", "meyer miller", "anna hanna", "clark lark",
    "johnson jackson", "garcia martinez", "mann lamm", "жуков жуковский", "li wu",
]  # fmt: skip


@pytest.mark.parametrize("names", ALIKE)
def test_names_that_sound_alike(names: str) -> None:
    assert len({sound(name) for name in names.split()}) == 1


@pytest.mark.parametrize("names", APART)
def test_names_that_do_not(names: str) -> None:
    first, second = names.split()
    assert sound(first) != sound(second)


@pytest.mark.parametrize("type", ["Patient", "Practitioner", "Person", "RelatedPerson"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("phonetic=Smyth", True),
        ("phonetic=SMITHE", True),
        ("phonetic=katrin smith", True),
        ("phonetic=katrin jones", False),
        ("phonetic=jones,smitt", True),
        ("phonetic=Smi", False),
        ("phonetic=Doktor", False),
        ("phonetic:exact=Smith", True),
        ("phonetic:exact=Smyth", False),
        ("phonetic:missing=false", True),
        ("phonetic=Jukow", False),
        ("phonetic=Жуков", True),
    ],
)
def test_phonetic(type: str, query: str, expected: bool) -> None:
    person = {
        "resourceType": type,
        "name": [{"family": "Smith", "given": ["Catherine"], "prefix": ["Doctor"]}, {"text": "Жуков"}],
    }
    assert finds(f"{type}?{query}", person) == expected


def test_organizations_sound_alike_too() -> None:
    clinic = {"resourceType": "Organization", "name": "Stephens Clinic"}
    assert finds("Organization?phonetic=stevens klinik", clinic)
    assert not finds("Organization?phonetic=peters klinik", clinic)
