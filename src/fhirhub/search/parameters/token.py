"""Token parameters: https://hl7.org/fhir/R4/search.html#token

A value is filed under its *spellings*: ``NUL code`` (any system), ``system|code`` (system empty when there is
none) and ``system|`` (any code of the system). Elements without a system of their own (code, boolean, string,
ContactPoint) have the first only; a query that names a system is answered from their required value set. Codings
have a row for the second only: which of those belong to a code or a system is kept once, in a dictionary. So is what
they are called, for ``:text``; a concept without codings has a row for its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.fhirpath.compile import Route, follow
from fhirhub.search.keeping import keeping
from fhirhub.search.parameters.base import (
    NUL,
    Context,
    Emit,
    Facet,
    Query,
    any_of,
    negated,
    refuse,
    split,
    unescape,
)
from fhirhub.search.parameters.string import normalised
from fhirhub.search.predicate import Concepts, Keys, Predicate, Worded
from fhirhub.search.rows import STRING_LENGTH, Phrase, Rows, hashed_key, phrase
from fhirhub.search.sorting import text_paths

MODIFIERS = ("not", "of-type", "text", "in", "not-in", "above", "below")

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


@keeping(16384, text=1)
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


@keeping(16384, text=1)
def _called(pid: int, text: str, key: int) -> tuple[int, Phrase]:
    """The phrase that says that what stands under ``key`` is called ``text``."""
    return phrase(pid, normalised(text)[:STRING_LENGTH], text, key)


def _add_coding(pid: int, value: dict[str, Any], rows: Rows, secret: bytes) -> int | None:
    """The rows of one coding; its key."""
    system, code, display = value.get("system"), value.get("code"), value.get("display")
    if not (system is None or type(system) is str) or not (code is None or type(code) is str):
        return None
    key, pairs = _code_keys(pid, system, code, secret)
    if key is None:
        if type(display) is str:
            add_text(pid, display, rows, secret)
        return None
    rows.tokens.add(key)
    rows.codings.update(pairs)
    if type(display) is str:
        hashed, found = _called(pid, display, key)
        rows.phrases[hashed] = found
    return key


def add_text(pid: int, text: str, rows: Rows, secret: bytes) -> None:
    """The rows of a text that describes no coding."""
    key = hashed_key(pid, f"t{NUL}{text}", secret)
    rows.tokens.add(key)
    hashed, found = _called(pid, text, key)
    rows.phrases[hashed] = found


def _coding_indexer(pid: int, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is dict:
            rows.params.add(pid)
            _add_coding(pid, value, rows, secret)

    return emit


def _concept_indexer(pid: int, secret: bytes) -> Emit:
    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is not dict:
            return
        rows.params.add(pid)
        codings, text = value.get("coding"), value.get("text")
        keys: list[int] = []
        if type(codings) is list:
            for coding in codings:
                key = _add_coding(pid, coding, rows, secret) if type(coding) is dict else None
                if key is not None:
                    keys.append(key)
        if type(text) is str:
            for key in keys:
                hashed, found = _called(pid, text, key)
                rows.phrases[hashed] = found
            if not keys:
                add_text(pid, text, rows, secret)

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
        if type(kind) is not dict:
            return
        if type(kind.get("text")) is str:
            add_text(pid, kind["text"], rows, secret)
        for coding in kind["coding"] if type(kind.get("coding")) is list else ():
            if type(coding) is dict:
                if type(coding.get("display")) is str:
                    add_text(pid, coding["display"], rows, secret)
                if type(code) is str and type(coding.get("code")) is str:
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


def has_codes(routes: Iterable[Route]) -> bool:
    """Whether all values at the end of ``routes`` are codes, each under a key that stands for nothing but it."""
    return all(route.type_name in BARE | CODED for route in routes)


def codes_by_key(
    pid: int, routes: Iterable[Route], document: dict[str, Any], secret: bytes
) -> dict[int, str]:
    """The codes at the end of ``routes`` (see :func:`has_codes`), each under the key of its row."""
    found: dict[int, str] = {}
    for route in routes:
        for value in follow(route, document):
            if route.type_name in BARE:
                found.update((hashed_key(pid, each, secret), each[1:]) for each in _bare(value))
            else:
                found.update(_codes_of(pid, value, secret))
    return found


def _codes_of(pid: int, value: Any, secret: bytes) -> Iterator[tuple[int, str]]:
    codings = value.get("coding", [value]) if type(value) is dict else ()
    for coding in codings if type(codings) is list else ():
        system, code = (coding.get("system"), coding.get("code")) if type(coding) is dict else (None, None)
        if type(code) is str and code and (system is None or type(system) is str):
            key, _ = _code_keys(pid, system, code, secret)
            if key is not None:
                yield key, code


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
    """Any of ``values``, or with ``:not`` and ``:not-in`` none of them."""
    if modifier == "text":
        return _worded(facet, values)
    if modifier in ("in", "not-in", "above", "below"):
        return _related(facet, modifier, values)
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


def _worded(facet: Facet, values: Sequence[str]) -> Predicate:
    """``:text``: what the codes are called."""
    paths = text_paths(facet)
    if not paths:
        raise refuse(facet.expression, f"{facet.code} has codes without texts", "not-supported")
    words = [normalised(unescape(value)) for value in values]
    if not all(words):
        raise refuse(facet.expression, f"{facet.code}:text needs some text to look for")
    return any_of([Worded(facet.pid, each[:STRING_LENGTH], paths) for each in words])


def _related(facet: Facet, modifier: str, values: Sequence[str]) -> Predicate:
    """``:in``, ``:not-in`` (value sets), ``:above``, ``:below`` (the hierarchy of a code system)."""
    ways = tuple(dict.fromkeys((route.type_name, route.binding) for route in facet.routes))
    if all(name == "Identifier" for name, _ in ways):
        raise refuse(
            facet.expression, f"{facet.code}:{modifier} is for codes, not identifiers", "not-supported"
        )
    asked: list[Predicate] = []
    for value in values:
        text = unescape(value)
        if modifier in ("above", "below"):
            pieces = [unescape(piece) for piece in split(value, "|")]
            if len(pieces) != 2 or not all(pieces):
                raise refuse(facet.expression, f"{facet.code}:{modifier} is written system|code")
            text = "|".join(pieces)
        asked.append(Concepts(facet.pid, "in" if modifier == "not-in" else modifier, text, ways))
    return negated(any_of(asked)) if modifier == "not-in" else any_of(asked)


def concept_spellings(
    ways: Iterable[tuple[str, str | None]], members: Iterable[tuple[str, str]], definitions: Definitions
) -> list[str]:
    """How elements of the types ``ways`` hold the concepts ``members`` (system, code)."""
    found: dict[str, None] = {}
    for name, binding in ways:
        own = definitions.value_set(binding) if binding else None
        for system, code in members:
            if name in CODED:
                found[f"{system}|{code}"] = None
            elif own is None or (system, code) in own:
                found[NUL + code] = None
    return list(found)
