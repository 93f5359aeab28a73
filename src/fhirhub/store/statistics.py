"""How many rows stand under a key: what the planner's statistics know, kept in memory, asked without a round trip."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fhirhub.search.predicate import (
    And,
    Chain,
    Has,
    Ids,
    Keys,
    Near,
    Not,
    OfType,
    Or,
    Points,
    Present,
    Refers,
    Says,
    Text,
    Updated,
    Words,
)
from fhirhub.store.absent import by_marks, keys_of, passing
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import partition
from fhirhub.store.texts import Found, trigrams

FREQUENT = """
select s.tablename, s.most_common_vals::text::bigint[] as keys, s.most_common_freqs as shares, c.reltuples as total
from pg_stats s
join pg_class c on c.relname = s.tablename and c.relnamespace = to_regnamespace(s.schemaname)
where s.schemaname = current_schema() and s.attname = 'key' and s.tablename like 'token\\_%'
  and s.most_common_vals is not null
"""
TYPES = """
select s.most_common_vals::text::int[] as types, s.most_common_freqs as shares, greatest(c.reltuples, 0) as total
from pg_class c
left join pg_stats s on s.tablename = c.relname and s.schemaname = current_schema() and s.attname = 'rt'
where c.relname = 'resource' and c.relnamespace = to_regnamespace(current_schema())
"""
WORDS = """
select substring(s.tablename from 7) as part, s.attname as column, s.most_common_elems::text::text[] as words,
    s.most_common_elem_freqs as shares, greatest(c.reltuples, 0) * (1 - s.null_frac) as total
from pg_stats s
join pg_class c on c.relname = s.tablename and c.relnamespace = to_regnamespace(s.schemaname)
where s.schemaname = current_schema() and s.tablename like 'words\\_%' and s.attname in ('narrative', 'content')
  and s.most_common_elems is not null
"""
PRESENT = """
select s.most_common_elems::text::int[] as pids, s.most_common_elem_freqs as shares,
    (1 - s.null_frac) * greatest(c.reltuples, 0) as total
from pg_class c
join pg_stats s on s.tablename = c.relname and s.schemaname = current_schema() and s.attname = 'params'
where c.relname = 'resource' and c.relnamespace = to_regnamespace(current_schema())
  and s.most_common_elems is not null
"""

UNSURE = 0.05
"""Share of the resources of a type that statistics of different moments may be wrong about."""
STRANGERS = 4.0
"""Rows of some keys, for each resource of a type, from which on they are not worth passing."""
RARE = 40.0
"""Rows expected under a key that is not among the frequent ones."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The frequent ``words`` of a column in order, the ``rows`` that each stands in, and those of a rarer one."""

    words: tuple[str, ...]
    rows: tuple[float, ...]
    rare: float

    def expected(self, beginning: str) -> float:
        """Rows with a word that starts with ``beginning``."""
        first, last = bisect_left(self.words, beginning), bisect_left(self.words, beginning + "\U0010ffff")
        return sum(self.rows[first:last]) or self.rare


