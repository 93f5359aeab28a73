"""History of a resource, a type or everything (https://hl7.org/fhir/R4/http.html#history), newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fhirhub.search.predicate import And, Keys, Not, OfType, Or, Predicate
from fhirhub.store.cursor import Sealer
from fhirhub.store.reads import stored
from fhirhub.store.records import HistoryPage, Stored
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
           and (r.updated, r.rid) <= ($3, $4) and (r.updated, r.rid, r.version) < ($3, $4, $5){{present}}
         order by r.updated desc, r.rid desc limit $6)
        union all
        (select h.rt, h.rid, h.version, h.updated, h.deleted, h.method, h.meta, h.content
         from history h
         where h.rt = k.rt and h.updated >= $2
           and (h.updated, h.rid) <= ($3, $4) and (h.updated, h.rid, h.version) < ($3, $4, $5) and {_CURRENT}{{past}}
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

ALL: Predicate = And(())
TAKEN = 7
"""Arguments of a walk before those of the test of what is present."""
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
    within: tuple[str, Sequence[Any]] = ("", ()),
) -> HistoryPage:
    """One page of the versions of ``among`` (type numbers), of one resource when ``id_`` is given.

    ``within`` is the test of a present version ``r`` that those of many resources are of, with its arguments from $8 on.

    Times are in microseconds since 1970 UTC. ``at`` (first, last) keeps the versions that were current at some
    time in the interval: those made inside it, and the one in force when it began.
    """
    purpose = _purpose(among, id_)
    place = (END, END, LAST_VERSION) if cursor is None else tuple(sealer.open(cursor, purpose))
    if at is not None:
        place = min(place, (at[1], END, LAST_VERSION))
    start = since if since is not None else -END
    arguments = (start, *place, count + 1, at[0] if at is not None else None)
    if id_ is None:
        test, values = within
        rows = await fetch(_walk(test), list(among), *arguments, *values)
    else:
        rows = await fetch(INSTANCE, among[0], *arguments, id_)
    versions = (stored(types[row["rt"] - 1], row["id"], row) for row in rows)
    page = HistoryPage([version for version in versions if version is not None])
    if len(page.versions) > count:
        page.versions = page.versions[:count]
        if count:
            page.next = link_after(sealer, page.versions[-1], among, id_)
    return page


def link_after(sealer: Sealer, last: Stored, among: Sequence[int], id_: str | None) -> str:
    """The cursor of the page of a history (see :func:`history`) that begins after the version ``last``."""
    return sealer.seal((last.updated, last.rid, last.version), _purpose(among, id_))


def tested(types: Sequence[str], within: Callable[[str], Predicate]) -> Predicate | None:
    """The condition on the present version of resources of ``types`` that each be ``within`` that of its type; None when
    that is true of all."""
    conditions = {type: within(type) for type in types}
    if all(each == ALL for each in conditions.values()):
        return None
    # Keys belong to one type each, so what only leaves some of them out can be asked of all types together.
    out = {type: keys for type, each in conditions.items() if (keys := _left_out(each))}
    left = Not(Keys(tuple(key for keys in out.values() for key in keys)))
    parts: list[Predicate] = [And((OfType(tuple(out)), left))] if out else []
    whole = tuple(type for type, each in conditions.items() if each == ALL)
    parts += [OfType(whole)] if whole else []
    rest = [type for type in types if type not in out and type not in whole]
    parts += [And((OfType((type,)), conditions[type])) for type in rest]
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _left_out(where: Predicate) -> tuple[int, ...]:
    """The keys that ``where`` leaves out, if it does nothing else."""
    match where:
        case Not(Keys(keys, ())):
            return keys
    return ()


def _walk(test: str) -> str:
    """The walk through the versions of resources whose present version ``r`` passes ``test``, or is a tombstone."""
    if not test:
        return WALK.replace("{present}", "").replace("{past}", "")
    present = f" and (r.deleted or {test})"
    past = f" and exists (select from resource r where r.rt = h.rt and r.rid = h.rid{present} offset 0)"
    return WALK.replace("{present}", present).replace("{past}", past)


def _purpose(among: Sequence[int], id_: str | None) -> str:
    return f"history {list(among)} {id_}"
