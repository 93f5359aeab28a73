"""One search criterion to a predicate: parameters, modifiers, chains and ``_has``.

https://hl7.org/fhir/R4/search.html#modifiers, #chaining, #has
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial

from fhirhub.errors import BadRequest, Issue
from fhirhub.search.filter_expression import Tools
from fhirhub.search.limits import MAX_CHAIN_TYPES, MAX_CRITERIA, MAX_DEPTH, MAX_VALUES
from fhirhub.search.parameters import (
    composite,
    date,
    nickname,
    number,
    phonetic,
    quantity,
    reference,
    special,
    string,
    token,
    uri,
)
from fhirhub.search.parameters.base import (
    Alias,
    Facet,
    NotUnderstood,
    Query,
    TooCostly,
    any_of,
    negated,
    refuse,
    shortened,
    split,
    too_costly,
    unescape,
)
from fhirhub.search.predicate import (
    And,
    Chain,
    Cited,
    Cites,
    Contained,
    Has,
    Ids,
    Or,
    Predicate,
    Present,
    Refers,
)
from fhirhub.search.registry import Registry
from fhirhub.search.sorting import document_paths
from fhirhub.search.specials import Specials, bases_of

Parse = Callable[[Facet, str | None, Sequence[str], Query], Predicate]

_PARSERS: dict[str, Parse] = {
    "string": string.parse,
    "token": token.parse,
    "date": date.parse,
    "number": number.parse,
    "quantity": quantity.parse,
    "uri": uri.parse,
    "reference": reference.parse,
    "composite": composite.parse,
}
_ROWLESS: dict[str, Parse] = {"_id": special.parse_id, "_lastUpdated": special.parse_updated}
MODIFIERS: dict[str, tuple[str, ...]] = {
    "string": ("missing", *string.MODIFIERS),
    "token": ("missing", *token.MODIFIERS),
    "reference": ("missing", *reference.MODIFIERS),
    "uri": ("missing", *uri.MODIFIERS),
    **dict.fromkeys(("date", "number", "quantity", "composite"), ("missing",)),
}
"""Kind of parameter -> modifiers served; reference parameters also take the name of a target type."""


def modifiers(facet: Facet) -> tuple[str, ...]:
    """The modifiers served on ``facet``, but for names of types."""
    served = MODIFIERS[facet.kind]
    return (*served, nickname.MODIFIER) if nickname.serves(facet) else served


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for near misses, or nothing."""
    choices = sorted(known)
    same = [choice for choice in choices if choice.lower() == word.lower()]
    near = same or get_close_matches(word, choices, 2, 0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def not_understood(expression: str, text: str) -> NotUnderstood:
    """A 400 that lenient handling turns into a note."""
    return NotUnderstood(Issue("not-supported", text, expression=expression))


class Filters:
    """Parses the criteria of searches on any type."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        tools = Tools(self.facet, partial(bases_of, registry), self.predicate, self._through)
        self.specials = Specials(registry, tools)

    def predicate(self, type: str, name: str, value: str, query: Query, depth: int = 0) -> Predicate:
        """The criterion ``name=value`` on resources of ``type``.

        NotUnderstood for an unknown parameter or modifier, BadRequest for a value that cannot be.
        """
        query.budget.left -= 1
        if query.budget.left < 0:
            raise too_costly(
                f"{type}?{shortened(name)}",
                f"this comes to more than {MAX_CRITERIA} criteria; name the types in the chains",
            )
        if depth > MAX_DEPTH:
            raise too_costly(
                f"{type}?{shortened(name)}",
                f"a chain may have {MAX_DEPTH} links at most, _has included; search for its end first, then by id",
            )
        if name.startswith("_has:"):
            return self._has(type, name, value, query, depth)
        head, dot, rest = name.partition(".")
        code, colon, modifier = head.partition(":")
        if not dot and self.specials.serves(type, code):
            return self.specials.predicate(type, code, modifier, value, query, depth)
        facet = self.facet(type, code)
        if colon and not modifier:
            raise not_understood(facet.expression, f"{shortened(name)!r} has an empty modifier")
        if dot:
            return self._chain(facet, modifier or None, rest, value, query, depth)
        return self._plain(facet, modifier or None, value, query)

    def facet(self, type: str, code: str) -> Facet:
        """The parameter ``code`` of ``type``; NotUnderstood with the reason when it is not served."""
        facets = self._registry.facets(type)
        found = facets.get(code)
        if found is not None:
            return found
        expression = f"{type}?{shortened(code)}"
        percent = self._registry.building.get((type, code))
        if percent is not None:
            raise not_understood(
                expression, f"{code} is being indexed, {percent} %; it can be used when that is done"
            )
        reason = special.UNSERVED_PARAMETERS.get(code)
        if reason is not None and (
            code[0] == "_" or code in self._registry.definitions.search_parameters(type)
        ):
            raise not_understood(expression, f"{code}: {reason}")
        specials = (each for each in special.SPECIAL if self.specials.serves(type, each))
        hint = suggestion(code, (*facets, *specials, *special.RESULT_PARAMETERS))
        raise not_understood(expression, f"{type} has no search parameter {shortened(code)!r}{hint}")

    def _plain(self, facet: Facet, modifier: str | None, value: str, query: Query) -> Predicate:
        self._check_modifier(facet, modifier, query)
        if modifier == "missing":
            return self._missing(facet, value)
        values = split(value, ",")
        if len(values) > MAX_VALUES:
            raise too_costly(
                facet.expression,
                f"{facet.code} takes {MAX_VALUES} values at most, this has {len(values)}; ask in several searches",
            )
        if not all(values):
            raise refuse(
                facet.expression, f"{facet.code} has an empty value; leave the parameter or the comma out"
            )
        if facet.code in _ROWLESS:
            if modifier not in (None, "not"):
                raise not_understood(
                    facet.expression, f"{facet.code} has no modifier {modifier!r}; it has :not"
                )
            return _ROWLESS[facet.code](facet, modifier, values, query)
        if phonetic.hears(facet) and modifier is None:
            return phonetic.parse(facet, [unescape(each) for each in values], query)
        parse = nickname.parse if modifier == nickname.MODIFIER else _PARSERS[facet.kind]
        if not facet.aliases or facet.kind == "reference":
            return parse(facet, modifier, values, query)
        bases = [replace(self._registry.facet(alias.pid), code=facet.code) for alias in facet.aliases]
        if modifier in ("not", "not-in"):
            without = None if modifier == "not" else "in"
            return negated(any_of([parse(base, without, values, query) for base in bases]))
        return any_of([parse(base, modifier, values, query) for base in bases])

    def _check_modifier(self, facet: Facet, modifier: str | None, query: Query) -> None:
        served = modifiers(facet)
        if modifier is None or modifier in served:
            return
        if facet.kind == "reference" and modifier in query.definitions.type_number:
            targets = reference.allowed(facet, query)
            if modifier in targets:
                return
            hint = ", ".join(targets)
            raise refuse(facet.expression, f"{facet.code} does not refer to {modifier}; it refers to {hint}")
        types = reference.allowed(facet, query) if facet.kind == "reference" else ()
        what = f"{facet.code} is of type {facet.kind} and has no modifier {shortened(modifier)!r}"
        hint = suggestion(modifier, (*served, *types))
        if modifier == nickname.MODIFIER:
            hint = self._with_nicknames(facet.type)
        raise not_understood(facet.expression, f"{what}; it has :{', :'.join(served)}{hint}")

    def _with_nicknames(self, type: str) -> str:
        """Where on ``type`` nicknames are known."""
        facets = self._registry.facets(type)
        able = sorted(f"{code}:{nickname.MODIFIER}" for code, each in facets.items() if nickname.serves(each))
        return f"; nicknames are those of given names: use {' or '.join(able)}" if able else ""

    def _missing(self, facet: Facet, value: str) -> Predicate:
        if value not in ("true", "false"):
            raise refuse(facet.expression, f"{facet.code}:missing is true or false, not {shortened(value)!r}")
        if facet.code in special.ROWLESS:
            return And(()) if value == "false" else Or(())
        pids = [alias.pid for alias in facet.aliases if alias.only is None]
        if (
            len(pids) < len(facet.aliases) or not pids
        ):  # one that is restricted to a type is marked under its own pid
            pids.append(facet.pid)
        present = any_of([Present(pid) for pid in pids])
        return present if value == "false" else negated(present)

    def _links(self, facet: Facet, doing: str) -> tuple[Alias, ...]:
        """Where the references of ``facet`` stand, for ``doing`` (a chain, ``_has`` …)."""
        if facet.kind != "reference":
            raise refuse(
                facet.expression, f"{facet.code} is of type {facet.kind}; {doing} needs a reference parameter"
            )
        links = self._registry.references(facet.type, facet.code)
        if not links:
            raise not_understood(facet.expression, f"{facet.code} holds whole resources, not references")
        return links

    def _chain(
        self, facet: Facet, type: str | None, rest: str, value: str, query: Query, depth: int
    ) -> Predicate:
        def at(target: str) -> Predicate:
            return self.predicate(target, rest, value, query, depth + 1)

        return self._through(facet, type, rest, at, query)

    def _through(
        self, facet: Facet, type: str | None, rest: str, at: Callable[[str], Predicate], query: Query
    ) -> Predicate:
        """What refers by ``facet`` to a resource that fulfils the predicate ``at`` its type."""
        links = () if facet.canonical else self._links(facet, "a chain")
        paths = document_paths(facet) if facet.canonical else ()
        if type is not None:
            if type not in query.definitions.type_number:
                hint = suggestion(type, reference.allowed(facet, query))
                raise not_understood(facet.expression, f"{shortened(type)!r} is not a resource type{hint}")
            self._check_modifier(facet, type, query)
        targets = (type,) if type else self._branches(facet, rest, query)
        parts: list[Predicate] = []
        plain: dict[int, list[tuple[str, str]]] = {}
        problem: BadRequest | None = None
        for target in targets:
            try:
                part = at(target)
            except TooCostly:
                raise
            except BadRequest as error:  # an untyped chain goes by the types that can answer it
                if problem is None or isinstance(problem, NotUnderstood):
                    problem = error
                continue
            if facet.canonical:
                parts.append(Cites(facet.pid, target, part, paths))
            for link in links:
                if link.only not in (None, target):
                    continue
                if isinstance(part, Ids):  # a chain that asks for nothing but an id is a reference
                    plain.setdefault(link.pid, []).extend((target, id) for id in part.ids)
                else:
                    parts.append(Chain(link.pid, target, part))
                    parts.append(Contained(link.pid, target, part))
        parts.extend(Refers(pid, tuple(found)) for pid, found in plain.items())
        if not parts and problem is not None:
            raise problem
        return any_of(parts)

    def _branches(self, facet: Facet, rest: str, query: Query) -> tuple[str, ...]:
        """The types an untyped chain may lead to: those that know the next parameter."""
        allowed = reference.allowed(facet, query)
        code = rest.partition(".")[0].partition(":")[0]
        found = tuple(each for each in allowed if code == "_has" or self._knows(each, code))
        if len(found) > MAX_CHAIN_TYPES and code != "_id":
            wanted = shortened(f"{facet.code}:{found[0]}.{rest}")
            raise too_costly(facet.expression, f"{facet.code} refers to many types; name one, as in {wanted}")
        return found or allowed[:1]

    def _knows(self, type: str, code: str) -> bool:
        return code in self._registry.facets(type) or self.specials.serves(type, code)

    def _has(self, type: str, name: str, value: str, query: Query, depth: int) -> Predicate:
        pieces = name.split(":", 3)
        shape = (
            "_has is written _has:Type:reference:parameter=value, as in _has:Observation:patient:code=1234-5"
        )
        if len(pieces) != 4 or not all(pieces):
            raise refuse(f"{type}?{shortened(name)}", shape)
        _, source, code, rest = pieces
        if source not in query.definitions.type_number:
            hint = suggestion(source, query.definitions.resource_types)
            raise not_understood(f"{type}?_has", f"{shortened(source)!r} is not a resource type{hint}")
        facet = self.facet(source, code)
        links = () if facet.canonical else self._links(facet, "_has")
        if type not in reference.allowed(facet, query):
            raise refuse(facet.expression, f"{facet.code} of {source} does not refer to {type}")
        part = self.predicate(source, rest, value, query, depth + 1)
        if facet.canonical:
            return Cited(source, facet.pid, part, document_paths(facet))
        parts = [Has(source, link.pid, part) for link in links if link.only in (None, type)]
        return any_of(parts)
