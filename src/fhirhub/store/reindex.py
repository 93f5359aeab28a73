"""Make the index rows of what is stored anew, while a server goes on: after a change of definitions or of the code
that extracts rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fhirhub.resource import json
from fhirhub.store.pack import REINDEX
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Change, StaleBase
from fhirhub.store.store import Store
from fhirhub.store.totals import CHANGED

BATCH = 500
NEXT = f"""
select r.id, {COLUMNS}
from resource r
where r.rid > $2 and r.rt = $1 and not r.deleted
order by r.rid
limit {BATCH}
"""
COUNT = "select rt, count(*) as n from resource where not deleted group by rt"

Progress = Callable[[str, int, int], None]
"""Told of (type, resources done, resources in all) after each batch."""


@dataclass(slots=True)
class Reindexed:
    """Resources whose rows were made anew, and those that somebody changed meanwhile, which did the same."""

    resources: int = 0
    overtaken: int = 0


async def reindex(
    store: Store, *, types: Sequence[str] = (), bases: tuple[str, ...] = (), progress: Progress | None = None
) -> Reindexed:
    """Make all index rows of ``types`` (none named: of all) anew.

    Each resource is replaced in a moment, so searches meanwhile find it by its old or its new rows. ``bases`` are the
    addresses under which the server was written to. The store must have been opened without referential integrity:
    what refers to nothing keeps a place for it.
    """
    done = Reindexed()
    extractor = store.indexing.extractor
    counts = {row["rt"]: row["n"] for row in await store.fetch(COUNT)}
    wanted = types or store.definitions.resource_types
    total = sum(counts.get(store.definitions.type_number[type_], 0) for type_ in wanted)
    for type_ in wanted:
        rt, last = store.definitions.type_number[type_], 0
        while rt in counts:
            rows = await store.fetch(NEXT, rt, last)
            if not rows:
                break
            last = rows[-1]["rid"]
            versions = [found for row in rows if (found := stored(type_, row["id"], row)) is not None]
            changes = [
                Change(REINDEX, type_, each.id, each, None, extractor.rows(json.parse(each.render()), bases))
                for each in versions
            ]
            # Before, too: whatever ends this in between leaves no count of what was there.
            await store.fetch(CHANGED)
            overtaken = sum(await asyncio.gather(*(_replace(store, change) for change in changes)))
            await store.fetch(CHANGED)
            done.overtaken += overtaken
            done.resources += len(changes) - overtaken
            if progress is not None:
                progress(type_, done.resources + done.overtaken, total)
    return done


async def _replace(store: Store, change: Change) -> bool:
    """Whether somebody else changed the resource first."""
    try:
        await store.write([change])
    except StaleBase:
        return True
    return False
