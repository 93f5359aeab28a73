"""SMART scopes, versions 1 and 2: https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html

A resource scope says ``level/Type.letters?query``; the letters are some of c r u d s, in this order::

    c  create                               r  read, vread and the history of one resource
    u  update and patch                     d  delete
    s  search and the history of many

What is written in any other way (``.dus``, ``.R``, a query with a bare ``+``) is no scope; nothing is guessed.
Everything here is about the text. Whether a type exists and a query means something: :mod:`fhirhub.auth.granular`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

LETTERS = "cruds"
LEVELS = ("patient", "user", "system")
V1 = {"read": "rs", "write": "cud", "*": "cruds"}
"""What a permission of version 1 is in version 2."""
PLAIN = frozenset({"openid", "fhirUser", "profile", "offline_access", "online_access", "launch"})
"""Scopes that are one word."""
MAX_SCOPE = 1000
"""Characters of one scope."""
MAX_TEXT = 16_000
MAX_SCOPES = 250
MAX_CRITERIA = 10
"""Parameters in the query of one scope."""

_RESOURCE = re.compile(
    r"(patient|user|system)/([A-Z][A-Za-z]{1,60}|\*)\.(?:(read|write|\*)|(c?r?u?d?s?)(?:\?(.*))?)", re.DOTALL
)
_LAUNCH = re.compile(r"launch/[a-z]{1,60}(?:\?role=[!#-\[\]-~]{1,500})?")
_CHARACTERS = re.compile(r"[!#-\[\]-~]+")
"""scope-token of RFC 6749 §3.3: visible ASCII without quotes and backslashes."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = "/:|,.~!*'()@;$-_?[]`{}^<>"
"""Characters that stand for themselves in the value of a query, besides letters and digits."""


class ScopeError(ValueError):
    """A text that is no scope; the message says which, and how one is written."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope. For those that are no resource scopes (``openid``, ``launch/patient``), ``level`` is empty and
    ``type`` is the whole text.
    """

    level: str
    type: str
    letters: str = ""
    query: tuple[tuple[str, str], ...] = ()
    """Search parameters, decoded and sorted: all of them must be fulfilled."""
    v1: bool = False
    """It was asked for in the words of version 1, and is named so in answers as long as that is possible."""

    @property
    def is_resource(self) -> bool:
        """Whether it is about resources."""
        return bool(self.level)

    @property
    def text(self) -> str:
        """The canonical text: of version 1 for those that were asked for in it."""
        if not self.level:
            return self.type
        if self.v1 and not self.query:
            for word, letters in V1.items():
                if letters == self.letters:
                    return f"{self.level}/{self.type}.{word}"
        query = "&".join(f"{name}={quote(value, safe=_SAFE)}" for name, value in self.query)
        return f"{self.level}/{self.type}.{self.letters}{'?' if query else ''}{query}"

    def names(self, type: str) -> bool:
        """Whether it is about resources of ``type``."""
        return bool(self.level) and self.type in ("*", type)

    def covers(self, other: Scope) -> bool:
        """Whether it allows all that ``other`` does."""
        if not self.level:
            return self.type == other.type and not other.level
        return (
            self.level == other.level
            and self.type in ("*", other.type)
            and set(other.letters) <= set(self.letters)
            and set(self.query) <= set(other.query)
        )


def parse(text: str) -> Scope:
    """The scope ``text``. Raises ScopeError."""
    if len(text) > MAX_SCOPE or not _CHARACTERS.fullmatch(text):
        raise _wrong(
            text, f"a scope has at most {MAX_SCOPE} visible ASCII characters, no quotes or backslashes"
        )
    if text in PLAIN:
        return Scope("", text)
    if text.startswith("launch/"):
        if not _LAUNCH.fullmatch(text):
            raise _wrong(text, "launch scopes are launch/patient, launch/encounter, or launch/type?role=uri")
        return Scope("", text)
    found = _RESOURCE.fullmatch(text)
    if found is None:
        raise _wrong(
            text,
            "resource scopes are patient, user or system, then /Type or /*, then . and some of the letters"
            " c r u d s in this order, as in patient/Observation.rs?category=laboratory",
        )
    level, type, word, letters, query = found.groups()
    if word:
        return Scope(level, type, V1[word], (), True)
    if not letters:
        raise _wrong(text, "after the dot stand some of the letters c r u d s")
    return Scope(level, type, letters, () if query is None else _criteria(text, query))


def parse_all(text: str) -> tuple[Scope, ...]:
    """The scopes of a space-separated list, each once. Raises ScopeError for the first that is none."""
    return tuple(dict.fromkeys(parse(word) for word in _words(text)))


def known(text: str) -> tuple[tuple[Scope, ...], tuple[str, ...]]:
    """The scopes of a list and, apart from them, its words that are none: RFC 6749 §3.3 lets a server ignore those.

    Raises ScopeError when the list as a whole is too long.
    """
    scopes: dict[Scope, None] = {}
    others: dict[str, None] = {}
    for word in _words(text):
        try:
            scopes[parse(word)] = None
        except ScopeError:
            others[word] = None
    return tuple(scopes), tuple(others)


def joined(scopes: Iterable[Scope]) -> str:
    """The canonical list of ``scopes``: what is stored, and told to the client."""
    return " ".join(dict.fromkeys(scope.text for scope in scopes))


def narrowed(scope: Scope, *, type: str | None = None, letters: str | None = None) -> Scope:
    """``scope`` for one type of several, or for some of its letters."""
    kept = scope.letters if letters is None else "".join(x for x in scope.letters if x in letters)
    return replace(scope, type=scope.type if type is None else type, letters=kept)


def _words(text: str) -> list[str]:
    if len(text) > MAX_TEXT:
        raise ScopeError(f"A list of scopes has at most {MAX_TEXT} characters, this has {len(text)}.")
    words = [word for word in text.split(" ") if word]
    if len(words) > MAX_SCOPES:
        raise ScopeError(
            f"A list has at most {MAX_SCOPES} scopes, this has {len(words)}; ask for types with *."
        )
    return words


def _criteria(text: str, query: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[tuple[str, str], None] = {}
    for piece in query.split("&"):
        name, equals, value = piece.partition("=")
        if not equals or not value or not _NAME.fullmatch(name):
            raise _wrong(
                text,
                "after the ? stand search parameters without modifiers and chains, name=value, joined by &",
            )
        if "+" in value or "#" in value:
            # A form reads + as a blank, a URL as itself; nobody should have to guess which was meant.
            raise _wrong(text, "in the query of a scope + is written %2B and # is written %23")
        pairs[name, _decoded(text, value)] = None
    if len(pairs) > MAX_CRITERIA:
        raise _wrong(text, f"the query of a scope has at most {MAX_CRITERIA} parameters")
    return tuple(sorted(pairs))


def _decoded(text: str, value: str) -> str:
    if _ESCAPE.search(value):
        raise _wrong(text, "a % stands before two hexadecimal digits")
    try:
        decoded = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise _wrong(text, "what is percent-encoded is not UTF-8") from None
    if not decoded.isprintable() or not decoded.strip():
        raise _wrong(text, "a value is empty or holds characters that cannot be printed")
    return decoded


def _wrong(text: str, how: str) -> ScopeError:
    shown = "".join(sign if " " <= sign <= "~" else "?" for sign in text[:80])
    return ScopeError(f"{shown!r} is no scope: {how}.")
