"""A predicate as SQL: as a *test* of one candidate row, and as the *set* of all rids that fulfil it.

A candidate is an alias with a column ``rid`` and, when known, ``date`` (the resource's main date): token rows
are then probed in the order of their index. A test that needs the resource row itself speaks of the alias
``r`` and says so, so that the walk joins it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fhirhub.definitions.tables import Definitions
from fhirhub.search.parameters.near import RADIUS
from fhirhub.search.predicate import (
    And,
    Bound,
    Chain,
    Has,
    Ids,
    Keys,
    Near,
    Not,
    OfType,
    Or,
    Points,
    Present,
    Refers,
    Says,
    Text,
    Updated,
    Words,
)
from fhirhub.search.rows import STRING_LENGTH, VALUE_BITS, VALUE_MASK
from fhirhub.store.absent import left
from fhirhub.store.ranges import SPANS, Condition, Range
from fhirhub.store.statement import Arguments, table
from fhirhub.store.statistics import Statistics
from fhirhub.store.texts import Found

PROBES = 3
"""More alternatives than this are looked for in the resource's own key array instead of the token index."""
LISTED = 5_000.0
"""What is to be left out is listed first, once for a statement, when no more than so many rows are expected of it."""

UNITS = ("unit", "label")
"""The columns of a number that may hold its unit: as coded, and as printed where that differs."""

PROBE = " offset 0"
"""Ends an existence test: without it, Postgres makes a join or a hash of it, which reads all rows of a key."""


def table_of(where: Text | Range) -> str:
    """The index table whose rows decide ``where``."""
    return "string" if isinstance(where, Text) else where.table


@dataclass(slots=True)
class Candidate:
    """An alias that stands for a candidate resource of type number ``rt`` (0: of any of the types searched)."""

    alias: str
    rt: int
    dated: bool
    is_resource: bool = False
    """The alias is a resource row itself: tests that need one need no join."""
    needs_resource: bool = False

    @property
    def rid(self) -> str:
        """The column of the internal key."""
        return f"{self.alias}.rid"

    def resource(self) -> str:
        """The alias of the resource row, which the walk then has to join."""
        if self.is_resource:
            return self.alias
        self.needs_resource = True
        return f"r_{self.alias}"

    def join(self) -> str:
        """The join of the resource row, if a test asked for it."""
        if not self.needs_resource:
            return ""
        return (
            f" cross join lateral (select * from {table('resource', self.rt)} r where r.rid = {self.rid}"
            f" offset 0) as r_{self.alias}"
        )


