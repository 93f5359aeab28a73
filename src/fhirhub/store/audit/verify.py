"""Looks through the whole audit trail for rows that were changed, removed, inserted or moved.

What chains alone cannot tell is that rows at the very end are gone, or a chain, or everything: for that the end of
every chain is kept as *anchors* outside the database (:mod:`fhirhub.store.audit.anchors`), and compared here.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from fhirhub.store.audit.anchors import Known
from fhirhub.store.audit.chain import GENESIS, Head, mac_of

BATCH = 2_000
MAX_PROBLEMS = 1_000
COLUMNS = """chain, seq, at, outcome, status, kind, interaction, type, id, agent, request,
    array_to_string(patients, ' ') as patients, detail::text as detail, mac"""
_ROWS = f"select {COLUMNS} from audit order by chain, seq"


@dataclass(slots=True)
class Verified:
    """What was found; ``problems`` say what is wrong and where, one sentence each."""

    rows: int = 0
    problems: list[str] = field(default_factory=list)
    ends: dict[int, Head] = field(default_factory=dict)
    """Where each chain ends now."""

    def add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


async def verify(connection: asyncpg.Connection, key: bytes, known: Known | None = None) -> Verified:
    """Check every row, on one snapshot, beside a running server; ``known`` are anchors from before.

    ``key`` is ``Keys.derive("audit")``.
    """
    check = _Check(key, known or {})
    # One cursor sees one moment.
    async with connection.transaction():
        async for row in connection.cursor(_ROWS, prefetch=BATCH):
            check.row(row)
    return check.result()


class _Check:
    """Follows the chains one after the other, each in its order."""

    def __init__(self, key: bytes, known: Known) -> None:
        self._key = key
        self._known = known
        self._found = Verified()
        self._chain = 0
        self._head: Head = (0, GENESIS)
        self._claimed: dict[int, tuple[int, str]] = {}
        """Chain -> how long it must at least be, and who says so."""
        self._claim("the anchors", {chain: max(rows) for chain, rows in known.items()})

    def _claim(self, who: str, lengths: Mapping[int, int]) -> None:
        for chain, seq in lengths.items():
            if seq > self._claimed.get(chain, (0, ""))[0]:
                self._claimed[chain] = (seq, who)

    def row(self, row: Sequence[Any]) -> None:
        """The next row, in the order of :data:`COLUMNS`."""
        chain, seq, at, *entry, stored = row
        if chain != self._chain:
            self._end()
            self._chain, self._head = chain, (0, GENESIS)
        last, before = self._head
        place = f"chain {chain}, row {seq}"
        self._found.rows += 1
        if seq != last + 1:
            missing = f"rows {last + 1} to {seq - 1} are" if seq > last + 2 else f"row {last + 1} is"
            self._found.add(f"chain {chain}: {missing} missing.")
        elif not hmac.compare_digest(mac_of(self._key, before, chain, seq, at, entry), bytes(stored)):
            self._found.add(f"{place} was changed, or put in the place of another.")
        anchored = self._known.get(chain, {}).get(seq)
        if anchored is not None and anchored != {bytes(stored).hex()}:
            self._found.add(f"{place} is not the one that was anchored.")
        if entry[2] == "checkpoint":
            self._claim(f"the checkpoint in {place}", _lengths(entry[-1]))
        self._head = (seq, bytes(stored))

    def _end(self) -> None:
        if self._chain:
            self._found.ends[self._chain] = self._head

    def result(self) -> Verified:
        """What was found, once there are no more rows."""
        self._end()
        for chain, (seq, who) in sorted(self._claimed.items()):
            end = self._found.ends.get(chain, (0, GENESIS))[0]
            if end < seq:
                self._found.add(
                    f"chain {chain} ends with row {end}, but had row {seq} according to {who}: its end was removed."
                )
        return self._found


def _lengths(detail: str) -> dict[int, int]:
    """How long a checkpoint says that chains were; nothing when it cannot be read (its mac tells of that)."""
    try:
        return {int(chain): int(seq) for chain, (seq, _) in json.loads(detail)["heads"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
