"""How a search would run: its plan, what drives it, what that is expected to cost, and what would help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fhirhub.search.predicate import (
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
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import VALUE_BITS, key_pid
from fhirhub.store.plan import SELECTIVE, Plan
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.resolve import Fetch
from fhirhub.store.search import Asked, Searcher

KINDS = {
    "token": "walks the token index, newest main date first, and stops when the page is full",
    "range": "walks the index of values in their order and stops when the page is full",
    "resource": "walks all resources of the type by main date and stops when the page is full",
    "updated": "walks all resources of the type by last change and stops when the page is full",
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
            "advice": self.advice,
            "sql": self.sql,
            "steps": self.steps,
        }


async def explain(
    searcher: Searcher, request: SearchRequest, fetch: Fetch, *, run: bool = False
) -> Explained:
    """How ``request`` would run; with ``run`` it does, and the steps tell what they took."""
    asked = await searcher.asked(request, fetch, keep=True)
    plan, position, _ = searcher.place(asked)
    compiler = searcher.compiler(asked)
    found = Explained(plan)
    for part in asked.parts:
        rows = searcher.statistics.rows(part, compiler.root, asked.keys)
        found.parts.append((described(searcher, part, asked), rows))
    found.sql, values, _ = searcher.statement(asked, plan, position)
    options = "analyze, buffers" if run else "costs"
    found.steps = [row[0] for row in await fetch(f"explain ({options}) {found.sql}", *values)]
    found.advice = advised(found, request, searcher.statistics.size(compiler.root))
    return found


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
        advice.append(
            "No criterion can drive an index: all resources of the type are looked at until the page is full."
        )
    if any(text.startswith("contains") for text, _ in found.parts):
        advice.append(
            "A :contains looks through every value of its parameter; a plain search uses the index."
        )
    if request.total == "accurate" and driving > 100_000:
        advice.append("_total=accurate counts all matches; _total=estimate does not.")
    return advice


def described(searcher: Searcher, part: Condition, asked: Asked) -> str:
    """A condition in words, by the names of its parameters."""

    def name(pid: int) -> str:
        known = searcher.definitions.by_pid
        return known[pid].code if pid in known else "a reference"

    match part:
        case Keys(keys):
            names = " or ".join(dict.fromkeys(name(key_pid(key)) for key in keys))
            return f"{len(keys)} value(s) of {names}"
        case Refers(pid, targets):
            return f"{name(pid)} refers to {len(targets)} resource(s)"
        case Range(table, key):
            return f"{table} {name(key >> VALUE_BITS)} in a range"
        case Text(key, match):
            return f"{match} text of {name(key >> VALUE_BITS)}"
        case Present(pid):
            return f"{name(pid)} is there"
        case Ids(ids):
            return f"{len(ids)} id(s)"
        case Not(inner):
            return f"not ({described(searcher, inner, asked)})"
        case Or(parts):
            return "any of " + "; ".join(described(searcher, each, asked) for each in parts)
        case Words():
            return "a word of the text"
        case Says():
            return "the text as it stands in the document"
        case Updated():
            return "the time of the last change"
        case Near():
            return "the distance"
        case OfType(types):
            return f"one of {len(types)} types"
    return f"a chain ({type(part).__name__})"