@dataclass(slots=True)
class Compiler:
    """Compiles the predicates of one statement."""

    definitions: Definitions
    statistics: Statistics
    keys: dict[Condition, tuple[int, ...]]
    """The reference keys of every Refers in the request; none if what it names does not exist."""
    types: tuple[int, ...]
    """Numbers of the types that are searched."""
    arguments: Arguments = field(default_factory=Arguments)
    listing: bool = True
    """Whether tests may make lists of what is to be left out, whichever candidates there are."""
    _aliases: int = 0

    def alias(self) -> str:
        """A fresh table alias."""
        self._aliases += 1
        return f"t{self._aliases}"

    def number(self, type_: str) -> int:
        """The number of a resource type."""
        return self.definitions.type_number[type_]

    @property
    def root(self) -> int:
        """The number of the type that is searched, 0 when there are several."""
        return self.types[0] if len(self.types) == 1 else 0

    def of_type(self, row: str, rt: int) -> str:
        """A test that a resource row is of type ``rt``."""
        return (
            f"{row}.rt = {rt}"
            if rt
            else f"{row}.rt = any ({self.arguments.add(list(self.types), 'smallint[]')})"
        )

    def token_keys(self, where: Condition) -> tuple[int, ...] | None:
        """The keys of a predicate that token rows alone decide, else None."""
        if isinstance(where, Keys):
            return where.keys
        return self.keys[where] if isinstance(where, Refers) else None

    def is_listed(self, where: Condition) -> bool:
        """Whether ``where`` only leaves out what few rows tell, which costs a candidate next to nothing."""
        if not isinstance(where, Not) or not isinstance(where.part, Keys | Refers):
            return False
        return self.statistics.rows(where.part, self.root, self.keys) <= LISTED

    def stands_once(self, where: Condition) -> bool:
        """Whether :meth:`rids` lists no resource twice."""
        match where:
            case Keys() | Refers():
                return len(self.token_keys(where) or ()) <= 1
            case And(parts) if parts:
                return self.stands_once(self.best(parts, self.root))
            case Ids() | Words() | And() | Not() | Present() | Updated() | OfType() | Says() | Near():
                return True
        return False

    # -- tests ------------------------------------------------------------------------------------------------

    def test(self, where: Condition, of: Candidate) -> str:
        """A boolean expression: does the candidate fulfil ``where``?"""
        match where:
            case Keys() | Refers():
                return self._test_keys(self.token_keys(where) or (), of)
            case Text() | Range():
                row = self.alias()
                name = table_of(where)
                return (
                    f"exists (select from {table(name, of.rt)} {row} where {row}.rid = {of.rid}"
                    f" and {self.condition(where, row)}{PROBE})"
                )
            case Present(pid):
                return f"{self.arguments.add(pid, 'smallint')} = any ({of.resource()}.params)"
            case OfType(types):
                numbers = [self.number(each) for each in types]
                return f"{of.resource()}.rt = any ({self.arguments.add(numbers, 'smallint[]')})"
            case Words():
                row = self.alias()
                return (
                    f"exists (select from {table('words', of.rt)} {row} where {row}.rid = {of.rid}"
                    f" and {self.words(where, row)}{PROBE})"
                )
            case Near():
                return f"{self.distance(where, of)} <= {self.arguments.add(where.reach, 'double precision')}"
            case Says(paths, texts):
                return self._test_says(paths, texts, of)
            case Ids(ids):
                return f"{of.resource()}.id = any ({self.arguments.add(list(ids), 'text[]')})"
            case Updated(bounds):
                return self.bounds(bounds, {"lo": f"{of.resource()}.updated"}, "bigint")
            case And(parts):
                return self._test_all(parts, of)
            case Or(parts):
                return "(" + " or ".join(self.test(part, of) for part in parts) + ")" if parts else "false"
            case Not(Not(part)):
                return self._test_only(part, of)
            case Not(Keys() | Refers() as part) if self.listing and self.is_listed(where):
                return self._test_left_out(self.token_keys(part) or (), of)
            case Not(part):
                return f"not ({self.test(part, of)})"
            case Chain() | Has() | Points():
                return self._test_beyond(where, of)
        raise TypeError(where)

    def _test_all(self, parts: tuple[Condition, ...], of: Candidate) -> str:
        """All of ``parts``; those that are only to be tested (:mod:`fhirhub.search.narrowing`) where the others hold."""
        last = [part for part in parts if isinstance(part, Not) and isinstance(part.part, Not)]
        first = [part for part in parts if part not in last]
        tests = [" and ".join(self.test(part, of) for part in some) for some in (first, last) if some]
        if len(tests) < 2:
            return tests[0] if tests else "true"
        # Postgres would test in the order of what it takes for the cost, and come to what the others keep hidden.
        return f"case when {tests[0]} then {tests[1]} else false end"

    def _test_only(self, part: Condition, of: Candidate) -> str:
        """``part`` without a look at anything but the candidate."""
        listing, self.listing = self.listing, False
        found = self.test(part, of)
        self.listing = listing
        return f"({found})"

    def _test_keys(self, keys: tuple[int, ...], of: Candidate) -> str:
        if not keys:
            return "false"
        if not of.dated or len(keys) > PROBES:
            return f"{of.resource()}.keys && {self.arguments.bigs(list(keys))}"
        row = self.alias()
        found = [
            f"exists (select from {table('token', of.rt)} {row} where {row}.key = {self.arguments.big(key)}"
            f" and {row}.date = {of.alias}.date and {row}.rid = {of.rid}{PROBE})"
            for key in keys
        ]
        return found[0] if len(found) == 1 else "(" + " or ".join(found) + ")"

    def _test_left_out(self, keys: tuple[int, ...], of: Candidate) -> str:
        if not keys:
            return "true"
        if of.dated and len(keys) <= PROBES:
            return f"not ({self._test_keys(keys, of)})"
        row = self.alias()
        # An array made once, then hashed: Postgres expects few of it, whatever it thinks of the keys.
        return (
            f"{of.rid} not in (select unnest(array(select {row}.rid from {table('token', of.rt)} {row}"
            f" where {row}.key = any ({self.arguments.bigs(list(keys))}))))"
        )

    def _test_says(self, paths: tuple[tuple[str, str], ...], texts: tuple[str, ...], of: Candidate) -> str:
        row, add = of.resource(), self.arguments.add
        wanted = add(list(texts), "text[]")
        found = (
            f"exists (select from jsonb_path_query({row}.{column}, {add(path, 'text')}::jsonpath) as j"
            f" where j #>> '{{}}' = any ({wanted}))"
            for column, path in paths
        )
        return f"({' or '.join(found)})"

    def distance(self, where: Near, of: Candidate) -> str:
        """Metres over the sphere, by the formula of :func:`fhirhub.search.parameters.near.metres`."""
        add, row = self.arguments.add, of.resource()
        latitude, longitude = (add(value, "double precision") for value in (where.latitude, where.longitude))
        north = f"radians(({row}.content->'position'->>'latitude')::double precision)"
        east = f"radians(({row}.content->'position'->>'longitude')::double precision)"
        return (
            f"2 * {RADIUS} * asin(least(1, sqrt(sin(({north} - radians({latitude})) / 2) ^ 2 + cos(radians({latitude}))"
            f" * cos({north}) * sin(({east} - radians({longitude})) / 2) ^ 2)))"
        )

    def _test_beyond(self, where: Chain | Has | Points, of: Candidate) -> str:
        match where:
            case Chain():
                return self._test_chain(where, of)
            case Has():
                return self._test_has(where, of)
        return self._test_points(where, of)

    def _test_chain(self, where: Chain, of: Candidate) -> str:
        target = Candidate(self.alias(), self.number(where.type), dated=False)
        first, last = where.pid << VALUE_BITS, (where.pid + 1) << VALUE_BITS
        inner = self.test(where.part, target)
        # The key does not tell the type of its target: the row must be one of the wanted type.
        row = target.resource()
        return (
            f"exists (select from (select k & {VALUE_MASK} as rid from unnest({of.resource()}.keys) as k"
            f" where k >= {first} and k < {last}) as {target.alias}{target.join()}"
            f" where {row}.rt = {target.rt} and not {row}.deleted and {inner}{PROBE})"
        )

    def _test_has(self, where: Has, of: Candidate) -> str:
        source = Candidate(self.alias(), self.number(where.type), dated=True)
        inner = self.test(where.part, source)
        return (
            f"exists (select from {table('token', source.rt)} {source.alias}{source.join()}"
            f" where {source.alias}.key = {self.arguments.big(where.pid << VALUE_BITS)} | {of.rid} and {inner}{PROBE})"
        )

    def _test_points(self, where: Points, of: Candidate) -> str:
        target = Candidate(self.alias(), 0, dated=False, is_resource=True)
        keys, row = self.alias(), target.alias
        first, last = where.pid << VALUE_BITS, (where.pid + 1) << VALUE_BITS
        fulfils = f"(not {row}.deleted and ({self.test(where.part, target)})) is true"
        verdict = "bool_or(own)"
        if where.besides is not None:
            numbers = [self.number(each) for each in where.besides]
            verdict += f" and bool_and(own or rt = any ({self.arguments.add(numbers, 'smallint[]')}))"
        return (
            f"(select coalesce({verdict}, false) from (select {row}.rt, {fulfils} as own"
            f" from (select k & {VALUE_MASK} as rid from unnest({of.resource()}.keys) as k"
            f" where k >= {first} and k < {last} offset 0) as {keys} cross join lateral"
            f" (select * from resource r where r.rid = {keys}.rid offset 0) as {row}) as p)"
        )

    # -- conditions on rows of the ordered indexes ---------------------------------------------------------------

    def condition(self, where: Text | Range, row: str) -> str:
        """What a row (alias ``row``) of the predicate's own table must fulfil, its key included."""
        if isinstance(where, Text):
            return f"{row}.key = {self.arguments.big(where.key)} and {self.text(where, row)}"
        return f"{row}.key = any ({self.arguments.bigs(where.keys)}) and {self.range(where, row)}"

    def range(self, where: Range, row: str, column: str = "") -> str:
        """The bounds and the unit of a date or number row; ``column`` is the only one that may hold the unit."""
        if where.others:
            return (
                "("
                + " or ".join(self.range(each, row) for each in (replace(where, others=()), *where.others))
                + ")"
            )
        columns = {"lo": f"{row}.lo", "hi": f"{row}.hi"}
        found = [self.bounds(bounds, columns, where.cast) for bounds in where.alternatives]
        bounds = found[0] if len(found) == 1 else "(" + " or ".join(found) + ")"
        if where.unit is None:
            return bounds
        unit = self.arguments.add(where.unit, "integer")
        if column:
            # The index of what is printed has only what is not coded like that.
            return (
                f"{bounds} and {row}.{column} = {unit}{f' and {row}.label <> 0' if column == 'label' else ''}"
            )
        return f"{bounds} and ({row}.unit = {unit} or {row}.label = {unit})"

    def text(self, where: Text, row: str) -> str:
        """The comparison of a string row."""
        text = where.text[:STRING_LENGTH]
        if where.match == "equals":
            return f"{row}.text = {self.arguments.add(text, 'text')}"
        if where.match == "suffix":
            end = self.arguments.add(text, "text")
            return f"right({row}.text, length({end})) = {end}"
        if where.match == "contains":
            return f"position({self.arguments.add(text, 'text')} in {row}.text) > 0"
        low = self.arguments.add(text, "text")
        # Texts are compared by code point; nothing that starts with the prefix comes after prefix + U+10FFFF.
        high = self.arguments.add(text + "\U0010ffff", "text")
        return f"{row}.text >= {low} and {row}.text <= {high}"

    def words(self, where: Words, row: str) -> str:
        """The test of a row of words: a word that starts like that."""
        quoted = where.word.replace("\\", "\\\\").replace("'", "''")
        query = self.arguments.add(f"'{quoted}':*", "text") + "::tsquery"
        narrative = f"{row}.narrative @@ {query}"
        return narrative if where.narrative_only else f"({narrative} or {row}.content @@ {query})"

    def bounds(self, bounds: tuple[Bound, ...], columns: dict[str, str], cast: str) -> str:
        """All of ``bounds`` on the given columns."""
        if not bounds:
            return "true"
        return " and ".join(
            f"{columns[column]} {operator} {self.arguments.add(value, cast)}"
            for column, operator, value in bounds
        )

    # -- sets -------------------------------------------------------------------------------------------------

    def rids(self, where: Condition, rt: int) -> str:
        """A select of ``rid`` (repeats possible) of all resources of ``rt`` that fulfil ``where``."""
        row = self.alias()
        match where:
            case Keys() | Refers():
                keys = self.arguments.bigs(list(self.token_keys(where) or ()))
                return f"select {row}.rid from {table('token', rt)} {row} where {row}.key = any ({keys})"
            case Found():
                key, among = self.arguments.big(where.key), self.arguments.add(list(where.among), "text[]")
                rows = f"{table('string', rt)} {row} where {row}.key = {key}"
                return f"select {row}.rid from {rows} and {row}.text = any ({among})"
            case Range():
                return self._measured(where, rt)
            case Text():
                return f"select {row}.rid from {table('string', rt)} {row} where {self.condition(where, row)}"
            case Words():
                return (
                    f"select {row}.rid from {table('words', rt)} {row} where {self.of_type(row, rt)}"
                    f" and {self.words(where, row)}"
                )
            case Ids(ids):
                wanted = self.arguments.add(list(ids), "text[]")
                return (
                    f"select {row}.rid from {table('resource', rt)} {row} where {self.of_type(row, rt)}"
                    f" and {row}.id = any ({wanted}) and not {row}.deleted"
                )
            case Or(parts) if parts:
                return " union all ".join(f"({self.rids(p, rt)})" for p in parts)
            case And(parts) if parts:
                return self._intersection(parts, rt)
            case Chain(pid, type_, inner):
                target = self.alias()
                return (
                    f"select {row}.rid from (select distinct rid from ({self.rids(inner, self.number(type_))})"
                    f" as x) as {target} cross join lateral (select t.rid from {table('token', rt)} t"
                    f" where t.key = {self.arguments.big(pid << VALUE_BITS)} | {target}.rid offset 0) as {row}"
                )
            case Has(type_, pid, inner):
                source = self.number(type_)
                first, last = pid << VALUE_BITS, (pid + 1) << VALUE_BITS
                target = self.alias()
                # The reference may lead to other types, too, and to what is gone.
                return (
                    f"select {target}.rid from (select distinct k & {VALUE_MASK} as rid"
                    f" from ({self.rids(inner, source)}) as {row}"
                    f" cross join lateral (select r.keys from {table('resource', source)} r"
                    f" where r.rid = {row}.rid offset 0) as r cross join unnest(r.keys) as k"
                    f" where k >= {first} and k < {last}) as {row} cross join lateral (select r.rid"
                    f" from {table('resource', rt)} r where r.rid = {row}.rid and {self.of_type('r', rt)}"
                    f" and not r.deleted"
                    f" offset 0) as {target}"
                )
            case Points():
                return self._pointing(where, rt)
        if rt and not self.is_listed(where) and (absent := self.statistics.absent_keys(where, rt, self.keys)):
            passed = left(absent, rt, (), False, self.arguments)
            return f"select {row}.rid from ({passed}) as {row}"
        return self._filtered(where, rt)

    def _pointing(self, where: Points, rt: int) -> str:
        row, target = self.alias(), self.alias()
        source = Candidate(row, rt, dated=False)
        test = self._test_points(where, source)
        return (
            f"select {row}.rid from (select distinct rid from ({self._anywhere(where.part)}) as x) as {target}"
            f" cross join lateral (select t.rid from {table('token', rt)} t"
            f" where t.key = {self.arguments.big(where.pid << VALUE_BITS)} | {target}.rid offset 0) as {row}"
            f"{source.join()} where {test}"
        )

    def _measured(self, where: Range, rt: int) -> str:
        """The rows of dates and numbers, as the index has them: by class, then by unit."""
        found, add, spans = [], self.arguments.add, SPANS[where.table]
        for n, span in enumerate(spans):
            keys = self.arguments.bigs(where.keys[n :: len(spans)])
            for each in (replace(where, others=()), *where.others):
                for column in ("",) if each.unit is None else UNITS:
                    row = self.alias()
                    wanted = [f"{row}.key = any ({keys})", self.range(each, row, column)]
                    for bound, sign in zip(each.implied(span), (">=", "<="), strict=True):
                        if bound is not None:
                            wanted.append(f"{row}.lo {sign} {add(bound, each.cast)}")
                    found.append(
                        f"select {row}.rid from {table(where.table, rt)} {row} where {' and '.join(wanted)}"
                    )
        return " union all ".join(f"({each})" for each in found)

    def _anywhere(self, where: Condition) -> str:
        """A select of ``rid`` of all resources that fulfil ``where``, of whatever type."""
        match where:
            case Or(parts) if parts:
                return " union all ".join(f"({self._anywhere(part)})" for part in parts)
            case And((OfType((type_,)), part)):
                return self.rids(part, self.number(type_))
        return self.rids(where, 0)

    def _intersection(self, parts: tuple[Condition, ...], rt: int) -> str:
        best = self.best(parts, rt)
        others = [part for part in parts if part is not best]
        if not others:
            return self.rids(best, rt)
        candidate = Candidate(self.alias(), rt, dated=False)
        source = self.rids(best, rt)
        tests = " and ".join(self.test(part, candidate) for part in others)
        return f"select {candidate.rid} from ({source}) as {candidate.alias}{candidate.join()} where {tests}"

    def best(self, parts: tuple[Condition, ...], rt: int) -> Condition:
        """The part to begin with."""
        return min(parts, key=lambda part: self.statistics.beginning(part, rt, self.keys))

    def _filtered(self, where: Condition, rt: int) -> str:
        """What no index answers: all resources of the type, each tested."""
        candidate = Candidate(self.alias(), rt, dated=not self.is_listed(where), is_resource=True)
        test = self.test(where, candidate)
        return (
            f"select {candidate.rid} from {table('resource', rt)} {candidate.alias}{candidate.join()}"
            f" where {self.of_type(candidate.alias, rt)} and not {candidate.alias}.deleted and {test}"
        )
