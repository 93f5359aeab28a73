"""String parameters: https://hl7.org/fhir/R4/search.html#string

A plain search finds values that start with the text, a ``:contains`` those that contain it, both after
normalising (accents, case, punctuation and runs of blanks do not count); ``:exact`` compares the value as it
is, by hash. ``:text``, which R5 gives to strings (https://hl7.org/fhir/R5/search.html#modifiertext), finds words in any
order, each at the beginning of one. HumanName and Address are indexed part by part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search.keeping import keeping
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, any_of, refuse, too_costly, unescape
from fhirhub.search.predicate import And, Keys, Predicate, Text
from fhirhub.search.rows import STRING_LENGTH, Rows, hashed_key, range_key

MODIFIERS = ("exact", "contains", "text")
MOST_WORDS = 20
"""Words that one ``:text`` may look for."""

_PARTS: dict[str, tuple[str, ...]] = {
    "HumanName": ("text", "family", "given", "prefix", "suffix"),
    "Address": ("text", "line", "city", "district", "state", "postalCode", "country"),
    "CodeableConcept": ("text",),
    "Annotation": ("text",),
}
_PLAIN = frozenset(("string", "markdown", "code", "id", "uri", "url", "canonical"))
_ASCII = {n: " " for n in range(128) if not chr(n).isalnum()}


@keeping(16384)
def normalised(value: str) -> str:
    """``value`` as it is compared: no accents, case or punctuation; single blanks; whole (not cut to length).

    A value made of nothing but punctuation keeps it, so that it does not match everything.
    """
    if value.isascii():
        text = " ".join(value.translate(_ASCII).split()).lower()
    else:
        bare = "".join(c for c in unicodedata.normalize("NFKD", value) if not unicodedata.combining(c))
        folded = unicodedata.normalize("NFKD", bare.casefold())
        text = " ".join("".join(c if _counts(c) else " " for c in folded).split())
    return text or " ".join(value.split()).casefold()


def _counts(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] in "LNM"


def exact_spelling(value: str) -> str:
    """What is hashed for ``:exact``."""
    return "=" + value


def string_values(value: Any, type_name: str) -> list[str]:
    """The strings a value is found by."""
    parts = _PARTS.get(type_name)
    if parts is None:
        return [value] if type(value) is str else []
    if type(value) is not dict:
        return []
    found: list[str] = []
    for part in parts:
        inner = value.get(part)
        if type(inner) is str:
            found.append(inner)
        elif type(inner) is list:
            found.extend(item for item in inner if type(item) is str)
    return found


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when strings are not made of that type."""
    type_name = route.type_name
    key = range_key(pid)
    if type_name in _PLAIN:

        def emit_plain(value: Any, rows: Rows, context: Context) -> None:
            if type(value) is str:
                rows.params.add(pid)
                rows.strings.add((key, normalised(value)[:STRING_LENGTH]))
                rows.tokens.add(hashed_key(pid, exact_spelling(value), secret))

        return emit_plain
    if type_name not in _PARTS:
        return None

    def emit_parts(value: Any, rows: Rows, context: Context) -> None:
        for text in string_values(value, type_name):
            rows.params.add(pid)
            rows.strings.add((key, normalised(text)[:STRING_LENGTH]))
            rows.tokens.add(hashed_key(pid, exact_spelling(text), secret))

    return emit_parts


def text_predicate(key: int, match: str, value: str) -> Predicate:
    """A comparison of the text ``value`` with the rows under ``key``."""
    return Text(key, match, normalised(value)[:STRING_LENGTH])


def words_predicate(expression: str, key: int, value: str) -> Predicate:
    """All the words of ``value``, each at the beginning of a text under ``key`` or of a word in it."""
    words = list(dict.fromkeys(normalised(value)[:STRING_LENGTH].split()))
    if len(words) > MOST_WORDS:
        raise too_costly(
            expression, f"at most {MOST_WORDS} words can be looked for at once, not {len(words)}"
        )
    found = [any_of([Text(key, "prefix", word), Text(key, "contains", " " + word)]) for word in words]
    return found[0] if len(found) == 1 else And(tuple(found))


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    texts = [unescape(value) for value in values]
    if modifier == "exact":
        return Keys(tuple(hashed_key(facet.pid, exact_spelling(text), query.secret) for text in texts))
    for text in texts:
        if not text.strip():
            raise refuse(facet.expression, f"{facet.code} needs some text to look for")
    if modifier == "text":
        return any_of([words_predicate(facet.expression, range_key(facet.pid), text) for text in texts])
    match = "contains" if modifier == "contains" else "prefix"
    return any_of([text_predicate(range_key(facet.pid), match, text) for text in texts])
