"""What a search will cost, told before it runs: the index entries that a page or a total has to look at.

Pure arithmetic over the planner's statistics, some microseconds a search. Entries are the unit because they are what
a server has to spend: about a million of them are a second of one core. What passes the ceiling is refused with the
part that costs most and what would make it cheaper; what the estimate misses, the statement timeout ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.search.predicate import (
    And,
    Chain,
    Has,
    Ids,
    Keys,
    Not,
    Or,
    Points,
    Present,
    Refers,
    Text,
    Updated,
    Words,
)
from fhirhub.search.request import SearchRequest
from fhirhub.store.absent import keys_of, passing
from fhirhub.store.described import described
from fhirhub.store.plan import Plan, beside
from fhirhub.store.predicates import PROBES, Compiler
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.texts import Found

CEILING = 5_000_000.0
"""Entries that one search may look at unless the settings say otherwise."""
DOCUMENT = 4.0
"""Looking into a document costs as much as so many index entries."""
INDEX_ONLY = 0.05
"""So does an entry that is counted where it stands, in the order of the index."""


@dataclass(frozen=True, slots=True)
class Guard:
    """How much one search may cost; 0 is without limit."""

    ceiling: float = CEILING
    """Index entries, as estimated."""
    timeout: float = 0.0
    """Seconds one statement may take."""


UNGUARDED = Guard(0, 0)
"""For the commands of an administrator, and the server's own work."""


Told = Callable[[], str]
"""Says it when asked: few searches are so costly that anybody wants to know."""


