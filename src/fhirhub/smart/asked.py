"""What an app asks for, what of it the app may have, and what a person makes of it on the consent page.

Scopes stay the words they came as until the token is made: the boxes of the page carry them, and what was asked for in
SMART v1 is answered in v1 (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fhirhub.definitions.tables import load
from fhirhub.smart.categories import CATEGORIES, TYPES

PLAIN = {
    "launch": "Know what is open in the record right now",
    "launch/patient": "Know which patient it is about",
    "launch/encounter": "Know which visit it is about",
    "openid": "Know who you are",
    "fhirUser": "See your entry in the record's list of people",
    "profile": "See your name",
    "offline_access": "Keep access when you are not using it, until you end it",
    "online_access": "Keep access while you are signed in",
}
"""Scopes that are no access to resources, and what they let the app do."""
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}
_GRAMMAR = re.compile(
    r"(patient|user|system)/([A-Z][A-Za-z]{1,63}|\*)\.(c?r?u?d?s?|read|write|\*)(?:\?([^\s\"\\]{1,900}))?"
)
_QUERY = re.compile(r"[a-z_][A-Za-z_-]*=[^&=]+(?:&[a-z_][A-Za-z_-]*=[^&=]+)*")
_VERBS = (("c", "add"), ("r", "read"), ("u", "change"), ("d", "delete"), ("s", "search"))


@dataclass(frozen=True, slots=True)
class Wish:
    """A scope of resources, taken apart; ``letters`` is an ordered part of ``cruds``."""

    level: str
    type: str
    suffix: str
    """As it was written: letters, or the v1 word."""
    letters: str
    query: str

    def within(self, other: Wish) -> Wish | None:
        """What of it ``other`` covers, too; None for nothing."""
        if self.level != other.level or (self.type != other.type and "*" not in (self.type, other.type)):
            return None
        letters = "".join(one for one in self.letters if one in other.letters)
        if not letters or (self.query and other.query and self.query != other.query):
            return None
        suffix = self.suffix if letters == self.letters else letters
        query = self.query or other.query
        if query and suffix in _V1:
            suffix = letters
        return Wish(self.level, other.type if self.type == "*" else self.type, suffix, letters, query)

    def __str__(self) -> str:
        return f"{self.level}/{self.type}.{self.suffix}" + (f"?{self.query}" if self.query else "")


@lru_cache(maxsize=4096)
def wish(word: str) -> Wish | None:
    """``word`` taken apart; None when it is no scope of resources. Nothing is guessed: ``.dus`` means nothing."""
    found = _GRAMMAR.fullmatch(word)
    if found is None:
        return None
    level, type, suffix, query = found.groups()
    known = type == "*" or type in load().type_number
    if not known or not suffix or (query and (suffix in _V1 or type == "*" or not _QUERY.fullmatch(query))):
        return None
    return Wish(level, type, suffix, _V1.get(suffix, suffix), query or "")


def words(scopes: str | Iterable[str]) -> list[str]:
    """The scopes of a text, each once."""
    return list(dict.fromkeys(scopes.split() if isinstance(scopes, str) else scopes))


def means_something(word: str) -> bool:
    """Whether ``word`` is a scope of ours."""
    return word in PLAIN or wish(word) is not None


def opens(word: str) -> bool:
    """Whether ``word`` by itself lets an app do anything: read a resource, or know who signed in."""
    return word == "openid" or wish(word) is not None


def needs_patient(asked: Iterable[str]) -> bool:
    """Whether these scopes mean one patient, who has to be known."""
    return any(word == "launch/patient" or word.startswith("patient/") for word in asked)


def allowed(asked: Sequence[str], registered: str | Iterable[str], *, launched: bool) -> list[str]:
    """What a client that is ``registered`` for some scopes may ask a person for, of what it asks.

    ``launch`` means something in an EHR launch only, ``system/`` scopes nothing where a person is asked.
    """
    own = words(registered)
    wishes = [found for found in map(wish, own) if found is not None]
    kept: list[str] = []
    for word in asked:
        if word in PLAIN:
            if word in own and (word != "launch" or launched):
                kept.append(word)
            continue
        wanted = wish(word)
        if wanted is not None and wanted.level != "system":
            parts = [found for found in map(wanted.within, wishes) if found is not None]
            whole = [part for part in parts if part == wanted]
            kept += [str(part) for part in whole or parts]
    return list(dict.fromkeys(kept))


def parts(word: str) -> list[tuple[str, str]]:
    """Narrower scopes that a person may choose instead of ``word``: (scope, what it is)."""
    found = wish(word)
    if found is None or found.query:
        return []
    if found.type == "*":
        return [(f"{found.level}/{type}.{found.suffix}", text) for type, text in TYPES.items()]
    return [
        (f"{found.level}/{found.type}.{found.letters}?{query}", text)
        for query, text in CATEGORIES.get(found.type, ())
    ]


def answered(asked: Sequence[str], ticked: Iterable[str], chosen: Iterable[str]) -> list[str] | None:
    """The scopes a person allowed: those ``ticked``, each replaced by its ``chosen`` parts (``scope part``) if any.

    None when the answer holds what the page did not offer.
    """
    instead: dict[str, list[str]] = {}
    for choice in chosen:
        word, _, part = choice.partition(" ")
        if word not in asked or part not in dict(parts(word)):
            return None
        instead.setdefault(word, []).append(part)
    kept = list(ticked)
    if not set(kept) <= set(asked):
        return None
    return words(part for word in asked if word in kept for part in instead.get(word, [word]))


def plain(word: str) -> str:
    """``word`` as people say it."""
    found = wish(word)
    if found is None:
        return PLAIN.get(word, word)
    verbs = [
        verb
        for letter, verb in _VERBS
        if letter in found.letters and not (letter == "s" and "r" in found.letters)
    ]
    doing = f"{', '.join(verbs[:-1])} and {verbs[-1]}" if len(verbs) > 1 else verbs[0]
    return f"{doing.capitalize()}: {_of(found)}"


def _of(found: Wish) -> str:
    if found.type == "*":
        return (
            "everything in the record" if found.level == "patient" else "everything you may see in the record"
        )
    if found.query:
        names = dict(CATEGORIES.get(found.type, ()))
        return names.get(found.query) or f"{TYPES.get(found.type, found.type)}, where {found.query}"
    return TYPES.get(found.type, found.type)
