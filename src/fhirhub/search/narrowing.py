"""A search as one caller may make it: the Sight's predicates put on the matches and on every operand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fhirhub.definitions.tables import Definitions, SearchParameter
from fhirhub.errors import Forbidden, Issue
from fhirhub.search.across import combined
from fhirhub.search.plain import absent
from fhirhub.search.predicate import (
    And,
    Below,
    Chain,
    Cited,
    Cites,
    Concepts,
    Contained,
    Has,
    Ids,
    Keys,
    Kin,
    Measure,
    Near,
    Not,
    Or,
    Points,
    Predicate,
    Present,
    Quantity,
    Refers,
    Says,
    Span,
    Spoken,
    Text,
    Worded,
    Words,
)
from fhirhub.search.request import Include, SearchRequest, Sort
from fhirhub.search.rows import VALUE_BITS, key_pid
from fhirhub.search.sight import Sight, both

Require = Callable[[str, str], None]
"""(action, type): raises Forbidden, naming what is missing, when that is not allowed at all."""


def narrowed(
    request: SearchRequest, sight: Sight, definitions: Definitions, require: Require
) -> SearchRequest:
    """``request`` within ``sight``: matches, chains, ``_has``, includes and order; its page links open for the
    same holder only.

    Raises Forbidden when an operand is of a type that may not be searched at all, or stands on hidden elements.
    """
    if sight.everything:
        return request
    types = request.types or (request.type,)
    within = combined(types, [sight.of("s", type) for type in types])
    operands = _operands(request.where, types, sight, definitions, require)
    where = both(within, _tested(operands, within, sight, _main_date(request.type, definitions)))
    for sort in request.sort:
        _check_sort(sort, types, sight, definitions)
    includes = tuple(found for each in request.includes if (found := _include(each, sight, definitions)))
    made = replace(
        request,
        where=where,
        includes=includes,
        within=sight.shows,
        own=frozenset(_names(sight)) if sight.about else None,
        holder=f"{sight.holder} {sight.mark(types)}",
        bound=request.where,
    )
    labels = absent(request, sight, definitions)
    if labels is None:
        return made
    plain = replace(request, holder=made.holder, bound=request.where, absent=labels)
    # The parts of both stand in the same order, by which page links pin what is walked.
    return replace(made, where=both(operands, within), plain=plain)


def _operands(
    where: Any, types: tuple[str, ...], sight: Sight, definitions: Definitions, require: Require
) -> Any:
    """``where`` with what lies behind references narrowed too."""

    def inner(part: Any, type: str) -> Any:
        require("s", type)
        within = sight.of("s", type)
        return both(within, _tested(_operands(part, (type,), sight, definitions, require), within, sight))

    match where:
        case And(parts):
            return And(tuple(_operands(part, types, sight, definitions, require) for part in parts))
        case Or(parts):
            return Or(tuple(_operands(part, types, sight, definitions, require) for part in parts))
        case Not(part):
            return Not(_operands(part, types, sight, definitions, require))
        case Chain(pid, type, part):
            _check(Present(pid), types, sight, definitions)
            return Chain(pid, type, inner(part, type))
        case Has(type, pid, part):
            _check(Present(pid), (type,), sight, definitions)
            return Has(type, pid, inner(part, type))
        case Cites(pid, type, part):
            _check(Present(pid), types, sight, definitions)
            return replace(where, part=inner(part, type))
        case Cited(type, pid, part):
            _check(Present(pid), (type,), sight, definitions)
            # Urls are what connects the two.
            for each in types:
                if "url" in sight.hidden.get(each, ()) or "version" in sight.hidden.get(each, ()):
                    raise _forbidden(each, "by what holds its url")
            return replace(where, part=inner(part, type))
        case Contained(pid, type, part):
            # What is contained is seen with its container; but it may not be found by a type that is out of reach.
            require("s", type)
            for each in types:
                if sight.hidden.get(each):
                    raise _forbidden(each, "by what it contains")
            if pid:
                _check(Present(pid), types, sight, definitions)
            return Contained(pid, type, _operands(part, (type,), sight, definitions, require))
    _check(where, types, sight, definitions)
    if isinstance(where, Kin) and not sight.is_open("s", where.type):
        # The hierarchy would be followed through resources that the caller cannot see.
        text = f"Hierarchies of {where.type} can be searched only by those who may see every {where.type}."
        raise Forbidden(Issue("forbidden", text))
    return where


# -- what the caller is confined to --------------------------------------------------------------------------


def _tested(where: Any, within: Predicate, sight: Sight, main_date: int | None = None) -> Any:
    """``where`` so that no index is walked by it, if ``within`` leaves the records of some patients only.

    These are walked instead, and each of their resources is tested. So what a search for something takes depends on the
    own records alone, and cannot tell what is hidden from what is not there. Conditions on the key ``main_date`` stay
    as they are: they only say where a walk begins and ends.
    """
    if not confines(within, sight):
        return where
    match where:
        case And(parts):
            return And(tuple(_tested(part, within, sight, main_date) for part in parts))
    return where if _is_date(where, main_date) else Not(Not(where))


def confines(within: Predicate, sight: Sight) -> bool:
    """Whether ``within`` leaves nothing but the records of the patients that the caller is confined to."""
    return bool(sight.about) and _leads(within, frozenset(_names(sight)))


def _leads(where: Predicate, own: frozenset[tuple[str, str]]) -> bool:
    """Whether only what refers to one of ``own``, is one of them, or points to such, fulfils ``where``: walks of it are
    short."""
    match where:
        case Refers(_, targets):
            return own.issuperset(targets)
        case Ids(ids):
            return {id for _, id in own}.issuperset(ids)
        case And(parts):
            return any(_leads(part, own) for part in parts)
        case Or(parts):
            return all(_leads(part, own) for part in parts)
        case Points(_, part):
            return _leads(part, own)
    return False


def _is_date(where: Predicate, key: int | None) -> bool:
    match where:
        case Span():
            return where.key & ~3 == key
        case And(parts) | Or(parts):
            return bool(parts) and all(_is_date(part, key) for part in parts)
    return False


def _main_date(type: str, definitions: Definitions) -> int | None:
    """The key of the dates that resources of ``type`` are ordered by; None for several types."""
    code = definitions.sort_date.get(type)
    return definitions.search_parameters(type)[code].pid << VALUE_BITS if code else None


def _names(sight: Sight) -> Iterator[tuple[str, str]]:
    """(type, id) of the patients that the caller is confined to."""
    for each in sight.about:
        type, _, id = each.partition("/")
        yield type, id


# -- hidden elements -----------------------------------------------------------------------------------------


def _check(leaf: Predicate, types: tuple[str, ...], sight: Sight, definitions: Definitions) -> None:
    """Raise Forbidden when ``leaf`` would tell something of elements that are hidden from the caller."""
    for type in types:
        hidden = sight.hidden.get(type)
        if not hidden:
            continue
        if isinstance(leaf, Words | Spoken | Says):
            raise _forbidden(type, "by text")
        for pid in pids_of(leaf):
            parameter = definitions.by_pid.get(pid)
            if parameter is None:
                raise _forbidden(type, "by this")
            if parameter.type == type and touches(parameter, hidden):
                raise _forbidden(type, f"by {parameter.code}")


def _check_sort(sort: Sort, types: tuple[str, ...], sight: Sight, definitions: Definitions) -> None:
    for pid in {sort.pid, *sort.pids}:
        if pid in definitions.by_pid:
            _check(Present(pid), types, sight, definitions)


def _include(include: Include, sight: Sight, definitions: Definitions) -> Include | None:
    """``include`` without the references in hidden elements."""
    hidden: Mapping[str, frozenset[str]] = sight.hidden
    names = hidden.get(include.source)
    if not names:
        return include
    kept = tuple(pid for pid in include.pids if not touches(definitions.by_pid[pid], names))
    return replace(include, pids=kept) if kept else None


def touches(parameter: SearchParameter, hidden: frozenset[str]) -> bool:
    """Whether the parameter looks at one of these elements; in doubt, yes."""
    text = " ".join((parameter.expression, *(part for pair in parameter.components for part in pair)))
    return any(re.search(rf"\b{re.escape(name)}\b", text) for name in hidden)


def _forbidden(type: str, how: str) -> Forbidden:
    return Forbidden(
        Issue(
            "forbidden", f"{type} cannot be searched {how}: it stands on elements that are hidden from you."
        )
    )


def pids_of(leaf: Predicate) -> Iterator[int]:
    """The parameters whose index rows decide ``leaf``."""
    match leaf:
        case Keys(keys, codes):
            yield from {key_pid(key) for key in (*keys, *codes)}
        case Text(key) | Span(key) | Quantity(key) | Measure(key):
            yield key_pid(key)
        case Near(latitude, longitude):
            yield key_pid(latitude)
            yield key_pid(longitude)
        case Refers(pid) | Worded(pid) | Concepts(pid) | Below(pid) | Kin(pid) | Present(pid) | Points(pid):
            yield pid
