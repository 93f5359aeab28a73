"""``:nickname`` on given names: who is asked for as Bill may have been entered as William, Will or Billy.

No modifier of R4's, but of servers before this one. Names belong together when one of them is short for the other, or
both are short for the same name; ``search/nicknames.txt`` tells which those are. The first word of a value has to be one
of them, as it is normalised: several given names stand apart in a HumanName, so this is its beginning, and an entry
like "William James" is found as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fhirhub.search.keeping import keeping
from fhirhub.search.parameters import phonetic
from fhirhub.search.parameters.base import Facet, Query, any_of, refuse, too_costly, unescape
from fhirhub.search.parameters.string import normalised
from fhirhub.search.predicate import And, Predicate, Text
from fhirhub.search.rows import STRING_LENGTH, range_key

MODIFIER = "nickname"
MOST_NAMES = 200
"""Names that one criterion may come to, those that belong to what is asked for included."""
_FACTS = Path(__file__).parents[1] / "nicknames.txt"


def serves(facet: Facet) -> bool:
    """Whether the values of ``facet`` are names of people, or the given names in them."""

    def holds_given_names(at: int) -> bool:
        route = facet.routes[at]
        # HumanName is the only type with an element of that name.
        return route.type_name == "HumanName" or (bool(route.moves) and route.moves[-1].name == "given")

    if facet.kind != "string" or phonetic.hears(facet):
        return False
    return bool(facet.routes) and all(map(holds_given_names, range(len(facet.routes))))


@lru_cache(maxsize=1)
def _facts() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(full name -> its short forms, short form -> the names that it stands for), all normalised."""
    short: dict[str, list[str]] = {}
    full: dict[str, list[str]] = {}
    for line in _FACTS.read_text(encoding="utf-8").splitlines():
        if line and line[0] != "#":
            name, *forms = line.split()
            short[name] = forms
            for form in forms:
                full.setdefault(form, []).append(name)
    return short, full


@keeping(4096)
def related(name: str) -> tuple[str, ...]:
    """The normalised ``name`` and those that belong to it, sorted; it alone when nothing is known of it."""
    short, full = _facts()
    found = {name, *full.get(name, ())}
    for each in tuple(found):
        found.update(short.get(each, ()))
    return tuple(sorted(found))


def _spellings(text: str) -> list[list[str]]:
    """What ``text`` may be entered as: for each of its words, the names that will do, and for all of it at once."""
    words = list(dict.fromkeys(text.split()))
    found = [list(related(word)) for word in words]
    if len(words) > 1:
        first, _, rest = text.partition(" ")
        found.append([f"{each} {rest}" for each in related(first)])
    return found


def _any_name(key: int, names: Sequence[str]) -> Predicate:
    """A value that is one of ``names``, or begins with one as a word: two places in the order of the index."""
    cut = dict.fromkeys(name[: STRING_LENGTH - 1] for name in names)
    return any_of(
        [Text(key, how, name + end) for name in cut for how, end in (("equals", ""), ("prefix", " "))]
    )


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``: all words of one, each in a name of its own, or all of them in the same."""
    key, left = range_key(facet.pid), MOST_NAMES
    found: list[Predicate] = []
    for value in values:
        text = normalised(unescape(value))
        if not text:
            raise refuse(facet.expression, f"{facet.code} needs a name to look for")
        spellings = _spellings(text)
        left -= sum(map(len, spellings))
        if left < 0:
            raise too_costly(
                facet.expression,
                f"with all that belong to them these are more than {MOST_NAMES} names; ask for fewer at once",
            )
        parts = [_any_name(key, names) for names in spellings]
        if len(parts) > 1:
            found.append(And(tuple(parts[:-1])))
        found.append(parts[-1])
    return any_of(found)
