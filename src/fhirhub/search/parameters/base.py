"""What the parameter types share: the compiled parameter, the two contexts, escapes and refusals.

Every ``parameters/*.py`` has an index side (a value of a resource -> rows) and a parse side (the text of a
query -> predicate); both must agree on how a value is spelt, which is why they stand in one file.
https://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.fhirpath.compile import Route
from fhirhub.search.predicate import Keys, Not, Or, Predicate
from fhirhub.search.rows import Rows

NUL = "\0"
"""Starts the spelling of a token whose system is not part of the question; no FHIR string can contain it."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A parameter answered by another one: ``pid``, and only references to type ``only`` when given."""

    pid: int
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """One search parameter as it applies to one resource type.

    ``routes`` lead to its values (for a component of a composite: from the composite's element). ``aliases``
    is not empty when the parameter has no rows of its own. ``inline`` marks a reference parameter whose value
    is a whole resource (Bundle.composition); ``canonical`` one that only stands on uri-like elements.
    """

    type: str
    code: str
    pid: int
    kind: str
    routes: tuple[Route, ...] = ()
    targets: tuple[str, ...] = ()
    components: tuple[Facet, ...] = ()
    aliases: tuple[Alias, ...] = ()
    inline: bool = False
    canonical: bool = False

    @property
    def expression(self) -> str:
        """How issues name it: ``Observation?date``."""
        return f"{self.type}?{self.code}"


class Context:
    """What emitters may look at besides the value: the server's base urls and the whole document."""

    __slots__ = ("bases", "document")

    def __init__(self, document: dict[str, Any], bases: tuple[str, ...]) -> None:
        self.document = document
        self.bases = bases


Emit = Callable[[Any, Rows, Context], None]
"""Adds the rows of one value."""


class Budget:
    """How many criteria one search may come to once its untyped chains are spelt out."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


@dataclass(frozen=True, slots=True)
class Query:
    """What parsers may look at besides the text: ``now`` is in microseconds since 1970 UTC."""

    definitions: Definitions
    secret: bytes
    bases: tuple[str, ...]
    now: int
    budget: Budget


class TooCostly(BadRequest):
    """A search that asks for more than the server is ready to do at once."""


class NotUnderstood(BadRequest):
    """A parameter or modifier that does not exist or is not served: ``handling=lenient`` passes over
    these.
    """


def refuse(expression: str, text: str, code: str = "value") -> BadRequest:
    """A 400 about the search parameter ``expression``."""
    return BadRequest(Issue(code, text, expression=expression))


def too_costly(expression: str, text: str) -> TooCostly:
    """A 400 that names the limit which ``expression`` passes."""
    return TooCostly(Issue("too-costly", text, expression=expression))


def shortened(text: str, limit: int = 80) -> str:
    """``text`` fit for a message."""
    return text if len(text) <= limit else f"{text[:limit]}…"


_PIECES = {sign: re.compile(rf"(?:\\.|[^\\{re.escape(sign)}])*\\?", re.DOTALL) for sign in ",$|"}
_ESCAPED = re.compile(r"\\([\\,$|])")


def split(text: str, sign: str) -> list[str]:
    """``text`` cut at every ``sign`` (one of ``, $ |``) that no backslash precedes; escapes stay in the
    pieces.
    """
    if "\\" not in text:
        return text.split(sign)
    pattern = _PIECES[sign]
    pieces: list[str] = []
    at = 0
    while True:
        found = pattern.match(text, at)
        end = found.end() if found else at
        pieces.append(text[at:end])
        if end >= len(text):
            return pieces
        at = end + 1


def unescape(text: str) -> str:
    r"""``text`` without its escapes ``\, \$ \| \\``; any other backslash stands for itself."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def any_of(parts: Sequence[Predicate]) -> Predicate:
    """Or, as plainly as it can be said: hashed keys come together in one Keys, and one part alone needs no Or."""
    hashed = [part for part in parts if isinstance(part, Keys)]
    others: list[Predicate] = [part for part in parts if not isinstance(part, Keys)]
    if hashed:
        keys = dict.fromkeys(key for part in hashed for key in part.keys)
        others.append(Keys(tuple(keys), tuple(dict.fromkeys(code for part in hashed for code in part.codes))))
    return others[0] if len(others) == 1 else Or(tuple(others))


def negated(part: Predicate) -> Predicate:
    """Not; a double negation falls away."""
    return part.part if isinstance(part, Not) else Not(part)
