"""How many matches a search has in all: counted, or estimated where that would take long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.errors import Issue
from fhirhub.search.predicate import Not
from fhirhub.store.asked import Asked
from fhirhub.store.confirming import told
from fhirhub.store.cost import Estimator
from fhirhub.store.predicates import PROBE, Candidate, Compiler
from fhirhub.store.statement import table

ESTIMATE = 20_000.0
"""``_total=estimate`` counts exactly when it expects no more than this."""
COUNTED = 1_000_000.0
"""Index entries, by the estimate, up to which ``_total=accurate`` is: about a second. Beyond, it is an estimate, too."""
KEPT = 2_000.0
"""Counts that are expected to be larger are kept in the database (``migrations/tally.sql``)."""
CHANGED = """
insert into tally (key, rt, n, epoch, since, rids, versions) values (0, 0, 1, 0, 0, '{}', '{}')
on conflict (key, rt) do update set n = tally.n + 1
"""
"""Whoever changes index rows of resources that stay as they are says so: counts that are kept are made anew."""


def estimated(asked: Asked, how: str, estimator: Estimator) -> tuple[int | None, tuple[Issue, ...]]:
    """The expected number of matches, or None where they are to be counted.

    Where it is only estimated although it was to be exact (``how`` is ``accurate``), the issues say so.
    """
    compiler = estimator.compiler
    rt = compiler.root
    if how == "estimate" and sum(not compiler.is_listed(part) for part in asked.parts) == 1:
        expected = compiler.statistics.rows(asked.where, rt, asked.keys)
        if expected > ESTIMATE:
            return round(expected), ()
    if estimator.total(asked.where, asked.parts) <= COUNTED:
        return None, ()
    notes: tuple[Issue, ...] = ()
    if how == "accurate":
        text = (
            "The total is an estimate: to count exactly would take too long. Add a criterion that few fulfil."
        )
        notes = (Issue("informational", text, severity="information"),)
    return round(compiler.statistics.rows(asked.where, rt, asked.keys)), notes


def counting(asked: Asked, compiler: Compiler) -> str:
    """A select of the number of matches."""
    rt = compiler.root
    if found := _kept(asked, compiler):
        return found
    if not asked.parts:
        of_type = compiler.of_type("r", rt)
        return f"select count(*) from {table('resource', rt)} r where {of_type} and not r.deleted"
    # One key stands once for each resource, so its rows are counted in the index alone.
    counted = "count(*)" if compiler.stands_once(asked.where) else "count(distinct rid)"
    return f"select {counted} from ({compiler.rids(asked.where, rt)}) as s"


def _kept(asked: Asked, compiler: Compiler) -> str:
    """The count of all of a type, or of a frequent key and some rare ones, as it is kept, less the few that are left out;
    "" where none would be."""
    rt = compiler.root
    deciding = [part for part in asked.parts if not compiler.is_listed(part)]
    if not rt or len(deciding) > 1:
        return ""
    found = f"select counted(0, {rt}::smallint, '')" if compiler.statistics.size(rt) > KEPT else ""
    if deciding:
        found = _of_keys(compiler.token_keys(deciding[0]) or (), compiler)
    left_out = [part for part in asked.parts if compiler.is_listed(part)]
    if not found or not left_out:
        return found
    few = Candidate("f", rt, dated=True, is_resource=True)
    tests = [compiler.test(part, few) for part in deciding]
    keys = [key for part in left_out if isinstance(part, Not) for key in compiler.token_keys(part.part) or ()]
    rids = f"select t.rid from {table('token', rt)} t where t.key = any ({compiler.arguments.bigs(keys)})"
    return (
        f"{found} - (select count(*) from (select * from resource r where r.rid in ({rids}) offset 0) as f"
        f" where {' and '.join(tests) or 'true'})"
    )


def _of_keys(asked: Sequence[int], compiler: Compiler) -> str:
    rt, size = compiler.root, compiler.statistics.key
    keys = sorted(asked, key=size, reverse=True)
    if not keys or size(keys[0]) <= KEPT or sum(map(size, keys[1:])) > KEPT:
        return ""
    rows, most = table("token", rt), compiler.arguments.big(keys[0])
    found = f"select counted({most}, {rt}::smallint, '{rows}')"
    if len(keys) > 1:
        found += (
            f" + (select count(distinct t.rid) from {rows} t where t.key = any ({compiler.arguments.bigs(keys[1:])})"
            f" and not exists (select from {rows} o where o.key = {most} and o.date = t.date and o.rid = t.rid{PROBE}))"
        )
    return found


def count(asked: Asked, compiler: Compiler) -> tuple[str, list[Any]]:
    """The statement that only counts the matches, and its arguments."""
    sql = f"select ({counting(asked, compiler)}) as total"
    if known := told(asked, compiler.arguments):
        sql += f", {known} as filed"
    return sql, compiler.arguments.values
