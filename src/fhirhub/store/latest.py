"""The last resources of each code, for ``$lastn``: found by a search, grouped here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from fhirhub.errors import BadRequest, Issue
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Stored
from fhirhub.store.resolve import Fetch
from fhirhub.store.search import Searcher
from fhirhub.store.statement import table

MOST = 20_000
"""Resources that are looked through."""


async def latest(searcher: Searcher, request: SearchRequest, each: int, fetch: Fetch) -> list[Stored]:
    """The last ``each`` of the matches of ``request`` for every code, by main date, newest first within a code.

    Two resources have the same code when they share a coding; those without codings go by the text. 400 when there
    is too much to look through, or too much to give.
    """
    asked = await searcher.asked(request, fetch, keep=True)
    if asked.is_empty:
        return []
    compiler = searcher.compiler(asked)
    sql = (
        f"select r.rid, r.date, (r.content->'code')::text as code from (select distinct rid from"
        f" ({compiler.rids(asked.where, compiler.root)}) as s limit {MOST + 1}) as c"
        f" cross join lateral (select * from {table('resource', compiler.root)} r where r.rid = c.rid offset 0) as r"
    )
    rows = sorted(await fetch(sql, *compiler.arguments.values), key=lambda row: (-row["date"], -row["rid"]))
    if len(rows) > MOST:
        raise BadRequest(
            Issue("too-costly", f"There are more than {MOST} resources to look through; narrow it.")
        )
    groups = _grouped([(row["rid"], row["code"]) for row in rows])
    wanted = [rid for group in groups for rid in group[:each]]
    if len(wanted) > request.count:
        text = f"There are {len(wanted)} resources to give, more than {request.count}; ask for certain codes."
        raise BadRequest(Issue("too-costly", text))
    found = {stored.rid: stored for stored in await searcher.by_rid(wanted, fetch)}
    return [found[rid] for rid in wanted if rid in found]


def _grouped(rows: list[tuple[int, str | None]]) -> list[list[int]]:
    """Internal keys by code, groups and their members in the order of ``rows``."""
    leader: dict[str, str] = {}

    def lead(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    named: list[tuple[int, str]] = []
    for rid, text in rows:
        first, *others = names(orjson.loads(text)) if text else ("",)
        for other in others:
            leader[lead(other)] = lead(first)
        named.append((rid, first))
    groups: dict[str, list[int]] = {}
    for rid, name in named:
        groups.setdefault(lead(name), []).append(rid)
    return list(groups.values())


def names(code: Any) -> Iterator[str]:
    """What a CodeableConcept goes by: its codings, or its text where it has none."""
    codings = [each for each in code.get("coding", ()) if "code" in each]
    if not codings:
        yield f"text {code.get('text', '')}"
    for each in codings:
        yield f"code {each.get('system', '')}|{each['code']}"
