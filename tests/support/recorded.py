"""What the database is asked while something happens, and what that costs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any

import asyncpg
import pytest

from fhirhub.store.codings import CODINGS
from fhirhub.store.deferred import WORDED
from fhirhub.store.engine import Connection
from fhirhub.store.reads import GONE
from fhirhub.store.resolve import RESOLVE
from fhirhub.store.visible import BY_ID, CONTEXTS

Statement = tuple[str, tuple[Any, ...]]
NAMING = frozenset((RESOLVE, CODINGS, GONE, CONTEXTS, WORDED))
"""Statements that look up what is named: one probe of an index, which finds a row or none."""
TOLD = frozenset((RESOLVE, CODINGS, CONTEXTS, WORDED))
"""Those of them that tell which."""


SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
EXPLAIN = "explain (analyze, buffers off, costs off, timing off, summary off) "
LOOKS = re.compile(r"\s*(select|with)\b")
MEANWHILE = re.compile(r"\bjob\b|insert into audit")
"""What workers do by themselves, and rows of the trail, which leave together with those of others."""
BESIDES = re.compile(r"advisory|nextval|write_changes|access_stamp|\baudit|insert into|update |delete from")
"""In statements that write, and in those that are about the caller."""
VALUES = re.compile(r"'(?:[^']|'')*'::[a-z ]+(?:\[\])?|\d+kB|-?\b\d{6,}\b")


@dataclass
class Record:
    """The statements in the order they were sent, and the rows that each of them gave."""

    statements: list[Statement] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def looking(self) -> Iterator[Statement]:
        """What was looked for, except for single resources by their names."""
        for sql, values in self.statements:
            if (
                LOOKS.match(sql)
                and not BESIDES.search(sql)
                and not MEANWHILE.search(sql)
                and sql not in NAMING
                and not sql.startswith(BY_ID)
            ):
                yield sql, values

    @property
    def texts(self) -> list[str]:
        """The statements alone, in an order that does not depend on which of several at a time came first."""
        return sorted(sql for sql, _ in self.statements if not MEANWHILE.search(sql))

    @property
    def answers(self) -> list[str]:
        """Each statement with the number of rows it gave; not of those that look up what is named."""
        told = zip(self.statements, self.rows, strict=True)
        return sorted(
            f"{rows} of {sql}" for (sql, _), rows in told if sql not in TOLD and not MEANWHILE.search(sql)
        )

    async def work(self, dsn: str) -> list[str]:
        """The plans of all that was only looked for, each step with the rows it has gone through."""
        connection = await asyncpg.connect(dsn, server_settings=SETTINGS)
        plans = []
        try:
            for sql, values in self.looking():
                rows = await connection.fetch(EXPLAIN + sql, *values)
                plans.append("\n".join(VALUES.sub("?", row[0]) for row in rows))
        finally:
            await connection.close()
        return sorted(plans)


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """Every statement that a connection of a store is given meanwhile."""
    record = Record()
    plain, patient = Connection.fetch, Connection.fetch_within

    async def fetch(self: Connection, sql: str, *values: Any) -> list[asyncpg.Record]:
        rows = await plain(self, sql, *values)
        record.statements.append((sql, values))
        record.rows.append(len(rows))
        return rows

    async def fetch_within(self: Connection, seconds: float, sql: str, *values: Any) -> list[asyncpg.Record]:
        rows = await patient(self, seconds, sql, *values)
        record.statements.append((sql, values))
        record.rows.append(len(rows))
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "fetch", fetch)
        patch.setattr(Connection, "fetch_within", fetch_within)
        yield record


def differing(first: Sequence[str], second: Sequence[str]) -> str:
    """What only one of two lists has, line by line; empty when they are the same."""
    lines = [[line for text in each for line in text.splitlines()] for each in (first, second)]
    return "\n".join(line for line in unified_diff(*lines, lineterm="", n=1))
