"""Items that wait for others: which of them must be written together.

Two resources in different files may refer to each other; neither can be first. All that hang together are one group
and go into one database transaction.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fhirhub.jobs.load.items import Deferred, Item, Name, Problem


@dataclass(slots=True)
class _Kept:
    at: int
    length: int
    name: Name | None
    missing: tuple[Name, ...]


class Waiting:
    """Deferred items on disk, with what is needed to group them in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="fhirhub-import-")
        self._kept: list[_Kept] = []
        self._end = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, deferred: Deferred) -> None:
        """Keep an item until the others have been taken in."""
        data = pickle.dumps((deferred.item, deferred.problem), pickle.HIGHEST_PROTOCOL)
        self._file.seek(self._end)
        self._file.write(data)
        self._kept.append(_Kept(self._end, len(data), deferred.name, deferred.missing))
        self._end += len(data)

    def groups(self) -> Iterator[list[Item]]:
        """The items, those that wait for each other together."""
        for group in _components(self._kept):
            yield [self._load(kept)[0] for kept in group]

    def problems(self) -> Iterator[Problem]:
        """What to say of each when there is nothing left to wait for."""
        for kept in self._kept:
            yield self._load(kept)[1]

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _load(self, kept: _Kept) -> tuple[Item, Problem]:
        self._file.seek(kept.at)
        made: tuple[Item, Problem] = pickle.loads(self._file.read(kept.length))
        return made


def _components(items: Iterable[_Kept]) -> Iterator[list[_Kept]]:
    """Connected components by name and missing names."""
    listed = list(items)
    parents = list(range(len(listed)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    owner = {kept.name: number for number, kept in enumerate(listed) if kept.name is not None}
    for number, kept in enumerate(listed):
        for name in kept.missing:
            if name in owner:
                parents[root(number)] = root(owner[name])
    groups: dict[int, list[_Kept]] = {}
    for number, kept in enumerate(listed):
        groups.setdefault(root(number), []).append(kept)
    yield from groups.values()
