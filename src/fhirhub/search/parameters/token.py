"""Token parameters: https://hl7.org/fhir/R4/search.html#token

A value is filed under its *spellings*: ``NUL code`` (any system), ``system|code`` (system empty when there is
none) and ``system|`` (any code of the system). Elements without a system of their own (code, boolean, string,
ContactPoint) have the first only; a query that names a system is answered from their required value set. Codings
have a row for the second only: which of those belong to a code or a system is kept once, in a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search.parameters.base import NUL, Context, Emit, Facet, Query, negated, refuse, split, unescape
from fhirhub.search.predicate import Keys, Predicate
from fhirhub.search.rows import Rows, hashed_key

MODIFIERS = ("not", "of-type")

BARE = frozenset(
    "code string id uri url canonical oid uuid markdown boolean integer positiveInt unsignedInt date "
    "dateTime instant time ContactPoint".split()
)
"""Types that carry no system."""
CODED = frozenset(("Coding", "CodeableConcept"))
SYSTEMATIC = CODED | {"Identifier"}
_BOOLEAN_SYSTEMS = (
    "http://hl7.org/fhir/special-values",
    "http://terminology.hl7.org/CodeSystem/special-values",
)
Spell = Callable[[Any], Sequence[str]]


def _pair(system: Any, code: Any) -> tuple[str, ...]:
    """The spellings of a system and a code, without the system's own."""
    if type(code) is not str or not code:
        return ()
    return (NUL + code, (system if type(system) is str else "") + "|" + code)


def _bare(value: Any) -> tuple[str, ...]:
    if type(value) is str:
        return (NUL + value,)
    if type(value) is bool:
        return (NUL + "true",) if value else (NUL + "false",)
    return (NUL + str(value),) if type(value) is int else ()


def _contact(value: Any) -> tuple[str, ...]:
    return _bare(value.get("value")) if type(value) is dict else ()


def _coding(value: Any) -> tuple[str, ...]:
    return _pair(value.get("system"), value.get("code")) if type(value) is dict else ()


def _concept(value: Any) -> list[str]:
    codings = value.get("coding") if type(value) is dict else None
    if type(codings) is not list:
        return []
    return list(dict.fromkeys(spelling for coding in codings for spelling in _coding(coding)))


def _identifier(value: Any) -> tuple[str, ...]:
    return _pair(value.get("system"), value.get("value")) if type(value) is dict else ()


_SPELL: dict[str, Spell] = {
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
    "ContactPoint": _contact,
}


def speller(type_name: str) -> Spell | None:
    """The function from a value of ``type_name`` to its spellings; None when tokens are not made of that
    type.
    """
    if type_name in SYSTEMATIC or type_name == "ContactPoint":
        return _SPELL[type_name]
    return _bare if type_name in BARE else None


@lru_cache(maxsize=16384)
def _code_keys(
    pid: int, system: str | None, code: str | None, secret: bytes
) -> tuple[int | None, tuple[tuple[int, int], ...]]:
    """The key of a coding and its pairs of the dictionary; few distinct ones make up most of a record, hence the
    cache.
    """
    if not code:
        return (hashed_key(pid, system + "|", secret) if system else None), ()
    exact = hashed_key(pid, f"{system or ''}|{code}", secret)
    umbrellas = [NUL + code] + ([system + "|"] if system else [])
    return exact, tuple((hashed_key(pid, umbrella, secret), exact) for umbrella in umbrellas)