@dataclass(slots=True)
class Cost:
    """An estimate: ``entries`` in all, and ``shares``: what they go to, in words, with what would help."""

    entries: float = 0.0
    shares: list[tuple[float, Told, Told]] = field(default_factory=list)

    def add(self, entries: float, what: Told, help: Told) -> None:
        """Another share."""
        self.entries += entries
        self.shares.append((entries, what, help))

    @property
    def worst(self) -> tuple[float, str, str]:
        """The largest share."""
        if not self.shares:
            return 0.0, "", ""
        entries, what, help = max(self.shares, key=lambda share: share[0])
        return entries, what(), help()

    def check(self, guard: Guard, expression: str) -> None:
        """Raise BadRequest (``too-costly``) when this is above the ceiling of ``guard``."""
        if not guard.ceiling or self.entries <= guard.ceiling:
            return
        entries, what, help = self.worst
        text = (
            f"This search is too costly: {what} comes to about {_short(entries)} index entries"
            f" (a search may look at {_short(guard.ceiling)}); {help}."
        )
        raise BadRequest(Issue("too-costly", text, expression=expression))


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates the statements of one search; ``compiler`` is only asked for what it knows."""

    definitions: Definitions
    compiler: Compiler

    def page(
        self, request: SearchRequest, parts: Sequence[Condition], plan: Plan, ranks: Sequence[tuple[int, str]]
    ) -> Cost:
        """A first page; ``ranks`` are the keys that a ranked plan walks."""
        cost, rt = Cost(), self.compiler.root
        driver = parts[plan.driver] if plan.driver >= 0 else None
        others = [part for n, part in enumerate(parts) if n != plan.driver]
        name, narrower = partial(self._name, driver, request), partial(self._narrower, driver, request)
        if plan.kind == "sort":
            found = self._rows(driver, rt)
            gathered = self.listing(driver, rt) if driver is not None else found
            cost.add(gathered + found, lambda: f"gathering {name()}", narrower)
            for sort in request.sort:
                weight = DOCUMENT if sort.paths else 1.0
                sorting = partial(_sorting, name, sort.code)
                cost.add(found * weight, sorting, partial(_sorted_otherwise, sort.code))
        elif plan.kind == "absent":
            passed = self._walked(request, None, parts) * self._passing(driver)
            cost.add(passed, lambda: f"passing by all {request.type} resources", narrower)
            found = self._walked(request, driver, others)
        elif plan.kind == "ranked":
            found = self.ranked(request, others, ranks)
            cost.add(found, lambda: f"walking {name()} by {request.sort[0].code}", narrower)
        else:
            found = self._walked(request, driver, others)
            apart = beside(driver, self.compiler) if driver is not None and plan.kind == "merged" else ()
            listed = sum(self.listing(each, rt) for each in apart)
            cost.add(found + listed, lambda: f"walking {name()}", narrower)
        for part in others:
            testing = partial(self._testing, part, name)
            cost.add(found * self.probing(part, rt), testing, partial(self._narrower, part, request))
        return cost

    def following(self, where: Condition) -> Cost:
        """Reading the documents of all that fulfil ``where``, for the canonical urls in them."""
        cost, rt = Cost(), self.compiler.root
        entries = self.listing(where, rt) + DOCUMENT * self._rows(where, rt)
        what = f"following the canonical urls of what fulfils '{self._words(where)}'"
        cost.add(entries, lambda: what, lambda: "add a criterion there that few fulfil")
        return cost

    def total(self, where: Condition, parts: Sequence[Condition]) -> float:
        """Entries that an exact total looks at."""
        rt = self.compiler.root
        deciding = [part for part in parts if not self.compiler.is_listed(part)]
        if not deciding:
            return self.compiler.statistics.size(rt) * INDEX_ONLY
        if len(deciding) > 1:
            return self.listing(where, rt)
        keys = self.compiler.token_keys(deciding[0])
        return self.listing(deciding[0], rt) * (INDEX_ONLY if keys is not None and len(keys) == 1 else 1.0)

    def _rows(self, where: Condition | None, rt: int) -> float:
        """Resources that fulfil ``where``."""
        statistics = self.compiler.statistics
        return statistics.size(rt) if where is None else statistics.rows(where, rt, self.compiler.keys)

    def _passing(self, where: Condition | None) -> float:
        """What passing one resource by costs that may lack what ``where`` says."""
        return passing(0 if where is None else len(keys_of(where, self.compiler.keys)))

    def _least(self, where: Condition) -> float:
        """Resources of the type that fulfil ``where`` for sure."""
        return self.compiler.statistics.least(where, self.compiler.root, self.compiler.keys)

    def _walked(self, request: SearchRequest, driver: Condition | None, others: Sequence[Condition]) -> float:
        """Entries that a walk passes until its page is full, if conditions have nothing to do with each other."""
        size, share = self._rows(None, self.compiler.root), 1.0
        for part in others:
            share *= min(self._least(part) / size, 1.0)
        return min((request.count + 1) / share, self._rows(driver, self.compiler.root))

    def ranked(
        self, request: SearchRequest, others: Sequence[Condition], ranks: Sequence[tuple[int, str]]
    ) -> float:
        """Entries that a walk passes through the rows of each key, and in the end through what has none of them."""
        each = self._walked(request, None, others)
        rows = [self.compiler.statistics.key(key) for key, _ in ranks]
        walked = sum(min(each, found) for found in rows) + len(ranks)
        full = sum(rows) >= each
        return walked if full else walked + self._rows(None, self.compiler.root) * passing(len(ranks))

    def listing(self, where: Condition, rt: int) -> float:
        """Entries looked at to list all resources of ``rt`` that fulfil ``where``: the other side of ``rids``."""
        size = self.compiler.statistics.size(rt)
        match where:
            case Found():
                return float(where.rows)
            case Text(_, "contains" | "suffix"):
                return size
            case Keys() | Refers() | Text() | Range() | Words() | Ids():
                return self._rows(where, rt)
            case Or(parts):
                return sum(self.listing(part, rt) for part in parts)
            case And(parts) if parts:
                best = self.compiler.best(parts, rt)
                others = sum(self.probing(part, rt) for part in parts if part is not best)
                return self.listing(best, rt) + self._rows(best, rt) * others
            case Chain(_, type_, inner):
                target = self.compiler.number(type_)
                return self.listing(inner, target) + self._rows(inner, target) + self._rows(where, rt)
            case Has(type_, _, inner):
                source = self.compiler.number(type_)
                return self.listing(inner, source) + 2 * self._rows(inner, source)
            case Points(_, inner):
                found = self._rows(where, rt)
                return self.listing(inner, 0) + self._rows(inner, 0) + found * self.probing(where, rt)
        if self.compiler.statistics.is_absent(where, rt, self.compiler.keys):
            return size * self._passing(where)
        return size * (1 + self.probing(where, rt))

    def probing(self, where: Condition, rt: int) -> float:
        """Entries looked at to test one candidate of ``rt``."""
        match where:
            case Keys() | Refers():
                return float(min(len(self.compiler.token_keys(where) or ()), PROBES))
            case And(parts) | Or(parts):
                return sum(self.probing(part, rt) for part in parts)
            case Not(inner):
                return INDEX_ONLY if self.compiler.is_listed(where) else self.probing(inner, rt)
            case Chain(_, type_, inner):
                return 1 + self.probing(inner, self.compiler.number(type_))
            case Has(type_, _, inner):
                source = self.compiler.number(type_)
                each = self.compiler.statistics.fan(source, rt)
                return 1 + each * self.probing(inner, source)
            case Points(_, inner):
                return 1 + self.probing(inner, 0)
        return 1.0

    # -- words -----------------------------------------------------------------------------------------------

    def _words(self, part: Condition) -> str:
        return described(self.definitions, part)

    def _testing(self, part: Condition, name: Told) -> str:
        return f"testing '{self._words(part)}' for each of {name()}"

    def _name(self, driver: Condition | None, request: SearchRequest) -> str:
        if driver is None:
            return f"all {request.type} resources" if request.type else "all resources of these types"
        return f"what fulfils '{self._words(driver)}'"

    def _narrower(self, part: Condition | None, request: SearchRequest) -> str:
        """What to add."""
        code = self.definitions.sort_date.get(request.type)
        date = f" or a {code}" if code else ""
        match part:
            case Chain() | Has():
                return f"make what the chain ends in more selective, or add a patient, a code{date}"
            case Text(_, "contains" | "suffix"):
                return "leave the modifier out: a search for how the text begins has an index"
            case Not() | Present() | Updated() | None:
                return f"add a criterion that few fulfil (a patient, a code{date})"
        return f"add a criterion that fewer fulfil (a patient, a code{date})"


def _sorting(name: Told, code: str) -> str:
    return f"sorting {name()} by {code}"


def _sorted_otherwise(code: str) -> str:
    return f"leave _sort={code} out, sort by the main date, or add a criterion that few fulfil"


def _short(number: float) -> str:
    if number >= 999_500:
        return f"{number / 1_000_000:,.1f} M"
    return f"{number / 1_000:,.0f} k" if number >= 10_000 else f"{number:,.0f}"
