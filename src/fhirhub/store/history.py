"""History of a resource, a type or everything (https://hl7.org/fhir/R4/http.html#history), newest first."""

from __future__ import annotations

from collections.abc import Sequence

from fhirhub.store.cursor import Sealer
from fhirhub.store.reads import stored
from fhirhub.store.records import HistoryPage
from fhirhub.store.resolve import Fetch

COLUMNS = "v.rid, v.version, v.updated, v.deleted, v.method, v.meta::text as meta, v.content::text as content"

# A version was current until the next one was made; it counts for _at if that was after the interval began.
_CURRENT = """
($7::bigint is null or exists (
    select from history n where n.rt = h.rt and n.rid = h.rid and n.version = h.version + 1 and n.updated > $7
    union all
    select from resource n where n.rid = h.rid and n.version = h.version + 1 and n.updated > $7))
"""

# Each type is walked in its own order and gives its newest few; of those the newest overall are kept. Rows are
# placed by (updated, rid, version), which nothing changes afterwards, so pages neither skip nor repeat.
WALK = f"""
select v.rt, r.id, {COLUMNS}
from (
    select u.*
    from unnest($1::smallint[]) as k (rt)
    cross join lateral (
        (select r.rt, r.rid, r.version, r.updated, r.deleted, r.method, r.meta, r.content
         from resource r
         where r.rt = k.rt and r.version > 0 and r.updated >= $2
           and (r.updated, r.rid) <= ($3, $4) and (r.updated, r.rid, r.version) < ($3, $4, $5)
         order by r.updated desc, r.rid desc limit $6)
        union all
        (select h.rt, h.rid, h.version, h.updated, h.deleted, h.method, h.meta, h.content
         from history h
         where h.rt = k.rt and h.updated >= $2
           and (h.updated, h.rid) <= ($3, $4) and (h.updated, h.rid, h.version) < ($3, $4, $5) and {_CURRENT}
         order by h.updated desc, h.rid desc limit $6)
    ) as u
    order by u.updated desc, u.rid desc, u.version desc
    limit $6
) as v
cross join lateral (select r.id from resource r where r.rid = v.rid offset 0) as r
order by v.updated desc, v.rid desc, v.version desc
"""

INSTANCE = f"""
select $1::smallint as rt, v.id, {COLUMNS}
from (
    select r.id, r.rid, r.version, r.updated, r.deleted, r.method, r.meta, r.content
    from resource r where r.rt = $1 and r.id = $8 and r.version > 0
    union all
    select r.id, h.rid, h.version, h.updated, h.deleted, h.method, h.meta, h.content
    from resource r join history h on h.rt = r.rt and h.rid = r.rid
    where r.rt = $1 and r.id = $8 and {_CURRENT}
) as v
where v.updated >= $2 and (v.updated, v.rid, v.version) < ($3::bigint, $4::bigint, $5::integer)
order by v.version desc
limit $6
"""

END = 1 << 62
"""Later than any time, larger than any rid."""
LAST_VERSION = (1 << 31) - 1


async def history(
    fetch: Fetch,
    sealer: Sealer,
    types: Sequence[str],
    *,
    among: Sequence[int],
    id_: str | None,
    since: int | None,
    at: tuple[int, int] | None,
    count: int,
    cursor: str | None,
) -> HistoryPage:
    """One page of the versions of ``among`` (type numbers), of one resource when ``id_`` is given.

    Times are in microseconds since 1970 UTC. ``at`` (first, last) keeps the versions that were current at some
    time in the interval: those made inside it, and the one in force when it began.
    """
    purpose = f"history {list(among)} {id_}"
    place = (END, END, LAST_VERSION) if cursor is None else tuple(sealer.open(cursor, purpose))
    if at is not None:
        place = min(place, (at[1], END, LAST_VERSION))
    start = since if since is not None else -END
    arguments = (start, *place, count + 1, at[0] if at is not None else None)
    if id_ is None:
        rows = await fetch(WALK, list(among), *arguments)
    else:
        rows = await fetch(INSTANCE, among[0], *arguments, id_)
    versions = (stored(types[row["rt"] - 1], row["id"], row) for row in rows)
    page = HistoryPage([version for version in versions if version is not None])
    if len(page.versions) > count:
        page.versions = page.versions[:count]
        last = page.versions[-1] if count else None
        if last is not None:
            page.next = sealer.seal((last.updated, last.rid, last.version), purpose)
    return page
