"""Codes of any system and systems of any code: the dictionary of codings tells what they stand for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fhirhub.search.predicate import And, Chain, Has, Keys, Not, Or, Points, rewritten
from fhirhub.store.ranges import Condition
from fhirhub.store.resolve import Fetch
from fhirhub.store.statement import Arguments

CODINGS = "select key, coding from coding where key = any ($1::bigint[])"
CAPACITY = 20_000
"""Codes that are remembered."""
FEW = 50
"""Codings of one code up to which they are: a system may have thousands, which takes long to count."""


class Codings:
    """Remembers what the dictionary holds for codes.

    Other processes add to it, and nobody ever takes anything away; so what is remembered is right for as long as its
    number is. The statement that goes by it tells that number in the same breath (:func:`filed`).
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, ...]] = {}

    def known(self, codes: Collection[int]) -> dict[int, tuple[int, ...]]:
        """The codings of those of ``codes`` that are remembered."""
        return {code: self._known[code] for code in codes if code in self._known}

    def remember(self, codings: Mapping[int, tuple[int, ...]]) -> None:
        """Keep what has been found and committed; the older half goes when the memory is full."""
        if len(self._known) + len(codings) > CAPACITY:
            for old in list(self._known)[: CAPACITY // 2]:
                del self._known[old]
        self._known |= {code: found for code, found in codings.items() if len(found) <= FEW}

    def forget(self, codes: Collection[int]) -> None:
        """Have ``codes`` looked up again."""
        for code in codes:
            self._known.pop(code, None)


def filed(codes: Collection[int], arguments: Arguments) -> str:
    """A select of the number of codings that the dictionary holds for ``codes``."""
    return f"select count(*) from coding where key = any ({arguments.bigs(list(codes))})"


def codes_in(where: Condition) -> set[int]:
    """The codes that ``where`` names without what they stand for."""
    return {code for each in leaves(where) if isinstance(each, Keys) for code in each.codes}


async def found(codes: Collection[int], fetch: Fetch) -> dict[int, tuple[int, ...]]:
    """The codings of each of ``codes``, often none."""
    codings: dict[int, list[int]] = {code: [] for code in codes}
    for code, coding in await fetch(CODINGS, list(codes)) if codes else ():
        codings[code].append(coding)
    return {code: tuple(each) for code, each in codings.items()}


async def spelt_out(where: Condition, fetch: Fetch) -> Condition:
    """``where`` with the codings that the dictionary has for a code or a system in place of those."""
    codes = codes_in(where)
    return with_codings(where, await found(codes, fetch)) if codes else where


def with_codings(where: Condition, codings: Mapping[int, tuple[int, ...]]) -> Condition:
    """``where`` with ``codings`` in place of the codes."""

    def spelt(leaf: Condition) -> Condition:
        if not isinstance(leaf, Keys) or not leaf.codes:
            return leaf
        filed = (coding for code in leaf.codes for coding in codings.get(code, ()))
        return Keys(tuple(dict.fromkeys((*leaf.keys, *filed))))

    result: Condition = rewritten(where, spelt)
    return result


def leaves(where: Condition) -> Iterator[Condition]:
    """The leaves of a predicate, those behind chains too."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Chain(_, _, part) | Has(_, _, part) | Points(_, part):
            yield from leaves(part)
        case _:
            yield where
