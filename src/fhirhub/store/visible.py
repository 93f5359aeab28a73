"""Rows by key, as far as a condition lets them be seen; what is hidden and what is absent give the same: no row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fhirhub.search.predicate import And, Ids, Keys, OfType, Predicate, Present, Refers
from fhirhub.search.request import SearchRequest
from fhirhub.store.predicates import Candidate
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Stored
from fhirhub.store.resolve import Fetch
from fhirhub.store.search import Asked, Searcher, leaves

BY_ID = (
    f"select r.id, {COLUMNS} from resource r where r.rt = $1::smallint and r.id = any ($2::text[]) and r.version > 0"
    " and not r.deleted and "
)
CONTEXTS = """
select r.id, r.content->'securityContext'->>'reference' as context from resource r
where r.rt = $1::smallint and r.id = any ($2::text[]) and not r.deleted
"""
KEPT = 4096
"""Conditions that stay spelt out: those of the callers of the last minutes."""

Spelt = tuple[Predicate, str, list[Any]]
"""A condition, its statement, and the arguments after the first two."""


@dataclass(slots=True)
class Visible:
    """Reads within conditions."""

    searcher: Searcher
    _kept: OrderedDict[tuple[str, int], Spelt] = field(default_factory=OrderedDict)
    """By type and identity of the condition, which the entry itself keeps alive."""

    async def find(
        self, within: Predicate, type: str, ids: Sequence[str], fetch: Fetch, *, keep: bool
    ) -> dict[str, Stored]:
        """Those of ``type``/``ids`` that are there and fulfil ``within``, by id. ``keep``: see :class:`Resolver`."""
        sql, more = await self._spelt(within, type, fetch, keep=keep)
        rows = await fetch(sql, self.searcher.definitions.type_number[type], list(ids), *more)
        found = (stored(type, row["id"], row) for row in rows)
        return {each.id: each for each in found if each is not None}

    async def tested(
        self, where: Predicate, types: Sequence[str], taken: int, fetch: Fetch
    ) -> tuple[str, list[Any]]:
        """``where`` as a test of a resource row ``r`` of one of ``types``, and its arguments after the first ``taken``."""
        request = SearchRequest("", where=where, types=tuple(types))
        asked = await self.searcher.asked(request, fetch, keep=True)
        compiler = self.searcher.compiler(asked)
        compiler.arguments.values = [None] * taken
        test = compiler.test(asked.where, Candidate("r", compiler.root, dated=False, is_resource=True))
        return f"({test})", compiler.arguments.values[taken:]

    async def contexts(self, ids: Sequence[str], fetch: Fetch) -> dict[str, str]:
        """What the Binaries among ``ids`` name as their security context, by id
        (https://hl7.org/fhir/R4/binary-definitions.html#Binary.securityContext)."""
        rows = await fetch(CONTEXTS, self.searcher.definitions.type_number["Binary"], list(ids))
        return {row["id"]: row["context"] or "" for row in rows}

    async def _spelt(
        self, within: Predicate, type: str, fetch: Fetch, *, keep: bool
    ) -> tuple[str, list[Any]]:
        """The statement for ``within``, and its arguments after the first two."""
        name = (type, id(within))
        known = self._kept.get(name)
        if known is not None:
            self._kept.move_to_end(name)
            return known[1:]
        asked = await self.searcher.asked(SearchRequest(type, where=within), fetch, keep=keep)
        compiler = self.searcher.compiler(asked)
        compiler.arguments.values = [None, None]
        # A list would be made for what is there, and not for what is not.
        compiler.listing = False
        candidate = Candidate("r", compiler.root, dated=False, is_resource=True)
        test = "true" if asked.where == And(()) else f"({compiler.test(asked.where, candidate)})"
        sql, more = BY_ID + test, compiler.arguments.values[2:]
        if keep and lasts(within, asked):
            self._kept[name] = (within, sql, more)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return sql, more


def lasts(within: Predicate, asked: Asked) -> bool:
    """Whether ``asked`` is what ``within`` comes to whatever else is stored later: every resource it names is there,
    and none of it depends on what the dictionaries hold."""
    return all(asked.keys.values()) and all(
        isinstance(leaf, Refers | Ids | OfType | Present) or (isinstance(leaf, Keys) and not leaf.codes)
        for leaf in leaves(within)
    )
