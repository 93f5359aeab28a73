"""The questions of ``_text`` and ``_content``: words that all must be there, ``OR``, ``NOT`` and brackets.

A word is found where it stands at the beginning of one: ``cardi`` finds "Cardiology".
https://hl7.org/fhir/R4/search.html#content
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fhirhub.errors import BadRequest
from fhirhub.search.parameters.base import any_of, negated, refuse
from fhirhub.search.parameters.string import normalised
from fhirhub.search.predicate import And, Predicate
from fhirhub.search.words import WORD

MOST = 20
"""Words of one question."""
_TOKENS = re.compile(r"\s*([()|&-]|[^\s()|&]+)")
_OR = ("|", "OR", "or")
_AND = ("&", "AND", "and")
_NOT = ("-", "NOT", "not")


class _Question:
    def __init__(self, expression: str, text: str, word: Callable[[str], Predicate]) -> None:
        self.expression = expression
        self.tokens: list[str] = _TOKENS.findall(text.strip())
        self.word = word
        self.at = 0
        self.words = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def fail(self) -> BadRequest:
        text = "write words, with OR, NOT and brackets between them: (bone OR liver) metastases"
        return refuse(self.expression, text)

    def whole(self) -> Predicate:
        found = self.any(0)
        if self.at != len(self.tokens):
            raise self.fail()
        return found

    def any(self, depth: int) -> Predicate:
        parts = [self.all(depth)]
        while self.peek() in _OR and self.peek():
            self.at += 1
            parts.append(self.all(depth))
        return any_of(parts)

    def all(self, depth: int) -> Predicate:
        parts: list[Predicate] = []
        while self.peek() and self.peek() not in (*_OR, ")"):
            if self.peek() in _AND:
                if not parts:
                    raise self.fail()
                self.at += 1
                continue
            parts.append(self.one(depth))
        if not parts or self.tokens[self.at - 1] in _AND:
            raise self.fail()
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def one(self, depth: int) -> Predicate:
        token = self.peek()
        self.at += 1
        if not token or depth > 20:
            raise self.fail()
        if token in _NOT:
            return negated(self.one(depth + 1))
        if token == "(":
            found = self.any(depth + 1)
            if self.peek() != ")":
                raise self.fail()
            self.at += 1
            return found
        words = normalised(token).split()
        self.words += len(words)
        if not words or self.words > MOST:
            raise self.fail()
        parts = [self.word(each[:WORD]) for each in words]
        return parts[0] if len(parts) == 1 else And(tuple(parts))


def question(expression: str, text: str, word: Callable[[str], Predicate]) -> Predicate:
    """The predicate of ``text``; ``word`` makes that of one (normalised) word."""
    return _Question(expression, text, word).whole()