def _coding_indexer(pid: int, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is dict:
            system, code = value.get("system"), value.get("code")
            rows.params.add(pid)
            if (system is None or type(system) is str) and (code is None or type(code) is str):
                key, pairs = _code_keys(pid, system, code, secret)
                if key is not None:
                    rows.tokens.add(key)
                    rows.codings.update(pairs)

    return emit


def _concept_indexer(pid: int, secret: bytes) -> Emit:
    emit_coding = _coding_indexer(pid, secret)

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is dict:
            rows.params.add(pid)
            codings = value.get("coding")
            if type(codings) is list:
                for coding in codings:
                    emit_coding(coding, rows, context)

    return emit


def of_type_spelling(system: str, code: str, value: str) -> str:
    """What is hashed for ``:of-type``."""
    return f"ot{NUL}{system}|{code}|{value}"


def _identifier_indexer(pid: int, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        rows.params.add(pid)
        tokens = rows.tokens
        for spelling in _identifier(value):
            tokens.add(hashed_key(pid, spelling, secret))
        system, code, kind = value.get("system"), value.get("value"), value.get("type")
        if type(system) is str and system:
            tokens.add(hashed_key(pid, system + "|", secret))
        if type(kind) is dict and type(code) is str and type(kind.get("coding")) is list:
            for coding in kind["coding"]:
                if type(coding) is dict and type(coding.get("code")) is str:
                    spelling = of_type_spelling(str(coding.get("system") or ""), coding["code"], code)
                    tokens.add(hashed_key(pid, spelling, secret))

    return emit


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when tokens are not made of that type."""
    if route.type_name == "Coding":
        return _coding_indexer(pid, secret)
    if route.type_name == "CodeableConcept":
        return _concept_indexer(pid, secret)
    if route.type_name == "Identifier":
        return _identifier_indexer(pid, secret)
    spell = speller(route.type_name)
    if spell is None:
        return None

    def emit(value: Any, rows: Rows, context: Context) -> None:
        for spelling in spell(value):
            rows.params.add(pid)
            rows.tokens.add(hashed_key(pid, spelling, secret))

    return emit


def _implied(route: Route, system: str, code: str | None, query: Query) -> Iterable[str]:
    """Spellings under which a bare element holds ``system|code`` (``code`` None: any code of the system)."""
    if route.type_name == "boolean":
        members = frozenset((name, value) for name in _BOOLEAN_SYSTEMS for value in ("true", "false"))
    else:
        members = (query.definitions.value_set(route.binding) if route.binding else None) or frozenset()
    if code is not None:
        return [NUL + code] if (system, code) in members else []
    return [NUL + member for name, member in sorted(members) if name == system]


def query_spellings(routes: Iterable[Route], expression: str, text: str, query: Query) -> list[str]:
    """The spellings under which elements at the end of ``routes`` hold the token ``text``; none = nothing can
    match.
    """
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) > 2:
        raise refuse(
            expression,
            f"write a token as code, system|code, |code or system|; escape a bar in it as \\|: {text}",
        )
    code = pieces[-1]
    if len(pieces) == 1:
        return [NUL + code]
    system = pieces[0]
    if not system and not code:
        raise refuse(expression, "a token needs a system or a code")
    found: dict[str, None] = {}
    for route in routes:
        if route.type_name in SYSTEMATIC:
            found[f"{system}|{code}"] = None
        elif not system:
            found[NUL + code] = None
        else:
            found.update(dict.fromkeys(_implied(route, system, code or None, query)))
    return list(found)


def _of_type(facet: Facet, text: str) -> str:
    pieces = [unescape(piece) for piece in split(text, "|")]
    if len(pieces) != 3 or not all(pieces[1:]):
        raise refuse(facet.expression, f"{facet.code}:of-type is written type-system|type-code|value")
    return of_type_spelling(*pieces)


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``, or with ``:not`` none of them."""
    spellings: list[str] = []
    for text in values:
        if not text:
            raise refuse(facet.expression, f"{facet.code} needs a value")
        if modifier == "of-type":
            if not any(route.type_name == "Identifier" for route in facet.routes):
                raise refuse(
                    facet.expression, f"{facet.code}:of-type is for identifiers only", "not-supported"
                )
            spellings.append(_of_type(facet, text))
        else:
            spellings.extend(query_spellings(facet.routes, facet.expression, text, query))
    keys = dict.fromkeys(hashed_key(facet.pid, spelling, query.secret) for spelling in spellings)
    coded = any(route.type_name in CODED for route in facet.routes)
    open_ended = (each for each in spellings if coded and (each[0] == NUL or each[-1] == "|"))
    codes = dict.fromkeys(hashed_key(facet.pid, each, query.secret) for each in open_ended)
    found = Keys(tuple(keys), tuple(codes))
    return negated(found) if modifier == "not" else found
