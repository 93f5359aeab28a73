"""``phonetic``: names that sound alike, https://hl7.org/fhir/R4/patient.html#search.

R4 leaves the algorithm open. Here a word is reduced to the consonants that are heard, with the spellings of English
and German names in mind (Smith and Smyth, Meyer and Maier, Stephen and Steven); both sides of the search are reduced
alike. Words of other scripts stand for themselves. Every word asked for must occur in a name.
"""

from __future__ import annotations

import re
from typing import Any

from fhirhub.definitions.tables import OWN
from fhirhub.search.keeping import keeping
from fhirhub.search.parameters.base import NUL, Context, Emit, Facet, Query, any_of, refuse
from fhirhub.search.parameters.string import normalised
from fhirhub.search.predicate import And, Keys, Predicate
from fhirhub.search.rows import Rows, hashed_key

CODE = "phonetic"
_PARTS = ("text", "family", "given")
"""Of a HumanName; how somebody is addressed is not what they are called."""
_LATIN = re.compile(r"[a-z]+")
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        # Capitals are sounds that no later rule looks at: X as in ship, J as in jam.
        (r"^(?:kn|gn|pn)", "n"),
        (r"^wr", "r"),
        (r"^x", "s"),
        (r"mb$", "m"),
        (r"x", "ks"),
        (r"sch|tch|sh|ch|[ts]i(?=[ao])", "X"),
        (r"ph|v|pf", "f"),
        (r"th|dt|tt|d", "t"),
        (r"mps", "ms"),
        (r"ght", "t"),
        (r"gh(?=[aeiouy])", "K"),
        (r"gh", ""),
        (r"dg(?=[eiy])|g(?=[eiy])|j", "J"),
        (r"ck|q|g|c(?![eiy])", "k"),
        (r"[cz]|ts", "s"),
        (r"wh|w(?=[aeiouy])", "W"),
        (r"(?<!^)[hw]|^h(?![aeiouy])", ""),
        (r"^[aeiouy]+", "A"),
        (r"[aeiouy]+", ""),
    )
)
_TWICE = re.compile(r"(.)\1+")


@keeping(16384)
def sound(word: str) -> str:
    """What the normalised ``word`` sounds like."""
    if not _LATIN.fullmatch(word):
        return word
    heard = word
    for pattern, letter in _RULES:
        heard = pattern.sub(letter, heard)
    return _TWICE.sub(r"\1", heard.lower().replace("x", "X").replace("j", "J")) or word


def sounds(text: str) -> set[str]:
    """The sounds of the words of ``text``."""
    return {sound(word) for word in normalised(text).split()}


def _key(pid: int, heard: str, secret: bytes) -> int:
    return hashed_key(pid, f"{NUL}{heard}", secret)


def hears(facet: Facet) -> bool:
    """Whether ``facet`` goes by sound: R4's ``phonetic``, not a parameter of somebody's own that is called so."""
    return facet.code == CODE and facet.kind == "string" and facet.pid < OWN


def indexer(pid: int, secret: bytes) -> Emit:
    """The emitter for a HumanName or a plain name."""

    def emit(value: Any, rows: Rows, context: Context) -> None:
        parts = [value.get(part) for part in _PARTS] if type(value) is dict else [value]
        for part in parts:
            for text in part if type(part) is list else [part]:
                if type(text) is str:
                    rows.params.add(pid)
                    rows.tokens.update(_key(pid, heard, secret) for heard in sounds(text))

    return emit


def parse(facet: Facet, values: list[str], query: Query) -> Predicate:
    """Any of ``values``, all words of each."""
    found: list[Predicate] = []
    for value in values:
        heard = sorted(sounds(value))
        if not heard:
            raise refuse(facet.expression, f"{facet.code} needs a name to listen for")
        keys = [Keys((_key(facet.pid, each, query.secret),)) for each in heard]
        found.append(keys[0] if len(keys) == 1 else And(tuple(keys)))
    return any_of(found)
