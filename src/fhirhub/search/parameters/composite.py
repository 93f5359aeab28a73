"""Composite parameters: https://hl7.org/fhir/R4/search.html#composite

Two values of the same element asked for together, ``8480-6$gt140``. The first is always a token. A second
token or reference joins it in one hash; an ordered second value (quantity, number, date, string) stands in a
row whose key carries the hash of the first. The triples of MolecularSequence (token$start$end) use one number
row whose ``lo`` is the second and whose ``hi`` is the third value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from fhirhub.fhirpath.compile import Route, follow
from fhirhub.search.parameters import date, number, quantity, reference, string, token
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, any_of, refuse, split, unescape
from fhirhub.search.parameters.token import NUL
from fhirhub.search.predicate import And, Keys, Or, Predicate, Quantity
from fhirhub.search.rows import STRING_LENGTH, Rows, hashed_key, range_key

Values = Callable[[dict[str, Any], Context], list[Any]]
Spellings = Callable[[dict[str, Any], Context], list[str]]
Finish = Callable[[list[str], dict[str, Any], Rows, Context], None]

JOINED = ("token", "reference")
ORDERED = ("quantity", "number", "date", "string")


def _values(route: Route) -> Values:
    """The values of a component; the single-step routes that nearly all have go without the general walk."""
    name = route.moves[0].name if len(route.moves) == 1 and route.moves[0].kind == "child" else ""
    if not name or route.from_root:
        from_root = route.from_root
        return lambda focus, context: follow(route, context.document if from_root else focus)

    def values(focus: dict[str, Any], context: Context) -> list[Any]:
        value = focus.get(name)
        if value is None:
            return []
        return value if type(value) is list else [value]

    return values


def _spellings(component: Facet) -> Spellings:
    """The spellings of a token or reference component."""
    ways: list[tuple[Values, Callable[[Any, Context], Sequence[str]]]] = []
    for route in component.routes:
        spell = token.speller(route.type_name) if component.kind == "token" else None
        if spell is not None:
            ways.append((_values(route), _ignoring_context(spell)))
        elif component.kind == "reference":
            ways.append((_values(route), _reference_speller(route)))

    def spellings(focus: dict[str, Any], context: Context) -> list[str]:
        return [
            s for values, spell in ways for value in values(focus, context) for s in spell(value, context)
        ]

    return spellings


def _ignoring_context(spell: token.Spell) -> Callable[[Any, Context], Sequence[str]]:
    return lambda value, context: spell(value)


def _reference_speller(route: Route) -> Callable[[Any, Context], Sequence[str]]:
    return lambda value, context: reference.reference_spellings(value, route, context)


def _measured(component: Facet) -> Callable[[dict[str, Any], Context], list[Any]]:
    """What the ordered component of an element measures: intervals, quantities or strings."""
    ways: list[tuple[Values, Callable[[Any], Any]]] = []
    for route in component.routes:
        measure: Callable[[Any], Any] | None
        if component.kind == "string":
            measure = _normalised if route.type_name in ("string", "markdown") else None
        else:
            measure = {"quantity": quantity, "number": number, "date": date}[component.kind].measurer(
                route.type_name
            )
        if measure is not None:
            ways.append((_values(route), measure))

    def measured(focus: dict[str, Any], context: Context) -> list[Any]:
        found = [measure(value) for values, measure in ways for value in values(focus, context)]
        return [each for each in found if each is not None]

    return measured


def _normalised(value: Any) -> str | None:
    return string.normalised(value)[:STRING_LENGTH] if type(value) is str else None


def _add_ordered(kind: str, rows: Rows, key: int, found: Any, secret: bytes) -> None:
    if kind == "quantity":
        quantity.add_row(rows, key, found, secret)
    elif kind == "number":
        rows.numbers.add((key, *found, 0, 0))
    elif kind == "date":
        rows.dates.add((key, *found))
    else:
        rows.strings.add((key, found))


def _whole(facet: Facet) -> bool:
    """Whether the halves are elements of the resource itself, so that there is one pair at most.

    Then the rows stand under the bare code alone, and a system is asked of the token parameter's own rows.
    """
    return all(not route.moves for route in facet.routes) and not facet.components[0].aliases


def indexer(facet: Facet, secret: bytes) -> Emit | None:
    """The emitter for the elements that the composite's expression leads to."""
    pid, kinds = facet.pid, tuple(component.kind for component in facet.components)
    first = _spellings(facet.components[0])
    if kinds == ("token", "number", "number"):
        return _triple_indexer(facet, first, secret)
    if len(kinds) != 2 or kinds[0] != "token":
        return None
    if kinds[1] in JOINED:
        return _joined_indexer(pid, first, _spellings(facet.components[1]), secret)
    if kinds[1] not in ORDERED:
        return None
    kind, measured = kinds[1], _measured(facet.components[1])
    plain_only = _whole(facet)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        found = measured(value, context)
        if not found:
            return
        for spelling in first(value, context):
            if plain_only and spelling[0] != NUL:
                continue
            rows.params.add(pid)
            key = range_key(pid, spelling, secret)
            for each in found:
                _add_ordered(kind, rows, key, each, secret)

    return emit


