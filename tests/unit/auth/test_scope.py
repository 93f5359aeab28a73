"""The grammar of scopes, and what is left of those a client asks for."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirhub.auth import scope as scopes
from fhirhub.auth.criteria import Criteria
from fhirhub.auth.negotiation import negotiate, without_covered
from fhirhub.auth.scope import LETTERS, Scope, ScopeError, joined, known, parse, parse_all
from searching import parser

ORDERED = ["".join(x for n, x in enumerate(LETTERS) if mask >> n & 1) for mask in range(1, 32)]
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, blacklist_categories=("C", "Z")),
    min_size=1,
    max_size=12,
)
NAMES = st.sampled_from(["category", "code", "_tag", "status", "based-on"])
RESOURCE = st.builds(
    Scope,
    st.sampled_from(scopes.LEVELS),
    st.sampled_from(["*", "Observation", "Patient", "Condition"]),
    st.sampled_from(ORDERED),
    st.lists(st.tuples(NAMES, VALUES), max_size=3, unique=True).map(lambda pairs: tuple(sorted(pairs))),
)


@given(RESOURCE)
def test_what_is_written_is_read_again(scope: Scope) -> None:
    assert parse(scope.text) == scope
    assert parse_all(joined([scope, scope])) == (scope,)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x17F), max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_scope_with_a_canonical_text_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except ScopeError as error:
        assert str(error).isprintable()
        return
    assert parse(found.text) == found


@pytest.mark.parametrize("size", range(1, 6))
def test_letters_have_one_order(size: int) -> None:
    for chosen in permutations(LETTERS, size):
        word = f"patient/Observation.{''.join(chosen)}"
        if "".join(chosen) in ORDERED:
            assert parse(word).letters == "".join(chosen)
        else:
            with pytest.raises(ScopeError):
                parse(word)


@pytest.mark.parametrize(("text", "letters"), [("read", "rs"), ("write", "cud"), ("*", "cruds")])
@pytest.mark.parametrize("type", ["*", "Observation"])
def test_version_1_is_answered_in_version_1(text: str, letters: str, type: str) -> None:
    found = parse(f"patient/{type}.{text}")
    assert (found.letters, found.v1, found.text) == (letters, True, f"patient/{type}.{text}")


@pytest.mark.parametrize(
    "text",
    [
        "patient/Observation", "patient/Observation.", "patient/.rs", "patient/observation.rs", "Patient/Observation.rs",
        "patient/Observation.RS", "patient/Observation.rr", "patient/Observation.reads", "patient/Observation.dus",
        "patient/Observation.rs ", "patient/Observation.r s", "patient/Observation.rs?", "patient/Observation.rs?category",
        "patient/Observation.rs?category=", "patient/Observation.rs?=x", "patient/Observation.rs?a=b&", "patient//*.rs",
        "patient/Observation.rs?code:not=x", "patient/Observation.rs?patient.name=x", "patient/Observation.read?code=x",
        "patient/Observation.rs?code=a+b", "patient/Observation.rs?code=a#b", "patient/Observation.rs?code=%zz",
        "patient/Observation.rs?code=%ff", "patient/Observation.rs?code=%00", "patient/Observation.rs?code=%20",
        "patient/Observation.rs?_has:X:y:z=1", "patient/Observation.rs?code=\"x\"", "patient/Observation.rs?code=a\\,b",
        "patient/Obs*.rs", "*/*.rs", "patient/*.*s", "patient/*.*.rs", "group/*.rs", "launch/Patient", "launch/", "launch/patient/x",
        "launch?x", "OpenID", "offline", "", " ", "é", "patient/Observation.rs\n", "user/*.cruds\0", "a" * 2000,
        "patient/Observation.rs?" + "&".join(f"a{n}=1" for n in range(11)),
    ],
)  # fmt: skip
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ScopeError):
        parse(text)


def test_unknown_words_are_told_apart() -> None:
    assert known("openid  patient/*.sr hello launch/patient") == (
        (parse("openid"), parse("launch/patient")),
        ("patient/*.sr", "hello"),
    )
    with pytest.raises(ScopeError, match="at most"):
        known(" ".join(f"user/Patient.rs?a={n}" for n in range(300)))


@pytest.mark.parametrize(
    ("requested", "allowed", "expected"),
    [
        (
            "patient/*.rs",
            "patient/Observation.rs patient/Patient.r",
            "patient/Observation.rs patient/Patient.r",
        ),
        ("patient/Observation.cruds", "patient/*.rs", "patient/Observation.rs"),
        ("patient/Observation.read", "patient/*.cruds", "patient/Observation.read"),
        ("patient/*.*", "patient/*.rs", "patient/*.read"),
        ("patient/*.*", "patient/*.r", "patient/*.r"),
        ("patient/Observation.rs", "patient/Observation.r patient/*.s", "patient/Observation.rs"),
        ("patient/Observation.rs", "patient/Observation.rs?code=a", "patient/Observation.rs?code=a"),
        (
            "patient/Observation.rs?category=x",
            "patient/Observation.rs?code=a",
            "patient/Observation.rs?category=x&code=a",
        ),
        ("patient/Observation.rs patient/*.rs", "patient/*.cruds", "patient/*.rs"),
        ("user/Observation.rs", "patient/Observation.rs", ""),
        ("system/*.rs", "user/*.rs patient/*.rs", ""),
        ("patient/Observation.c", "patient/Observation.rs", ""),
        ("openid fhirUser launch", "openid launch patient/*.rs", "openid launch"),
    ],
)
def test_negotiation(requested: str, allowed: str, expected: str) -> None:
    assert joined(negotiate(parse_all(requested), parse_all(allowed))) == expected


SMALL = st.lists(
    st.builds(
        Scope,
        st.sampled_from(["patient", "user"]),
        st.sampled_from(["*", "Observation", "Patient"]),
        st.sampled_from(ORDERED),
        st.lists(st.tuples(st.sampled_from(["a", "b"]), st.just("1")), max_size=2, unique=True).map(
            lambda pairs: tuple(sorted(pairs))
        ),
        st.booleans(),
    ),
    max_size=4,
)


def _allows(
    scopes: tuple[Scope, ...] | list[Scope], level: str, type: str, letter: str, has: set[str]
) -> bool:
    return any(
        one.level == level
        and one.type in ("*", type)
        and letter in one.letters
        and {name for name, _ in one.query} <= has
        for one in scopes
    )


@given(SMALL, SMALL)
@settings(max_examples=300)
def test_negotiation_gives_what_both_allow_and_nothing_else(asked: list[Scope], own: list[Scope]) -> None:
    got = negotiate(asked, own)
    for level in ("patient", "user"):
        for type in ("Observation", "Patient", "Condition"):
            for letter in LETTERS:
                for has in (set(), {"a"}, {"b"}, {"a", "b"}):
                    case = (level, type, letter, has)
                    assert _allows(got, *case) == (_allows(asked, *case) and _allows(own, *case)), case
    assert without_covered(got) == got


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("patient/Observation.rs?category=http://x|laboratory", True),
        ("patient/Observation.rs?date=ge2020&code=a,b&subject=Patient/1", True),
        ("patient/Patient.rs?family=x", True),
        ("patient/Observation.rs?_tag=a&_security=b&_id=c", True),
        ("patient/*.rs?category=x", True),
        ("openid", True),
        ("patient/Nothing.rs", False),
        ("patient/Observation.rs?nothing=1", False),
        ("patient/*.rs?nothing=1", False),
        ("patient/Observation.rs?value-quantity=5", False),
        ("patient/Observation.rs?_lastUpdated=2020", False),
        ("patient/Observation.rs?date=ap2020", False),
        ("patient/Observation.rs?date=yesterday", False),
        ("patient/Observation.rs?_filter=code%20eq%20a", False),
        ("patient/Observation.rs?_text=a", False),
        ("patient/Observation.rs?_list=a", False),
        ("patient/Observation.rs?_count=1", False),
        ("patient/Observation.rs?code-value-quantity=a$5", False),
        ("patient/ValueSet.rs?url=http://x", False),
    ],
)
def test_queries_of_scopes_are_plain(text: str, good: bool) -> None:
    criteria = Criteria(parser)
    if good:
        criteria.check(parse(text))
    else:
        with pytest.raises(ScopeError):
            criteria.check(parse(text))
