"""Rows by key, as far as a condition lets them be seen; what is hidden and what is absent give the same: no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.search.predicate import And, Predicate
from fhirhub.search.request import SearchRequest
from fhirhub.store.predicates import Candidate
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Stored
from fhirhub.store.resolve import Fetch
from fhirhub.store.search import Asked, Searcher

BY_ID = (
    f"select r.id, {COLUMNS} from resource r where r.rt = $1::smallint and r.id = any ($2::text[]) and r.version > 0"
    " and not r.deleted and {test}"
)


async def visible(
    searcher: Searcher, within: Predicate, type: str, ids: Sequence[str], fetch: Fetch, *, keep: bool
) -> dict[str, Stored]:
    """Those of ``type``/``ids`` that are there and fulfil ``within``, by id. ``keep``: see :class:`Resolver`."""
    asked = await condition(searcher, within, (type,), fetch, keep=keep)
    rt = searcher.definitions.type_number[type]
    sql, values = completed(
        searcher, asked, BY_ID, [rt, list(ids)], Candidate("r", rt, False, is_resource=True)
    )
    found = (stored(type, row["id"], row) for row in await fetch(sql, *values))
    return {each.id: each for each in found if each is not None}


async def condition(
    searcher: Searcher, within: Predicate, types: tuple[str, ...], fetch: Fetch, *, keep: bool
) -> Asked:
    """``within`` as a condition on resources of ``types``, with all that it refers to looked up."""
    one = types[0] if len(types) == 1 else ""
    request = SearchRequest(one, where=within, types=() if one else types)
    return await searcher.asked(request, fetch, keep=keep)


def completed(
    searcher: Searcher, asked: Asked, sql: str, values: list[Any], candidate: Candidate
) -> tuple[str, list[Any]]:
    """``sql`` with its ``{test}`` (and ``{join}``) filled in for ``candidate``, and its arguments after ``values``."""
    compiler = searcher.compiler(asked)
    compiler.arguments.values = values
    test = "true" if asked.where == And(()) else f"({compiler.test(asked.where, candidate)})"
    return sql.replace("{test}", test).replace("{join}", candidate.join()), compiler.arguments.values