def _joined_indexer(pid: int, first: Spellings, second: Spellings, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        others = second(value, context)
        if others:
            for one, other in product(first(value, context), others):
                rows.params.add(pid)
                rows.tokens.add(hashed_key(pid, f"{one}${other}", secret))

    return emit


def _triple_indexer(facet: Facet, first: Spellings, secret: bytes) -> Emit:
    pid = facet.pid
    starts, ends = (_measured(component) for component in facet.components[1:])

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        for spelling, start, end in product(
            first(value, context), starts(value, context), ends(value, context)
        ):
            rows.params.add(pid)
            rows.numbers.add((range_key(pid, spelling, secret), start[0], end[1], 0, 0))

    return emit


def _parse_one(facet: Facet, text: str, query: Query) -> Predicate:
    pieces = split(text, "$")
    components = facet.components
    if len(pieces) != len(components) or not all(pieces):
        shape = "$".join(component.code for component in components)
        raise refuse(facet.expression, f"{facet.code} takes {len(components)} values joined by $: {shape}")
    if not split(pieces[0], "|")[-1]:
        raise refuse(facet.expression, f"{facet.code} needs a code before the $, not a system alone")
    spellings = token.query_spellings(components[0].routes, facet.expression, pieces[0], query)
    second = components[1]
    if second.kind in JOINED:
        others = _second_spellings(facet, second, pieces[1], query)
        joined = (f"{one}${other}" for one, other in product(spellings, others))
        return Keys(tuple(hashed_key(facet.pid, each, query.secret) for each in joined))
    if not spellings:
        return Or(())
    if len(components) == 2 and _whole(facet) and spellings[0][0] != NUL:
        bare = NUL + unescape(split(pieces[0], "|")[-1])
        own = Keys(tuple(hashed_key(components[0].pid, each, query.secret) for each in spellings))
        key = range_key(facet.pid, bare, query.secret)
        return And((own, _ordered(key, facet, second, pieces[1], query)))
    keys = [range_key(facet.pid, spelling, query.secret) for spelling in spellings]
    if len(components) == 3:
        return any_of([_triple(key, facet, pieces, query) for key in keys])
    return any_of([_ordered(key, facet, second, pieces[1], query) for key in keys])


def _second_spellings(facet: Facet, second: Facet, text: str, query: Query) -> list[str]:
    if second.kind == "token":
        if not split(text, "|")[-1]:
            raise refuse(facet.expression, f"{facet.code} needs a code after the $, not a system alone")
        return token.query_spellings(second.routes, facet.expression, text, query)
    matches, others = reference.resolve(second, None, unescape(text), query)
    return [*(f"{kind}/{id}" for kind, id in matches), *others]


def _ordered(key: int, facet: Facet, second: Facet, text: str, query: Query) -> Predicate:
    if second.kind == "quantity":
        return quantity.compare(key, second.routes, facet.expression, text, query)
    if second.kind == "date":
        return date.predicate(key, facet.expression, text, query)
    if second.kind == "number":
        return number.predicate(
            key, second.routes, number.parse_number(facet.expression, unescape(text)), None
        )
    return string.text_predicate(key, "prefix", unescape(text))


def _triple(key: int, facet: Facet, pieces: list[str], query: Query) -> Predicate:
    """Start and end of one row at once: every choice for the one with every choice for the other."""
    start, end = (number.parse_number(facet.expression, unescape(piece)) for piece in pieces[1:])
    starts = number.bounds(start, points=True, hi="lo")
    ends = number.bounds(end, points=True, lo="hi")
    return any_of([Quantity(key, one + other) for one, other in product(starts, ends)])


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    return any_of([_parse_one(facet, text, query) for text in values])
