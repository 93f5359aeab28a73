"""``_include`` and ``_revinclude``: what the matches of a page refer to, and what refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fhirhub.definitions.tables import Definitions
from fhirhub.search.request import Include
from fhirhub.search.rows import VALUE_BITS, VALUE_MASK, key_pid
from fhirhub.store.reads import COLUMNS, stored
from fhirhub.store.records import Stored
from fhirhub.store.resolve import Fetch

INCLUDED = 1000
"""Resources that includes add to a page at most."""
ROUNDS = 5
"""Times that ``:iterate`` goes on."""

BY_RID = (
    f"select r.id, r.rt, r.keys, {COLUMNS} from resource r where r.rid = any ($1::bigint[]) and not r.deleted"
)

REFERRERS = """
select distinct t.rid
from unnest($1::bigint[]) as k (key)
cross join lateral (
    select t.rid from token t where t.rt = $2 and t.key = k.key order by t.date desc limit $3
) as t
limit $3
"""

Placed = tuple[Stored, Sequence[int]]
"""A resource and its keys."""


async def include(
    definitions: Definitions,
    includes: Sequence[Include],
    matches: Sequence[Stored],
    keys: Sequence[Sequence[int]],
    fetch: Fetch,
) -> list[Stored]:
    """What ``includes`` add to a page of ``matches`` (with the ``keys`` of each); ``:iterate`` goes on from there."""
    seen = {match.rid for match in matches}
    included: list[Stored] = []
    frontier: list[Placed] = list(zip(matches, keys, strict=True))
    for turn in range(ROUNDS):
        now = [each for each in includes if turn == 0 or each.iterate]
        if not frontier or not now:
            break
        rids = await _neighbours(definitions, now, frontier, fetch)
        wanted = [rid for rid in rids if rid not in seen][: INCLUDED - len(included)]
        frontier = []
        for row in await fetch(BY_RID, wanted) if wanted else ():
            each = stored(definitions.resource_types[row["rt"] - 1], row["id"], row)
            if each is not None and _is_wanted(each, now, rids[each.rid]):
                seen.add(each.rid)
                included.append(each)
                frontier.append((each, row["keys"] or []))
    return included


async def _neighbours(
    definitions: Definitions, includes: Sequence[Include], frontier: Sequence[Placed], fetch: Fetch
) -> dict[int, set[int]]:
    """rid -> the numbers of the includes that lead to it."""
    rids: dict[int, set[int]] = {}
    for number, each in enumerate(includes):
        if not each.reverse:
            pids = set(each.pids)
            for match, keys in frontier:
                if match.type == each.source:
                    for key in keys:
                        if key >= 0 and key_pid(key) in pids:
                            rids.setdefault(key & VALUE_MASK, set()).add(number)
            continue
        wanted = [
            pid << VALUE_BITS | match.rid
            for match, _ in frontier
            if each.target in (None, match.type)
            for pid in each.pids
        ]
        if wanted:
            for row in await fetch(REFERRERS, wanted, definitions.type_number[each.source], INCLUDED):
                rids.setdefault(row["rid"], set()).add(number)
    return rids


def _is_wanted(found: Stored, includes: Sequence[Include], by: Iterable[int]) -> bool:
    return any(includes[number].reverse or includes[number].target in (None, found.type) for number in by)
