"""Codes of any system and systems of any code: the dictionary of codings tells what they stand for."""

from __future__ import annotations

from collections.abc import Iterator

from fhirhub.search.predicate import And, Chain, Has, Keys, Not, Or, rewritten
from fhirhub.store.ranges import Condition
from fhirhub.store.resolve import Fetch

CODINGS = "select key, coding from coding where key = any ($1::bigint[])"


async def spelt_out(where: Condition, fetch: Fetch) -> Condition:
    """``where`` with the codings that the dictionary has for a code or a system in place of those."""
    codes = {code for each in leaves(where) if isinstance(each, Keys) for code in each.codes}
    if not codes:
        return where
    codings: dict[int, list[int]] = {}
    for code, coding in await fetch(CODINGS, list(codes)):
        codings.setdefault(code, []).append(coding)

    def with_codings(leaf: Condition) -> Condition:
        if not isinstance(leaf, Keys) or not leaf.codes:
            return leaf
        filed = (coding for code in leaf.codes for coding in codings.get(code, ()))
        return Keys(tuple(dict.fromkeys((*leaf.keys, *filed))))

    result: Condition = rewritten(where, with_codings)
    return result


def leaves(where: Condition) -> Iterator[Condition]:
    """The leaves of a predicate, those behind chains too."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Chain(_, _, part) | Has(_, _, part):
            yield from leaves(part)
        case _:
            yield where
