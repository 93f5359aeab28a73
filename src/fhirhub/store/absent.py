"""What is not there, found by indexes alone.

The token rows of a key stand in the same order as the resources of a type: by main date. What has no row under some
keys is what is left of the one when the others pass beside it; so a page ends where it is full, and where hardly
anything is left, a million resources pass in a fraction of the time that it takes to look each of them up. Which
parameters a resource has any value of is told by the index of the type itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhirhub.search.predicate import And, Keys, Not, Or, Present, Refers
from fhirhub.store.ranges import Condition
from fhirhub.store.statement import Arguments, table

MOST = 8
"""Keys whose rows pass side by side; those of more are put in order first, the rarest of them."""
PASSED = 0.3
"""Passing a resource by in its index costs a third of looking one up."""
SORTED = 0.6
"""So does it where the rows beside it are put in order first."""


def by_marks(where: Condition) -> bool:
    """Whether ``where`` only asks which parameters have values."""
    match where:
        case Present():
            return True
        case Not(part):
            return not isinstance(part, Not) and by_marks(part)
        case And(parts) | Or(parts):
            return bool(parts) and all(map(by_marks, parts))
    return False


def keys_of(where: Condition, refers: dict[Condition, tuple[int, ...]]) -> tuple[int, ...]:
    """The keys none of which ``where`` wants; none where it is something else. ``refers`` are those of every Refers."""
    match where:
        case Not(Keys(keys)):
            return keys
        case Not(Refers() as part):
            return refers[part]
    return ()


def passing(keys: int) -> float:
    """What passing one resource by beside the rows of so many keys costs, in index entries."""
    return PASSED if keys <= MOST else SORTED


def left(keys: Sequence[int], rt: int, within: Sequence[str], down: bool, arguments: Arguments) -> str:
    """A select of ``date`` and ``rid``, in their order, of the resources of ``rt`` without a row under ``keys`` (frequent
    ones first).

    ``within``: conditions on ``c.date`` and ``c.rid``.
    """
    wanted = "".join(f" and {each}" for each in within)
    order = "date desc, rid desc" if down else "date, rid"
    resources = (
        f"select c.date, c.rid, true as own from resource c where c.rt = {rt} and not c.deleted{wanted}"
    )
    alone = len(keys) if len(keys) <= MOST else MOST - 1
    side = [f"= {arguments.big(key)}" for key in keys[:alone]]
    if keys[alone:]:
        side.append(f"= any ({arguments.bigs(list(keys[alone:]))})")
    rows = (
        f"select c.date, c.rid, false from {table('token', rt)} c where c.key {each}{wanted}" for each in side
    )
    # Postgres merges what is said to be in order, and groups it as it comes: anything else would sort or hash it all.
    passing = " union all ".join(f"({each} order by {order})" for each in (resources, *rows))
    return (
        f"select date, rid from (select * from ({passing}) as p order by {order} offset 0) as p"
        f" group by date, rid having bool_and(own) order by {order}"
    )


def marked(test: str, rt: int, within: Sequence[str], down: bool) -> str:
    """The same of the resources of ``rt`` (``c``) that pass ``test``, which speaks of nothing but ``c.params``."""
    order = "date desc, rid desc" if down else "date, rid"
    wanted = " and ".join((f"c.rt = {rt}", "not c.deleted", *within, f"({test})"))
    return f"select c.date, c.rid from resource c where {wanted} order by {order} offset 0"
