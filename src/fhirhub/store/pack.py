"""Changes as the arrays that the database function ``write_changes`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fhirhub.resource.json import dumps
from fhirhub.search.rows import MIN_DATE, VALUE_BITS, Phrase, Rows
from fhirhub.store.audit.chain import insert
from fhirhub.store.ranges import date_key, number_key
from fhirhub.store.records import METHODS, Change
from fhirhub.store.resolve import Name

ARGUMENTS = 43
CALL = "select * from write_changes(" + ", ".join(f"${n}" for n in range(1, ARGUMENTS + 1)) + ")"
CALL_AUDITED = f"""
with written as materialized ({CALL}), recorded as (
    {insert(ARGUMENTS + 1, "where not exists (select from written where problem <> 0)")}
)
select * from written
"""
"""The same with the rows of the audit trail that tell of it: both come to be, or neither."""
CODINGS = 50_000
"""Entries of each dictionary that a process remembers."""
REINDEX = "REINDEX"
"""The method of a change that makes no version: the index rows of the current one are made anew."""
NO_WORDS = ("", "")
METHOD_NUMBER = {method: number for number, method in enumerate((*METHODS, REINDEX))}


@dataclass(slots=True)
class Unit:
    """The changes of one request: all of them happen, or none."""

    changes: Sequence[Change]
    rids: list[int]
    names: dict[Name, int]
    """rids of everything the unit changes or refers to."""
    placeholders: list[Name] = field(default_factory=list)
    """What the unit refers to although it does not exist (referential integrity off)."""


@dataclass(slots=True)
class Packed:
    """The arguments of one call, and what the change numbers stand for."""

    arguments: tuple[Any, ...]
    codings: set[tuple[int, int]]
    """The pairs that the dictionary of codings will hold once this is committed."""
    phrases: set[int]
    """The same of the dictionary of phrases, by their hashes."""
    origin: list[tuple[int, int]]
    """change number - 1 -> (unit number, position in the unit); position -1 for placeholders."""


class Packer:
    """Turns units into arguments."""

    def __init__(
        self, type_number: dict[str, int], referrers: dict[str, list[tuple[int, int]]], *, integrity: bool
    ) -> None:
        self._number = type_number
        self._referrers = referrers
        self._integrity = integrity
        self._codings: set[tuple[int, int]] = set()
        self._phrases: set[int] = set()

    def learn(self, codings: set[tuple[int, int]], phrases: set[int]) -> None:
        """These entries are committed: they need not be written again."""
        if len(self._codings) > CODINGS:
            self._codings.clear()
        if len(self._phrases) > CODINGS:
            self._phrases.clear()
        self._codings |= codings
        self._phrases |= phrases

    def _unknown(self, units: Sequence[Unit]) -> tuple[set[tuple[int, int]], dict[int, Phrase]]:
        """The entries of the dictionaries that have not been seen there yet."""
        codings: set[tuple[int, int]] = set()
        phrases: dict[int, Phrase] = {}
        for unit in units:
            for change in unit.changes:
                if change.rows is not None:
                    codings |= change.rows.codings
                    phrases |= change.rows.phrases
        new = phrases.keys() - self._phrases
        return codings - self._codings, {id: phrases[id] for id in new}

    def pack(self, units: Sequence[Unit]) -> Packed:
        """The arguments of one call for ``units``, which do not touch the same resources."""
        number = self._number
        entries = [
            (number[change.type], change.id, u, position, rid)
            for u, unit in enumerate(units)
            for position, (change, rid) in enumerate(zip(unit.changes, unit.rids, strict=True))
        ]
        entries += [
            (number[type_], id_, u, -1, unit.names[type_, id_])
            for u, unit in enumerate(units)
            for type_, id_ in unit.placeholders
        ]
        # Everybody locks and creates resources in this order, so that nobody waits in a circle.
        entries.sort()
        lists = _Lists()
        used: list[dict[int, str]] = [{} for _ in units]
        for n, (rt, id_, u, position, rid) in enumerate(entries, 1):
            change = units[u].changes[position] if position >= 0 else None
            date = MIN_DATE
            if change is not None and change.rows is not None:
                date = change.rows.date
                lists.add(n, change.rows, units[u].names, used[u])
            elif change is not None and self._integrity:
                lists.deletes.extend(
                    [(n, source, pid << VALUE_BITS | rid) for pid, source in self._referrers[change.type]]
                )
            lists.heads.append((u, rid, rt, id_, *_head(change, date), len(lists.keys), len(lists.params)))
        outside = self._outside(units, used) if self._integrity else ()
        codings, phrases = self._unknown(units)
        head = _columns(lists.heads, 12)
        arguments = (
            *head[:10], lists.keys, head[10], lists.params, head[11],
            *_columns(lists.strings, 3), *_columns(lists.dates, 4), *_columns(lists.numbers, 6),
            *_columns(lists.words, 3), *_columns(outside, 3), *_columns(lists.deletes, 3),
            *_columns(list(codings), 2), *_columns([(id, *phrase) for id, phrase in phrases.items()], 5),
        )  # fmt: skip
        return Packed(arguments, codings, set(phrases), [(u, position) for _, _, u, position, _ in entries])

    def _outside(self, units: Sequence[Unit], used: Sequence[dict[int, str]]) -> list[tuple[int, int, int]]:
        """(unit, type number, rid) of what each unit refers to beyond itself."""
        found: list[tuple[int, int, int]] = []
        for u, (unit, each) in enumerate(zip(units, used, strict=True)):
            own = frozenset(unit.rids)
            found += [(u, self._number[type_], rid) for rid, type_ in each.items() if rid not in own]
        return found


class _Lists:
    """Rows of the arguments of one call; those of the indexes begin with the number of their change."""

    def __init__(self) -> None:
        self.heads, self.strings, self.dates, self.numbers, self.words, self.deletes = (
            _no_rows() for _ in range(6)
        )
        self.keys: list[int] = []
        self.params: list[int] = []

    def add(self, n: int, rows: Rows, names: dict[Name, int], used: dict[int, str]) -> None:
        """The index rows of change ``n``; ``used`` gets what it refers to."""
        self.keys.extend(rows.tokens)
        for pid, type_, id_ in rows.references:
            target = names[type_, id_]
            self.keys.append(pid << VALUE_BITS | target)
            used[target] = type_
        self.params.extend(rows.params)
        self.strings.extend([(n, key, text) for key, text in rows.strings])
        self.dates.extend([(n, date_key(key, lo, hi), lo, hi) for key, lo, hi in rows.dates])
        self.numbers.extend(
            [(n, number_key(key, lo, hi), lo, hi, one, two) for key, lo, hi, one, two in rows.numbers]
        )
        if rows.words != NO_WORDS:
            self.words.append((n, *rows.words))


def _head(change: Change | None, date: int) -> tuple[Any, ...]:
    """base, method, date, digest, meta, content; of a placeholder when there is no change."""
    if change is None:
        return -1, METHOD_NUMBER["PUT"], date, 0, None, None
    base = -1 if change.base is None else change.base.version
    meta, content = split(change.document) if change.document is not None else (None, None)
    rows_digest = digest(change.rows) if change.rows is not None else 0
    return base, METHOD_NUMBER[change.method], date, rows_digest, meta, content


def digest(rows: Rows) -> int:
    """Tells sets of string, date, number and word rows apart, 64 bits signed; 0 for none."""
    if not rows.dates and not rows.numbers and not rows.strings and rows.words == NO_WORDS:
        return 0
    text = repr((sorted(rows.dates), sorted(rows.numbers), sorted(rows.strings), rows.words))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _no_rows() -> list[tuple[Any, ...]]:
    return []


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width


def split(document: dict[str, Any]) -> tuple[str | None, str]:
    """The texts of the columns ``meta`` and ``content``: the document without what is a column of its own."""
    content = {k: v for k, v in document.items() if k not in ("resourceType", "id", "meta")}
    meta = {k: v for k, v in document.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    return dumps(meta).decode() if meta else None, dumps(content).decode()
