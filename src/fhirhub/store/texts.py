"""Texts in the middle of others (``:contains``), looked up in the trigram index before a search.

What occurs in few values becomes those values, which the ordered index finds; what occurs in many is left to a walk,
whose page is soon full. https://www.postgresql.org/docs/current/pgtrgm.html
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import Text, rewritten
from fhirhub.search.rows import key_pid
from fhirhub.store.ranges import Condition
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import partition

MOST = 20_000
LEAST = 1_000
"""Rows of any parameter that a text may occur in to be looked up like that: the more resources there are, the more."""
WALKED = 21
"""Rows of a page. A text that stands in n of N rows fills it after N * 21 / n: as many as there are, at the root."""
HAS_INDEX = "select to_regclass('string_general_trigram') is not null as there"
KNOWS_LETTERS = "select show_trgm('жук') <> '{}' as all"
LOOK = """
with holding as materialized (select s.key, s.text, s.rt from string_general s where s.text like $2),
    found as materialized (select key, text from holding limit $3)
select (select count(*) from found) as seen,
    array(select distinct f.text from found f where f.key = $1) as texts,
    (select count(*) from found f where f.key = $1) as rows
"""
"""The limit stands apart, and rt is asked for although nobody needs it, so that the plan does not become one that reads
all of the ordered index until it has found enough."""
_RUN = {"ascii": re.compile(r"[a-z0-9]{3}"), "all": re.compile(r"[^\W_]{3}")}
"""What a text must hold for the index to help: three letters in a row, of those that the database knows."""


@dataclass(frozen=True, slots=True)
class Found(Text):
    """A Text whose values are known: ``among``, in ``rows`` rows."""

    among: tuple[str, ...]
    rows: int


async def trigrams(fetch: Fetch) -> str:
    """Which texts the trigram index can find: ``all``, ``ascii`` ones, or none (empty) when there is no such index."""
    if not (await fetch(HAS_INDEX))[0]["there"]:
        return ""
    return "all" if (await fetch(KNOWS_LETTERS))[0]["all"] else "ascii"


class Known(Protocol):
    """What is known of the database."""

    trigrams: str
    """What :func:`trigrams` has told."""

    def size(self, rt: int) -> float:
        """Resources of a type."""


async def looked_up(where: Condition, definitions: Definitions, known: Known, fetch: Fetch) -> Condition:
    """``where`` with its Texts that may begin anywhere exchanged for Found, where that is possible."""
    if not known.trigrams:
        return where
    found: dict[Text, Text] = {}
    for leaf in set(_within(where)):
        parameter = definitions.by_pid.get(key_pid(leaf.key))
        rt = 0 if parameter is None else definitions.type_number[parameter.type]
        if rt and partition(rt) == "general" and _RUN[known.trigrams].search(leaf.text):
            found[leaf] = await _look(leaf, most(known.size(rt)), fetch)
    if not found:
        return where
    result: Condition = rewritten(where, lambda leaf: found.get(leaf, leaf))
    return result


def most(size: float) -> int:
    """Rows that are looked up among those of ``size`` resources, which have several texts each."""
    return max(LEAST, min(MOST, round(4 * math.sqrt(WALKED * size))))


async def _look(leaf: Text, most: int, fetch: Fetch) -> Text:
    escaped = leaf.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"%{escaped}" if leaf.match == "suffix" else f"%{escaped}%"
    row = (await fetch(LOOK, leaf.key, pattern, most + 1))[0]
    if row["seen"] > most:
        return leaf
    return Found(leaf.key, leaf.match, leaf.text, tuple(sorted(row["texts"])), row["rows"])


def _within(where: Any) -> list[Text]:
    if isinstance(where, Text):
        return [where] if where.match in ("contains", "suffix") else []
    parts = getattr(where, "parts", None) or ([where.part] if hasattr(where, "part") else [])
    return [leaf for part in parts for leaf in _within(part)]