@dataclass(slots=True)
class Statistics:
    """Frequent keys and table sizes, as of the last ANALYZE."""

    frequent: dict[int, float] = field(default_factory=dict)
    types: dict[int, float] = field(default_factory=dict)
    present: dict[int, float] = field(default_factory=dict)
    """Parameter -> resources, of whatever type, that have a value of it; empty when nobody knows."""
    total: float = 0.0
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Resource type -> its number."""
    words: Mapping[tuple[str, str], Vocabulary] = field(default_factory=dict)
    """(Partition, column) -> the words there."""
    trigrams: str = ""
    """Which texts the trigram index can find (:func:`fhirhub.store.texts.trigrams`)."""
    edition: int = 0
    """How often they have been read: what was made by one edition is made anew by the next."""

    async def refresh(self, fetch: Fetch) -> None:
        """Read the statistics anew."""
        self.trigrams = await trigrams(fetch)
        self.words = {(row["part"], row["column"]): _vocabulary(row) for row in await fetch(WORDS)}
        frequent: dict[int, float] = {}
        for row in await fetch(FREQUENT):
            for key, share in zip(row["keys"], row["shares"], strict=True):
                frequent[key] = share * row["total"]
        self.frequent = frequent
        present: dict[int, float] = {}
        for row in await fetch(PRESENT):
            # After the share of each come the least of them, the largest, and that of empty arrays.
            for pid, share in zip(row["pids"], row["shares"], strict=False):
                present[pid] = share * row["total"]
        self.present = present
        for row in await fetch(TYPES):
            self.total = row["total"]
            self.types = {
                rt: share * row["total"]
                for rt, share in zip(row["types"] or (), row["shares"] or (), strict=True)
            }
        # Last: what was made while some of them were still the old ones is made anew, too.
        self.edition += 1

    def size(self, rt: int) -> float:
        """Resources of type number ``rt``, of all types for 0."""
        return max(self.types.get(rt, 0.0) if rt else self.total, 100.0)

    def fan(self, source: int, target: int) -> float:
        """Resources of ``source`` that refer to one of ``target``, on average."""
        return max(self.size(source) / self.size(target), 1.0)

    def key(self, key: int) -> float:
        """Token rows under ``key``."""
        return self.frequent.get(key, RARE)

    def rows(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Resources of ``rt`` that fulfil ``where``, roughly. ``keys`` are those of Refers, once resolved."""
        match where:
            case Not(part):
                there = self._there(part, rt, keys)
                return self.size(rt) if there is None else max(self.size(rt) - there, 0.0)
            case Present():
                there = self._there(where, rt, keys)
                return self.size(rt) if there is None else there
            case And(parts):
                return min((self.rows(part, rt, keys) for part in parts), default=self.size(rt))
        return self.listed(where, rt, keys)

    def absent_keys(
        self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]
    ) -> tuple[int, ...]:
        """The keys that ``where`` wants resources of ``rt`` to have no row under, frequent ones first; none where it is
        not worth while to pass all of their rows.
        """
        found = keys_of(where, keys)
        if sum(map(self.key, found)) > STRANGERS * self.size(rt):
            return ()
        return tuple(sorted(found, key=self.key, reverse=True))

    def is_absent(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> bool:
        """Whether indexes alone tell which resources of ``rt`` fulfil ``where``, by what they lack."""
        return bool(rt) and (by_marks(where) or bool(self.absent_keys(where, rt, keys)))

    def beginning(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Index entries that it takes to list what fulfils ``where``, and to test that on something else."""
        if self.is_absent(where, rt, keys):
            return self.size(rt) * passing(len(keys_of(where, keys))) + self.rows(where, rt, keys)
        return 2 * self.listed(where, rt, keys)

    def least(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Resources that fulfil ``where`` for sure: what is the rest of nearly all may be next to nothing."""
        doubt = UNSURE * self.size(rt) if isinstance(where, Not) else 0.0
        return max(self.rows(where, rt, keys) - doubt, 1.0)

    def _there(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> float | None:
        """Resources with rows for ``where``; None for what no statistics tell."""
        match where:
            case Keys() | Refers():
                return self.listed(where, rt, keys)
            case Present(pid) if self.present:
                return min(self.present.get(pid, RARE), self.size(rt))
            case Or(parts):
                found = [self._there(part, rt, keys) for part in parts]
                known = [each for each in found if each is not None]
                return sum(known) if len(known) == len(found) else None
        return None

    def listed(self, where: Condition, rt: int, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Rows that tell which resources of ``rt`` fulfil ``where``, roughly: all of the type where none does."""
        size = self.size(rt)
        match where:
            case Keys(found):
                return sum(self.key(key) for key in found)
            case Refers():
                return sum(self.key(key) for key in keys[where])
            case Found():
                return float(where.rows)
            case Text(_, matching, text):
                return (
                    size / 2
                    if matching in ("contains", "suffix")
                    else max(size / 8.0 ** min(len(text), 6), 1.0)
                )
            case Range():
                lowest, highest = where.implied(0)
                return size / (20 if lowest is not None and highest is not None else 3)
            case Words():
                return min(self._worded(where, rt), size)
            case Ids(ids):
                return float(len(ids))
            case And(parts):
                return min((self.listed(part, rt, keys) for part in parts), default=size)
            case Or(parts):
                return sum(self.listed(part, rt, keys) for part in parts)
            case Chain(_, type_, part):
                return min(self._behind(part, type_, keys) * self.fan(rt, self.numbers[type_]), size)
            case Has(type_, _, part):
                return min(self._behind(part, type_, keys), size)
            case Points(_, part):
                return min(max(self.listed(part, 0, keys), 1.0) * self.fan(rt, 0), size)
            case Updated() | Not() | Present() | Says() | OfType() | Near():
                return size
        raise TypeError(where)

    def _worded(self, where: Words, rt: int) -> float:
        """Rows with such a word in the part of the table that holds ``rt``, or in all parts for 0."""
        columns = ("narrative",) if where.narrative_only else ("narrative", "content")
        found = (
            known.expected(where.word)
            for (part, column), known in self.words.items()
            if column in columns and (not rt or part == partition(rt))
        )
        return sum(found) or RARE

    def _behind(self, where: Condition, type_: str, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Resources at the other end of a reference; what fulfils a criterion there is not one of few by chance."""
        return max(self.listed(where, self.numbers[type_], keys), 1.0)


def _vocabulary(row: Any) -> Vocabulary:
    # Behind the shares of the words stand the lowest and the highest of them.
    known = sorted(zip(row["words"], row["shares"], strict=False))
    rare = min((share for _, share in known), default=0.0) * row["total"]
    words, rows = tuple(word for word, _ in known), tuple(share * row["total"] for _, share in known)
    return Vocabulary(words, rows, min(rare, RARE))
