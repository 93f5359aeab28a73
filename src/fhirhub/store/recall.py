"""What the dictionaries were asked before a search, remembered: they only ever grow.

An answer that is remembered is right for as long as it has as many rows. The statement that goes by it counts them in the
same breath, so that no search misses what another process has added since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fhirhub.store.codings import CODINGS
from fhirhub.store.deferred import INSIDE, UNITS_OF, WORDED
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import Arguments

GROWING = frozenset({CODINGS, INSIDE, UNITS_OF, WORDED})
"""Statements on tables that nobody ever takes anything from; their arguments are written ``$n::type``."""
CAPACITY = 2000
"""Answers that are remembered; the older half goes when there are more."""
FEW = 50
"""Rows of an answer up to which it is: more take long to count."""
_ARGUMENT = re.compile(r"\$(\d+)::([a-z]+(?:\[\])?)")
Question = tuple[str, tuple[Any, ...]]
"""A statement and its arguments, lists as tuples."""


class Dictionaries:
    """The answers that are remembered."""

    def __init__(self) -> None:
        self.known: dict[Question, Sequence[Any]] = {}

    def keep(self, question: Question, rows: Sequence[Any]) -> None:
        """Remember an answer that is committed."""
        if len(rows) > FEW:
            return
        if len(self.known) >= CAPACITY:
            for old in list(self.known)[: CAPACITY // 2]:
                del self.known[old]
        self.known[question] = rows

    def forget(self, questions: Mapping[Question, int]) -> None:
        """Have these asked again."""
        for question in questions:
            self.known.pop(question, None)


class Recall:
    """Asks the database what is not remembered; ``used`` tells what was, with the number of its rows.

    ``remembering``: whether memory may answer; ``keep``: whether what is asked may be remembered.
    """

    def __init__(self, known: Dictionaries, fetch: Fetch, *, remembering: bool, keep: bool) -> None:
        self._dictionaries = known
        self._fetch = fetch
        self._remembering = remembering
        self._keep = keep
        self.used: dict[Question, int] = {}
        self.is_all = True
        """Whether nothing was asked of the database."""

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        """The rows of ``sql``."""
        question = sql, tuple([tuple(each) if isinstance(each, list) else each for each in values])
        if sql in GROWING and self._remembering:
            rows = self._dictionaries.known.get(question)
            if rows is not None:
                self.used[question] = len(rows)
                return rows
        self.is_all = False
        rows = await self._fetch(sql, *values)
        if sql in GROWING and self._keep:
            self._dictionaries.keep(question, rows)
        return rows


def counted(question: Question, arguments: Arguments) -> str:
    """A select of the number of rows that answer ``question``."""
    sql, values = question

    def argument(found: re.Match[str]) -> str:
        value = values[int(found[1]) - 1]
        return arguments.add(list(value) if type(value) is tuple else value, found[2])

    return f"select count(*) from ({_ARGUMENT.sub(argument, sql)}) as d"
