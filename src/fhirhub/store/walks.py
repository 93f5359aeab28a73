"""The candidates of one page as SQL: ``rid`` and order columns, in order, no more than asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fhirhub.search.predicate import Keys, Refers, Text
from fhirhub.search.request import SCORE, SearchRequest, Sort
from fhirhub.search.rows import MAX_DATE, MIN_DATE, STRING_LENGTH, VALUE_BITS
from fhirhub.store.absent import left, marked
from fhirhub.store.plan import Plan, alternatives, parts_of, walked
from fhirhub.store.predicates import PROBE, UNITS, Candidate, Compiler, table_of
from fhirhub.store.ranges import SPANS, Bounds, Condition, Range
from fhirhub.store.score import scored
from fhirhub.store.statement import document_values, table

FEW = 4
"""More keys than this are walked by one loop, not each by a leg of its own."""
CASTS = {"string": "text", "uri": "text", "date": "bigint", "number": "double precision",
         "quantity": "double precision", "score": "double precision", "token": "text", "reference": "text"}  # fmt: skip


@dataclass(slots=True)
class Position:
    """Where a page begins: the order columns and rid of the row it comes after (or, backwards, before)."""

    values: list[int | float | str | None]
    rid: int
    backward: bool = False


@dataclass(slots=True)
class Walker:
    """Writes the candidates of one page of ``request`` under ``plan``."""

    compiler: Compiler
    request: SearchRequest
    parts: Sequence[Condition]
    plan: Plan
    sort_date: int | None
    position: Position | None
    limit: int

    @property
    def rt(self) -> int:
        """The number of the resource type, 0 for several."""
        return self.compiler.root

    @property
    def down(self) -> bool:
        """Whether this page is read in descending order."""
        return self.plan.descending != (self.position is not None and self.position.backward)

    def sql(self) -> tuple[str, int]:
        """The select and the number of its order columns ``k0`` …."""
        if self.plan.kind == "sort":
            return self._sorted()
        legs = {
            "token": self._token_legs,
            "range": self._range_legs,
            "merged": self._merged_legs,
            "absent": self._absent_legs,
            "resource": self._resource_legs,
            "updated": self._resource_legs,
        }[self.plan.kind]()
        order = self._order(["k0", "rid"])
        limit = self.compiler.arguments.add(self.limit, "bigint")
        if len(legs) == 1:
            return f"{legs[0]} limit {limit}", 1
        union = " union all ".join(f"({leg} limit {limit})" for leg in legs)
        # The same resource may stand under several of the alternatives.
        return f"select distinct k0, rid from ({union}) as u order by {order} limit {limit}", 1

    def _order(self, columns: Sequence[str]) -> str:
        direction = " desc" if self.down else ""
        return ", ".join(column + direction for column in columns)

    def _others(self) -> list[Condition]:
        return [part for n, part in enumerate(self.parts) if n != self.plan.driver]

    def _after(self, columns: Sequence[str], cast: str) -> str:
        """The keyset condition on (k0, rid) columns."""
        if self.position is None:
            return "true"
        add = self.compiler.arguments.add
        values = [add(self.position.values[0], cast), add(self.position.rid, "bigint")]
        return f"({', '.join(columns)}) {'<' if self.down else '>'} ({', '.join(values)})"

    def _tests(self, candidate: Candidate) -> list[str]:
        return [self.compiler.test(part, candidate) for part in self._others()]

    # -- by main date -------------------------------------------------------------------------------------------

    def _date_parts(self, date: str, rid: str) -> list[tuple[str, list[str]]]:
        """(order expression, conditions) of each leg of a walk by main date: what has none comes last."""
        if self.plan.descending:
            return [(date, [self._after((date, rid), "bigint")])]
        at_end = self.position is not None and self.position.values[0] == MAX_DATE
        backward = self.position is not None and self.position.backward
        dated = [f"{date} > {MIN_DATE}"]
        undated = [f"{date} = {MIN_DATE}"]
        if self.position is not None:
            if at_end:
                undated.append(
                    f"{rid} {'<' if self.down else '>'} {self.compiler.arguments.big(self.position.rid)}"
                )
            else:
                dated.append(self._after((date, rid), "bigint"))
        legs = [(date, dated), (f"{MAX_DATE}::bigint", undated)]
        if at_end and not backward:
            return legs[1:]
        return legs[:1] if backward and not at_end else legs

    def _token_legs(self) -> list[str]:
        driver = self.parts[self.plan.driver]
        keys = list(self.compiler.token_keys(driver) or ())
        candidate = Candidate("c", self.rt, dated=True)
        if len(keys) > FEW:
            return self._many_token_legs(keys)
        legs = []
        for key in keys or [0]:
            for k0, conditions in self._date_parts("c.date", "c.rid"):
                tests = self._tests(candidate)
                wanted = [
                    f"c.key = {self.compiler.arguments.big(key)}",
                    *conditions,
                    *self._main_bounds("c"),
                    *tests,
                ]
                legs.append(
                    f"select {k0} as k0, c.rid from {table('token', self.rt)} c{candidate.join()}"
                    f" where {' and '.join(wanted)} order by {self._order(['c.date', 'c.rid'])}"
                )
        return legs

    def _many_token_legs(self, keys: list[int]) -> list[str]:
        """The walks of many keys in one statement of constant length."""
        legs = []
        for k0, conditions in self._date_parts("c.date", "c.rid"):
            candidate = Candidate("c", self.rt, dated=True)
            wanted = ["c.key = k.key", *conditions, *self._main_bounds("c"), *self._tests(candidate)]
            limit = self.compiler.arguments.add(self.limit, "bigint")
            legs.append(
                f"select distinct n.k0, n.rid from unnest({self.compiler.arguments.bigs(keys)}) as k (key)"
                f" cross join lateral (select {k0} as k0, c.rid from {table('token', self.rt)} c{candidate.join()}"
                f" where {' and '.join(wanted)} order by {self._order(['c.date', 'c.rid'])} limit {limit}) as n"
                f" order by {self._order(['n.k0', 'n.rid'])}"
            )
        return legs

    def _resource_legs(self) -> list[str]:
        candidate = Candidate("c", self.rt, dated=True, is_resource=True)
        by_date = self.plan.kind == "resource"
        if by_date:
            parts = self._date_parts("c.date", "c.rid")
        else:
            parts = [("c.updated", [self._after(("c.updated", "c.rid"), "bigint")])]
        column = "c.date" if by_date else "c.updated"
        legs = []
        for k0, conditions in parts:
            tests = self._tests(candidate)
            of_type = f"c.rt = {self.rt}" if self.rt else "c.rt = k.rt"
            wanted = [of_type, "not c.deleted", *conditions, *tests]
            if by_date:
                wanted += self._main_bounds("c")
            leg = (
                f"select {k0} as k0, c.rid from {table('resource', self.rt)} c{candidate.join()}"
                f" where {' and '.join(wanted)} order by {self._order([column, 'c.rid'])}"
            )
            legs.append(leg if self.rt else self._of_each_type(leg))
        return legs

    def _of_each_type(self, leg: str) -> str:
        """``leg`` walked for each of the types ``k.rt``: the index orders only those of one type."""
        add = self.compiler.arguments.add
        return (
            f"select n.k0, n.rid from unnest({add(list(self.compiler.types), 'smallint[]')}) as k (rt)"
            f" cross join lateral ({leg} limit {add(self.limit, 'bigint')}) as n"
            f" order by {self._order(['n.k0', 'n.rid'])}"
        )

    def _merged_legs(self) -> list[str]:
        """The walk of each alternative that has keys; what fulfils one of the others is gathered."""
        others, legs = self._others(), []
        for each in alternatives(self.parts[self.plan.driver]):
            parts = parts_of(each)
            driver = walked(parts, self.compiler)
            walker = replace(
                self, parts=(*parts, *others), plan=replace(self.plan, kind="token", driver=driver)
            )
            legs += walker._token_legs() if driver >= 0 else self._gathered_legs(each)
        return legs or ["select 0::bigint as k0, 0::bigint as rid where false"]

    def _absent_legs(self) -> list[str]:
        """What is left when the rows that must not be there pass by, in the same order."""
        driver = self.parts[self.plan.driver]
        keys, legs = self.compiler.statistics.absent_keys(driver, self.rt, self.compiler.keys), []
        for k0, conditions in self._date_parts("c.date", "c.rid"):
            candidate, resource = (Candidate("c", self.rt, True, is_resource=each) for each in (False, True))
            within = [*conditions, *self._main_bounds("c")]
            if keys:
                found = left(keys, self.rt, within, self.down, self.compiler.arguments)
            else:
                found = marked(self.compiler.test(driver, resource), self.rt, within, self.down)
            tests = self._tests(candidate)
            legs.append(
                f"select {k0} as k0, c.rid from ({found}) as c{candidate.join()}"
                f"{' where ' if tests else ''}{' and '.join(tests)} order by {self._order(['c.date', 'c.rid'])}"
            )
        return legs

    def _gathered_legs(self, alternative: Condition) -> list[str]:
        legs = []
        for k0, conditions in self._date_parts("c.date", "c.rid"):
            candidate = Candidate("c", self.rt, dated=True, is_resource=True)
            wanted = ["not c.deleted", *conditions, *self._main_bounds("c"), *self._tests(candidate)]
            legs.append(
                f"select {k0} as k0, c.rid from (select distinct rid from"
                f" ({self.compiler.rids(alternative, self.rt)}) as x) as s cross join lateral"
                f" (select * from {table('resource', self.rt)} r where r.rid = s.rid offset 0) as c{candidate.join()}"
                f" where {' and '.join(wanted)} order by {self._order(['c.date', 'c.rid'])}"
            )
        return legs

    def _main_bounds(self, alias: str) -> list[str]:
        """What the conditions on the main date say about the date column: they shorten the walk, no more."""
        if self.sort_date is None:
            return []
        bounds: list[str] = []
        for part in self.parts:
            if isinstance(part, Range) and part.key == self.sort_date << VALUE_BITS:
                _, highest = part.implied(0)
                if highest is not None:
                    bounds.append(f"{alias}.date <= {self.compiler.arguments.big(int(highest))}")
                starts = [_start(each) for each in part.alternatives]
                known = [start for start in starts if start is not None]
                if known and len(known) == len(starts):
                    earliest = ", ".join(self._earliest(part.key, *start) for start in known)
                    bounds.append(f"{alias}.date >= least({earliest})")
        return bounds

    def _earliest(self, key: int, column: str, moment: int) -> str:
        """The earliest start of what starts (``lo``) or ends (``hi``) at ``moment`` or later.

        Where it ends then, that depends on the longest class of span that any resource has.
        """
        arguments = self.compiler.arguments
        if column == "lo":
            return arguments.big(moment)
        dates = table("date", self.rt)
        day, month, year, _ = SPANS["date"]
        spans = [(3, MIN_DATE), (2, moment - int(year)), (1, moment - int(month))]
        cases = " ".join(
            f"when exists (select from {dates} s where s.key = {arguments.big(key | n)})"
            f" then {arguments.big(max(start, MIN_DATE))}"
            for n, start in spans
        )
        return f"(select case {cases} else {arguments.big(max(moment - int(day), MIN_DATE))} end)"

    # -- by the value of the driver ------------------------------------------------------------------------------

    def _range_legs(self) -> list[str]:
        driver = self.parts[self.plan.driver]
        assert isinstance(driver, Text | Range)
        rows = table(table_of(driver), self.rt)
        if isinstance(driver, Text):
            condition = [
                f"c.key = {self.compiler.arguments.big(driver.key)}",
                self.compiler.text(driver, "c"),
            ]
            begin, end = self._range_leg(driver, rows, "text", "text")
            return [f"{begin}{' and '.join(condition)}{end}"]
        begin, end = self._range_leg(driver, rows, "lo", driver.cast)
        legs = []
        for key, span in zip(driver.keys, driver.spans, strict=True):
            for each in (replace(driver, others=()), *driver.others):
                if each.unit is None and each.table == "number":
                    wanted = [*self._class_conditions(each, key, span), "c.unit = k.unit"]
                    legs.append(self._all_units_leg(f"{begin}{' and '.join(wanted)}{end}", rows, key))
                    continue
                # One walk for each unit, coded or printed: the index has the values of each in their order.
                for column in ("",) if each.unit is None else UNITS:
                    wanted = self._class_conditions(each, key, span, column)
                    legs.append(f"{begin}{' and '.join(wanted)}{end}")
        return legs

    def _range_leg(self, driver: Text | Range, rows: str, column: str, cast: str) -> tuple[str, str]:
        """How every leg begins and ends; between stands what rows of one key and unit fulfil."""
        candidate = Candidate("c", self.rt, dated=False)
        after = self._after((f"c.{column}", "c.rid"), cast)
        wanted = [after, self._first_only(driver, rows), *self._tests(candidate)]
        return (
            f"select c.{column} as k0, c.rid from {rows} c{candidate.join()} where ",
            f" and {' and '.join(wanted)} order by {self._order([f'c.{column}', 'c.rid'])}",
        )

    def _all_units_leg(self, leg: str, rows: str, key: int) -> str:
        """``leg`` for each of the units that there are, ``k.unit``, which the index tells one by one."""
        limit, own = self.compiler.arguments.add(self.limit, "bigint"), self.compiler.arguments.big(key)
        next = f"select c.unit from {rows} c where c.key = {own}{{}} order by c.unit limit 1"
        return (
            f"select n.k0, n.rid from (with recursive known (unit) as (({next.format('')}) union all"
            f" select ({next.format(' and c.unit > k.unit')}) from known k where k.unit is not null)"
            f" select unit from known where unit is not null) as k cross join lateral ({leg} limit {limit}) as n"
            f" order by {self._order(['n.k0', 'n.rid'])}"
        )

    def _class_conditions(self, driver: Range, key: int, span: float, column: str = "") -> list[str]:
        """What the rows of a class fulfil; ``column`` is the one that is to hold the unit."""
        add = self.compiler.arguments.add
        found = [f"c.key = {add(key, 'bigint')}", self.compiler.range(driver, "c", column)]
        lowest, highest = driver.implied(span)
        if lowest is not None:
            found.append(f"c.lo >= {add(lowest, driver.cast)}")
        if highest is not None:
            found.append(f"c.lo <= {add(highest, driver.cast)}")
        return found

    def _first_only(self, driver: Text | Range, rows: str) -> str:
        """A resource with several matching values stands where the first of them does, and only there."""
        before = ">" if self.plan.descending else "<"
        columns = {"text": ("text",), "date": ("lo", "hi"), "number": ("lo", "hi", "unit", "label")}
        names = columns["text" if isinstance(driver, Text) else driver.table]
        theirs, own = (", ".join(f"{row}.{name}" for name in names) for row in "dc")
        return (
            f"not exists (select from {rows} d where d.rid = c.rid and {self.compiler.condition(driver, 'd')}"
            f" and ({theirs}) {before} ({own}){PROBE})"
        )

    # -- gathered and sorted ---------------------------------------------------------------------------------------

    def _sorted(self) -> tuple[str, int]:
        compiler = self.compiler
        candidate = Candidate("c", self.rt, dated=False)
        sorts = self.request.sort
        columns: list[str] = []
        for n, sort in enumerate(sorts):
            columns.append(f"{self._sort_value(sort, candidate)} as v{n}")
        tests = self._tests(candidate)
        where = f" where {' and '.join(tests)}" if tests else ""
        found = (
            f"select {', '.join(['c.rid', *columns])} from ({self._source()}) as c{candidate.join()}{where}"
        )
        keys: list[tuple[str, bool, str]] = []
        for n, sort in enumerate(sorts):
            # Missing values come last in both directions.
            keys.append((f"(case when v{n} is null then 1 else 0 end)", False, "integer"))
            kind = CASTS[sort.kind] if sort.code not in ("_id", "_lastUpdated") else _special_cast(sort)
            keys.append((f"v{n}", sort.descending, kind))
        keys.append(("rid", self._rid_descends(), "bigint"))
        backward = self.position is not None and self.position.backward
        order = ", ".join(
            f"{expression}{' desc' if down != backward else ''} " for expression, down, _ in keys
        )
        after = self._lexicographic(keys, backward)
        selected = ", ".join(f"{expression} as k{n}" for n, (expression, _, _) in enumerate(keys[:-1]))
        head = f"{selected}, rid" if selected else "0::bigint as k0, rid"
        limit = compiler.arguments.add(self.limit, "bigint")
        return f"select {head} from ({found}) as f where {after} order by {order} limit {limit}", max(
            len(keys) - 1, 1
        )

    def _rid_descends(self) -> bool:
        return self.request.sort[0].descending if self.request.sort else True

    def _source(self) -> str:
        if self.plan.driver < 0:
            of_type = self.compiler.of_type("r", self.rt)
            return f"select r.rid from {table('resource', self.rt)} r where {of_type} and not r.deleted"
        driver = self.parts[self.plan.driver]
        one_key = isinstance(driver, Keys | Refers) and len(self.compiler.token_keys(driver) or ()) <= 1
        return f"select {'' if one_key else 'distinct '}rid from ({self.compiler.rids(driver, self.rt)}) as s"

    def _sort_value(self, sort: Sort, candidate: Candidate) -> str:
        if sort.code == SCORE:
            return scored(self.compiler, self.parts, candidate)
        if sort.code == "_id":
            return f"{candidate.resource()}.id"
        if sort.code == "_lastUpdated":
            return f"{candidate.resource()}.updated"
        if sort.kind == "date" and sort.pid == self.sort_date:
            return f"nullif({candidate.resource()}.date, {MIN_DATE})"
        if sort.paths:
            return self._document_value(sort, candidate)
        name, column = {
            "string": ("string", "text"), "date": ("date", "lo"), "number": ("number", "lo"),
            "quantity": ("number", "lo"),
        }[sort.kind]  # fmt: skip
        keys = self.compiler.arguments.bigs(
            [pid << VALUE_BITS | n for pid in sort.pids or (sort.pid,) for n in range(4)]
        )
        function = "max" if sort.descending else "min"
        return (
            f"(select {function}(s.{column}) from {table(name, self.rt)} s"
            f" where s.rid = c.rid and s.key = any ({keys}))"
        )

    def _document_value(self, sort: Sort, candidate: Candidate) -> str:
        """The first (or last) of the values in the document itself."""
        row = candidate.resource()
        values = document_values(sort.paths, row, self.compiler.arguments)
        function = "max" if sort.descending else "min"
        return f"(select {function}(left(j #>> '{{}}', {STRING_LENGTH}) collate \"C\") from ({values}) as x)"

    def _lexicographic(self, keys: list[tuple[str, bool, str]], backward: bool) -> str:
        """Strictly after the position, in the order of ``keys`` (or before it, backwards)."""
        if self.position is None:
            return "true"
        values: list[int | float | str | None] = [*self.position.values[: len(keys) - 1], self.position.rid]
        alternatives = []
        equal: list[str] = []
        for (expression, down, cast), value in zip(keys, values, strict=True):
            if value is None:
                continue  # a missing value: its marker, the key before, has already told
            place = self.compiler.arguments.add(value, cast)
            alternatives.append(
                " and ".join([*equal, f"{expression} {'<' if down != backward else '>'} {place}"])
            )
            equal.append(f"{expression} = {place}")
        return "(" + " or ".join(f"({each})" for each in alternatives) + ")"


def _start(bounds: Bounds) -> tuple[str, int] | None:
    """(column, moment): what fulfils ``bounds`` starts or ends then or later; None when they leave that open."""
    starts = {column: int(value) for column, operator, value in bounds if operator in (">", ">=", "=")}
    return next(((column, starts[column]) for column in ("lo", "hi") if column in starts), None)


def _special_cast(sort: Sort) -> str:
    return "text" if sort.code == "_id" else "bigint"
