"""Finds rows of the audit trail: conditions by name and value, walked in the order of time, newest first or last."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Fetch = Callable[..., Awaitable[Sequence[Any]]]
Place = tuple[int, int, int]
"""(at, chain, seq): where a page ends."""

_COLUMNS = "chain, seq, at, outcome, status, kind, interaction, type, id, agent, request, patients, detail::text as detail"
_CONDITIONS = {
    "row": "(chain = {}::integer and seq = {}::bigint)",
    "since": "at >= {}::bigint",
    "until": "at <= {}::bigint",
    "within": "(at >= {}::bigint and at <= {}::bigint)",
    "patient": "(patients <> '{{}}' and patients && {}::text[])",
    "agent": "agent = {}::text",
    "agents": "agent = any ({}::text[])",
    "who": "detail ->> 'fhirUser' ~ {}::text",
    "client": "detail ->> 'client' = {}::text",
    "name": "lower(coalesce(detail ->> 'user', detail ->> 'clientName', agent)) like {}::text",
    "address": "lower(detail ->> 'address') like {}::text",
    "kind": "kind = any ({}::text[])",
    "interaction": "interaction = any ({}::text[])",
    "operation": "interaction like '$%'",
    "acted": "(kind = 'rest' and interaction = any ({}::text[]))",
    "executed": "(kind <> 'rest' or interaction <> all ({}::text[]))",
    "outcome": "outcome = any ({}::smallint[])",
    "request": "request = any ({}::text[])",
    "resource": "((type || '/' || id) = any ({}::text[]) or (detail::jsonb -> 'resources') ?| {}::text[])",
    "nothing": "false",
}
"""What can be asked for; every brace takes one value."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions above with its values; ``parts`` instead: any of several."""

    name: str = ""
    values: tuple[Any, ...] = ()
    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    conditions: tuple[Condition, ...] = ()
    patients: frozenset[str] | None = None
    """Logical ids that are shown of each row; None: all of them. Rows about none of these are not found."""
    ascending: bool = False
    count: int = 20
    after: Place | None = None
    total: bool = False


@dataclass(slots=True)
class Row:
    """One row as it is kept (the columns of ``migrations/audit.sql``)."""

    chain: int
    seq: int
    at: int
    outcome: int
    status: int
    kind: str
    interaction: str
    type: str
    id: str
    agent: str
    request: str
    patients: list[str]
    detail: dict[str, Any]


@dataclass(slots=True)
class Rows:
    """One page; ``next`` is where the next one begins, None when there is none."""

    rows: list[Row] = field(default_factory=list)
    next: Place | None = None
    total: int | None = None


async def find(fetch: Fetch, wanted: Wanted) -> Rows:
    """One page of what is wanted; checkpoints of the chains are nobody's doing and never shown."""
    query = _Query()
    source = "audit"
    if wanted.patients is not None:
        # Fenced off: for one limit of rows the planner would rather walk all of time than look into the index, which
        # takes for ever where the patient is seldom seen.
        about = query.sql(Condition("patient", (sorted(wanted.patients),)))
        source = f"(select * from audit where {about} offset 0) as audit"
    where = ["kind <> 'checkpoint'", *(query.sql(each) for each in wanted.conditions)]
    total = None
    if wanted.total:
        counted = await fetch(f"select count(*) from {source} where {' and '.join(where)}", *query.values)
        total = counted[0][0]
    if wanted.count == 0:
        return Rows(total=total)
    sign, order = (">", "asc") if wanted.ascending else ("<", "desc")
    if wanted.after is not None:
        place = ", ".join([query.value(each) + "::bigint" for each in wanted.after])
        where.append(f"(at, chain, seq) {sign} ({place})")
    sql = f"""
    select {_COLUMNS} from {source} where {" and ".join(where)}
    order by at {order}, chain {order}, seq {order} limit {query.value(wanted.count + 1)}::bigint
    """
    found = [Row(**{**row, "detail": json.loads(row["detail"])}) for row in await fetch(sql, *query.values)]
    page = Rows(found[: wanted.count], total=total)
    if len(found) > wanted.count:
        last = page.rows[-1]
        page.next = (last.at, last.chain, last.seq)
    return page


class _Query:
    """Statement text and its values, numbered as they come."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def value(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def sql(self, condition: Condition) -> str:
        if condition.parts:
            return f"({' or '.join([self.sql(part) for part in condition.parts])})"
        return _CONDITIONS[condition.name].format(*[self.value(value) for value in condition.values])
