"""How a search would run: its plan, what drives it, what that is expected to cost, and what would help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fhirhub.search.request import SearchRequest
from fhirhub.store.asked import Asked
from fhirhub.store.cost import Cost
from fhirhub.store.described import described
from fhirhub.store.outline import LOOKED_THROUGH, UNDRIVEN
from fhirhub.store.plan import SELECTIVE, Plan
from fhirhub.store.resolve import Fetch
from fhirhub.store.search import Searcher
from fhirhub.store.walks import Position

KINDS = {
    "token": "walks the token index, newest main date first, and stops when the page is full",
    "range": "walks the index of values in their order and stops when the page is full",
    "merged": "walks the alternatives side by side, newest main date first, and stops when the page is full",
    "absent": "passes all resources by, beside the rows that must not be there, and stops when the page is full",
    "resource": "walks all resources of the type by main date and stops when the page is full",
    "updated": "walks all resources of the type by last change and stops when the page is full",
    "ranked": "walks the codes of the parameter in their order and stops when the page is full",
    "sort": "gathers all matches, then sorts them",
}


@dataclass(slots=True)
class Explained:
    """An explanation: ``parts`` are the conditions with the rows expected for each."""

    plan: Plan
    parts: list[tuple[str, float]] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    sql: str = ""
    steps: list[str] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    is_empty: bool = False
    """Nothing can match, whatever is stored."""

    @property
    def driver(self) -> str:
        """What the search begins with."""
        return self.parts[self.plan.driver][0] if self.plan.driver >= 0 else "all resources of the type"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "plan": self.plan.kind,
            "how": KINDS[self.plan.kind],
            "driver": self.driver,
            "conditions": [{"condition": text, "rows": round(rows)} for text, rows in self.parts],
            "entries": round(self.cost.entries),
            "advice": self.advice,
            "sql": self.sql,
            "steps": self.steps,
        }


async def explain(
    searcher: Searcher, request: SearchRequest, fetch: Fetch, *, run: bool = False
) -> Explained:
    """How ``request`` would run; with ``run`` it does, and the steps tell what they took."""
    found, asked, position = await _planned(searcher, request, fetch)
    found.sql, values, _ = searcher.statement(asked, found.plan, position)
    options = "analyze, buffers" if run else "costs"
    found.steps = [row[0] for row in await fetch(f"explain ({options}) {found.sql}", *values)]
    return found


async def planned(searcher: Searcher, request: SearchRequest, fetch: Fetch) -> Explained:
    """How ``request`` would run, without its statement: only what it refers to is looked up."""
    return (await _planned(searcher, request, fetch))[0]


async def _planned(
    searcher: Searcher, request: SearchRequest, fetch: Fetch
) -> tuple[Explained, Asked, Position | None]:
    asked = await searcher.asked(request, fetch, keep=True)
    plan, position, _ = await searcher.place(asked, fetch)
    compiler = searcher.compiler(asked)
    found = Explained(plan, is_empty=asked.is_empty)
    for part in asked.parts:
        rows = searcher.statistics.rows(part, compiler.root, asked.keys)
        found.parts.append((described(searcher.definitions, part), rows))
    found.cost = searcher.cost(asked, plan)
    found.advice = advised(found, request, searcher.statistics.size(compiler.root))
    return found, asked, position


def advised(found: Explained, request: SearchRequest, size: float) -> list[str]:
    """What would make the search cheaper."""
    advice: list[str] = []
    driving = found.parts[found.plan.driver][1] if found.plan.driver >= 0 else size
    if found.plan.kind == "sort" and driving > SELECTIVE:
        order = " or leave _sort out" if request.sort else ""
        advice.append(
            f"About {driving:,.0f} resources are gathered before the first is given: add a criterion that few fulfil"
            f" (a patient, a code){order}."
        )
    if found.plan.driver < 0 and found.parts:
        advice.append(UNDRIVEN)
    if any(text.startswith("contains") for text, _ in found.parts):
        advice.append(LOOKED_THROUGH)
    if request.total == "accurate" and driving > 100_000:
        advice.append("_total=accurate counts all matches; _total=estimate does not.")
    return advice
