"""Keeps table ``parameter`` in step with the SearchParameter resources of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from fhirhub.definitions.tables import Definitions, SearchParameter
from fhirhub.errors import Unprocessable
from fhirhub.resource import json
from fhirhub.search.custom import BUILDING, RETIRED, TYPE, Own, compiled, is_active, taken
from fhirhub.store.engine import Connection
from fhirhub.store.parameters import CHANNEL, definition, load

log = logging.getLogger("fhirhub.parameters")

CHANGED = "select exists (select from parameter_change) as due"
LOCK = "select pg_advisory_xact_lock(7335)"
TAKE = "delete from parameter_change"
RESOURCES = """
select r.id, r.content::text as content from resource r
where r.rt = $1 and not r.deleted and r.content ->> 'status' = 'active' order by r.rid
"""
RETIRE = """
update parameter set state = 'retired', generation = $1 where pid = any ($2::smallint[]) and state in ('building', 'ready')
"""
INSERT = """
insert into parameter (pid, generation, type, code, resource, definition, state)
select nextval('parameter_pid'), $1, c.type, c.code, c.resource, c.definition::jsonb, 'building'
from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as c (type, code, resource, definition)
returning pid, type
"""
MOVE = "update parameter set resource = $2 where pid = $1"
EXHAUSTED = "select is_called and last_value >= 16382 - $1 as full from parameter_pid"
READY = """
with ready as (
    update parameter set state = 'ready', generation = nextval('parameter_generation')
    where pid = any ($1::smallint[]) and state = 'building' returning pid
)
select pg_notify($2, '') from ready
"""
GONE = "update parameter set state = 'gone' where pid = any ($1::smallint[]) and state = 'retired'"


@dataclass(slots=True)
class Registered:
    """What has become due: pids by resource type, and the generation that everybody has to know before."""

    generation: int = 0
    building: dict[str, list[int]] = field(default_factory=dict)
    retired: dict[str, list[int]] = field(default_factory=dict)


async def register(
    connection: Connection, definitions: Definitions, due: Callable[[Registered], Any]
) -> Registered | None:
    """Take up the SearchParameters that were written since the last time; None when there are none.

    ``definitions`` are HL7's. The coroutine ``due`` makes the jobs, in the same transaction.
    """
    if not (await connection.fetch(CHANGED))[0]["due"]:
        return None
    async with connection.raw.transaction():
        await connection.fetch(LOCK)
        await connection.fetch(TAKE)
        _, own = await load(connection.fetch)
        present = [each for each in own if each.state != RETIRED]
        rows = await connection.fetch(RESOURCES, definitions.type_number[TYPE])
        documents = {row["id"]: json.parse(row["content"].encode()) | {"resourceType": TYPE} for row in rows}
        wanted = _wanted(documents, definitions, present)
        found = await _apply(connection, present, wanted)
        await due(found)
        await connection.fetch("select pg_notify($1, '')", CHANNEL)
    return found


Name = tuple[str, str]
"""(resource type, code)."""


def _wanted(
    documents: dict[str, dict[str, Any]], definitions: Definitions, present: Iterable[Own]
) -> dict[Name, tuple[str, SearchParameter]]:
    """(type, code) -> id of the SearchParameter and what it defines. Who has a code keeps it."""
    holders = {each.resource for each in present}
    wanted: dict[Name, tuple[str, SearchParameter]] = {}
    # Composites build on others: they come last.
    order = sorted(documents, key=lambda id: (documents[id].get("type") == "composite", id not in holders))
    for id in order:
        if not is_active(documents[id]):
            continue
        so_far = [Own(parameter, BUILDING, 0, holder) for holder, parameter in wanted.values()]
        try:
            found = compiled(documents[id], definitions, so_far)
            taken(found, so_far, id)
        except Unprocessable as error:
            # It came in by a way that does not refuse it, or what it builds on has gone.
            log.warning("a search parameter is not served", extra={"id": id, "reason": error.issues[0].text})
            continue
        wanted |= {(each.type, each.code): (id, each) for each in found}
    return wanted


async def _apply(
    connection: Connection, present: list[Own], wanted: dict[Name, tuple[str, SearchParameter]]
) -> Registered:
    found = Registered()
    retired: list[int] = []
    for own in present:
        parameter = own.parameter
        name = (parameter.type, parameter.code)
        id, new = wanted.get(name, ("", None))
        if new is None or definition(new) != definition(parameter):
            retired.append(parameter.pid)
            found.retired.setdefault(parameter.type, []).append(parameter.pid)
            continue
        if id != own.resource:
            await connection.fetch(MOVE, parameter.pid, id)
        del wanted[name]
    if (await connection.fetch(EXHAUSTED, len(wanted)))[0]["full"]:
        log.error("the store has had so many search parameters of its own that there are no numbers left")
        wanted.clear()
    if not retired and not wanted:
        return found
    found.generation = (await connection.fetch("select nextval('parameter_generation') as n"))[0]["n"]
    if retired:
        await connection.fetch(RETIRE, found.generation, retired)
    if wanted:
        types, codes = zip(*wanted, strict=True)
        ids = [id for id, _ in wanted.values()]
        texts = [orjson.dumps(definition(each)).decode() for _, each in wanted.values()]
        for row in await connection.fetch(INSERT, found.generation, types, codes, ids, texts):
            found.building.setdefault(row["type"], []).append(row["pid"])
    return found
