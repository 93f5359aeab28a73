"""How many rows stand under a key: what the planner's statistics know, kept in memory, asked without a round trip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    Present,
    Refers,
    Says,
    Text,
    Updated,
    Words,
)
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.resolve import Fetch
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

RARE = 40.0
"""Rows expected under a key that is not among the frequent ones."""


@dataclass(slots=True)
class Statistics:
    """Frequent keys and table sizes, as of the last ANALYZE."""

    frequent: dict[int, float] = field(default_factory=dict)
    types: dict[int, float] = field(default_factory=dict)
    total: float = 0.0
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Resource type -> its number."""
    trigrams: str = ""
    """Which texts the trigram index can find (:func:`fhirhub.store.texts.trigrams`)."""

    async def refresh(self, fetch: Fetch) -> None:
        """Read the statistics anew."""
        self.trigrams = await trigrams(fetch)
        frequent: dict[int, float] = {}
        for row in await fetch(FREQUENT):
            for key, share in zip(row["keys"], row["shares"], strict=True):
                frequent[key] = share * row["total"]
        self.frequent = frequent
        for row in await fetch(TYPES):
            self.total = row["total"]
            self.types = {
                rt: share * row["total"]
                for rt, share in zip(row["types"] or (), row["shares"] or (), strict=True)
            }

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
                return size / 50
            case Ids(ids):
                return float(len(ids))
            case And(parts):
                return min((self.rows(part, rt, keys) for part in parts), default=size)
            case Or(parts):
                return sum(self.rows(part, rt, keys) for part in parts)
            case Chain(_, type_, part):
                return min(self._behind(part, type_, keys) * self.fan(rt, self.numbers[type_]), size)
            case Has(type_, _, part):
                return min(self._behind(part, type_, keys), size)
            case Updated() | Not() | Present() | Says() | OfType() | Near():
                return size
        raise TypeError(where)

    def _behind(self, where: Condition, type_: str, keys: dict[Condition, tuple[int, ...]]) -> float:
        """Resources at the other end of a reference; what fulfils a criterion there is not one of few by chance."""
        return max(self.rows(where, self.numbers[type_], keys), 1.0)
