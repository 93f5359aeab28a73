"""What searches were understood as is kept for whoever asks the same again."""

from __future__ import annotations

import pytest

import fhirhub.search.understood as module
from fhirhub.errors import BadRequest
from fhirhub.search.parse import SearchParser
from fhirhub.search.request import SearchRequest
from searching import definitions

BASES = ("http://here/fhir",)
CODE = (("code", "1-1"),)


def ask(
    parser: SearchParser, *parameters: tuple[str, str], lenient: bool = False, asker: str = ""
) -> SearchRequest:
    return parser.understood("Observation", parameters, lenient, BASES, False, asker)


def test_what_is_asked_again_is_the_same_object_and_means_what_it_says() -> None:
    parser = SearchParser(definitions, b"secret")
    first = ask(parser, *CODE)
    assert ask(parser, *CODE) is first == parser.parse("Observation", CODE, bases=BASES)
    assert ask(parser, *CODE, asker="somebody else") is not first
    assert ask(parser, ("code", "2-2")) != first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date", "ap2020"),
        ("date", "2019-01-01,ap2020"),
        ("code-value-date", "http://codes.test|1-1$ap2020"),
        ("_filter", "date ap 2020"),
        ("_filter", "code eq 1-1 and (date ap 2020)"),
        ("patient.birthdate", "ap1980"),
        ("_lastUpdated", "ap2020"),
    ],
)
def test_what_depends_on_the_clock_is_understood_each_time(name: str, value: str) -> None:
    now = 1_700_000_000.0
    parser = SearchParser(definitions, b"secret", clock=lambda: now)
    before = ask(parser, (name, value))
    now += 86_400 * 365
    assert ask(parser, (name, value)) != before


def test_what_is_refused_is_refused_again_and_leniency_is_not_mixed_up() -> None:
    parser = SearchParser(definitions, b"secret")
    assert ask(parser, ("colour", "red"), lenient=True).notes
    for _ in range(2):
        with pytest.raises(BadRequest):
            ask(parser, ("colour", "red"))


def test_only_so_many_short_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 4)
    parser = SearchParser(definitions, b"secret")
    first = ask(parser, *CODE)
    for number in range(5):
        ask(parser, ("code", f"{number}-{number}"))
    assert ask(parser, *CODE) is not first
    long = ("code", "x" * module.LONG)
    assert ask(parser, long) is not ask(parser, long)


def test_long_ones_take_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 100)
    parser = SearchParser(definitions, b"secret")
    first = ask(parser, *CODE)
    assert ask(parser, *CODE) is first
    ask(parser, ("code", "x" * 60))
    assert ask(parser, *CODE) is first
    ask(parser, ("code", "y" * 60))
    assert ask(parser, *CODE) is not first
    for number in range(200):
        ask(parser, ("code", f"{number}" * 8))
    kept = [each for each in parser._understood._known]  # noqa: SLF001
    assert 1 <= sum(module.size_of(each[1]) for each in kept) <= 100
