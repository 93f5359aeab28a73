"""A search as the store sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fhirhub.search.predicate import Keys, Or, Refers
from fhirhub.search.request import SearchRequest
from fhirhub.store.binding import bound
from fhirhub.store.ranges import Condition
from fhirhub.store.ranked import Ranking
from fhirhub.store.recall import Question


@dataclass(slots=True)
class Asked:
    """A request as the store sees it: conditions folded, references resolved to keys."""

    request: SearchRequest
    where: Condition
    parts: tuple[Condition, ...]
    keys: dict[Condition, tuple[int, ...]]
    ranks: Ranking = ()
    """The codes that a ranked plan goes by."""
    remembered: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Codes whose codings come from memory: to be confirmed by the statement that goes by them."""
    recalled: dict[Question, int] = field(default_factory=dict)
    """What the dictionaries are remembered to have answered, with the number of rows: to be confirmed likewise."""
    lasts: bool = False
    """Whether it would always be the same, but for what is confirmed: nothing stored had a say in it."""
    _purpose: str = field(default="", init=False)

    @property
    def confirmed(self) -> int:
        """The number by which the statement tells that all is as remembered."""
        return sum(map(len, self.remembered.values())) + sum(self.recalled.values())

    @property
    def purpose(self) -> str:
        """What a cursor of this request is bound to; made only where there is one."""
        if not self._purpose:
            request = self.request
            types = request.type or " ".join(request.types)
            self._purpose = f"search {types} {bound(request)} {request.holder}"
        return self._purpose

    @property
    def is_empty(self) -> bool:
        """Whether nothing can match, whatever is stored."""
        return any(map(self._finds_nothing, self.parts))

    def _finds_nothing(self, part: Condition) -> bool:
        match part:
            case Refers():
                return not self.keys[part]
            case Keys(keys, codes):
                return not keys and not codes
            case Or(parts):
                return not parts
        return False
