"""How many matches a search has in all: counted, or estimated where that would take long."""

from __future__ import annotations

from fhirhub.errors import Issue
from fhirhub.store.asked import Asked
from fhirhub.store.cost import Estimator
from fhirhub.store.predicates import Compiler
from fhirhub.store.statement import table

ESTIMATE = 20_000.0
"""``_total=estimate`` counts exactly when it expects no more than this."""
COUNTED = 1_000_000.0
"""Index entries, by the estimate, up to which ``_total=accurate`` is: about a second. Beyond, it is an estimate, too."""


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
    if not asked.parts:
        of_type = compiler.of_type("r", rt)
        return f"select count(*) from {table('resource', rt)} r where {of_type} and not r.deleted"
    # One key stands once for each resource, so its rows are counted in the index alone.
    counted = "count(*)" if compiler.stands_once(asked.where) else "count(distinct rid)"
    return f"select {counted} from ({compiler.rids(asked.where, rt)}) as s"
