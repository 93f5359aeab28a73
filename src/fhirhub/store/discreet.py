"""What is not there, for callers who may not see all there is: it takes the same statements as what is hidden.

A name that nobody has and a code that nothing is filed under get keys that no row ever stands under. So the search goes
the way it would have gone, and finds as little as it would have been shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice

from fhirhub.search.rows import VALUE_BITS, key_pid
from fhirhub.store.resolve import BLOCK, Name

STEPS = 8
"""Codings of one code come in this number, or a power of it, for those who may not know how many there are."""


def stand_ins(names: Iterable[Name]) -> dict[Name, int]:
    """A rid that no resource ever gets for each of ``names``: the first block of all is never handed out."""
    return {name: number % BLOCK for number, name in enumerate(sorted(names))}


def evened(
    codings: Mapping[int, tuple[int, ...]], codes: Collection[int], told: Collection[int]
) -> dict[int, tuple[int, ...]]:
    """``codings`` with keys of no row for those of ``codes`` that have none; of those ``told``, so many that their
    number says nothing.
    """
    numbers = count()
    filled: dict[int, tuple[int, ...]] = {}
    for code in sorted(codes):
        known = codings.get(code, ())
        wanted = _step(len(known)) if code in told else max(len(known), 1)
        filled[code] = (*known, *islice(_fillers(key_pid(code), numbers), wanted - len(known)))
    return filled


def rounded(keys: Sequence[int], pid: int) -> tuple[int, ...]:
    """``keys`` with so many of no row, by parameter ``pid``, that their number says little."""
    return (*keys, *islice(_fillers(pid, count()), _step(len(keys)) - len(keys)))


def _step(size: int) -> int:
    step = STEPS
    while step < size:
        step *= STEPS
    return step


def _fillers(pid: int, numbers: Iterator[int]) -> Iterator[int]:
    """Reference keys to rids that no resource ever gets: no token stands under such a key."""
    base = pid << VALUE_BITS
    return (base | number % BLOCK for number in numbers)
