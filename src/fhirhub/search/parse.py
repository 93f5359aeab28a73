"""The query string of a search to a SearchRequest: https://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import Issue, NotFound
from fhirhub.search.across import across, types_of
from fhirhub.search.filters import Filters, not_understood, suggestion
from fhirhub.search.limits import MAX_CRITERIA, MAX_NAME, MAX_PARAMETERS
from fhirhub.search.parameters.base import Budget, NotUnderstood, Query, refuse, shortened, too_costly
from fhirhub.search.predicate import And, Contained, OfType, Or, Predicate
from fhirhub.search.registry import Registry
from fhirhub.search.request import SearchRequest
from fhirhub.search.results import IGNORED, Fields, Results
from fhirhub.search.understood import Understood

_INCLUDES = ("_include", "_revinclude")


class SearchParser:
    """Parses searches.

    ``secret`` is the store's hash key; ``clock`` gives seconds since 1970 (what ``ap`` measures a date
    against).
    """

    def __init__(
        self,
        definitions: Definitions,
        secret: bytes,
        registry: Registry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.definitions = definitions
        self.registry = registry or Registry(definitions)
        self._secret = secret
        self._clock = clock
        self._filters = Filters(self.registry)
        self._results = Results(self.registry, self._filters)
        self._understood = Understood()

    def query(self, bases: Sequence[str] = ()) -> Query:
        """The context of one parse; ``bases`` are the urls (no final slash) under which this server is
        known.
        """
        return Query(
            self.definitions, self._secret, tuple(bases), int(self._clock() * 1_000_000), Budget(MAX_CRITERIA)
        )

    def criterion(self, type: str, name: str, value: str, bases: Sequence[str] = ()) -> Predicate:
        """One criterion, for callers that build searches themselves."""
        return self._filters.predicate(type, name, value, self.query(bases))

    def understood(
        self,
        type: str,
        parameters: tuple[tuple[str, str], ...],
        lenient: bool,
        bases: tuple[str, ...],
        contained: bool,
        asker: str,
    ) -> SearchRequest:
        """As :meth:`parse`; what ``asker`` asks again is the same object again (:class:`Understood`)."""
        asked = (type, parameters, lenient, bases, contained, asker)
        request = self._understood.get(asked)
        if request is None:
            request = self.parse(type, parameters, lenient=lenient, bases=bases, contained=contained)
            self._understood.keep(asked, request)
        return request

    def parse(
        self,
        type: str,
        parameters: Sequence[tuple[str, str]],
        *,
        lenient: bool = False,
        bases: Sequence[str] = (),
        contained: bool = False,
    ) -> SearchRequest:
        """The search for resources of ``type``; ``parameters`` are percent-decoded (name, value) pairs in
        order.

        Raises BadRequest for what is unknown or malformed, with ``Type?parameter`` as the issue's expression.
        With ``lenient``, unknown parameters and modifiers are left out and noted in the request instead.
        NotFound when there is no such type. ``contained`` says that the caller can show what contains the matches.
        """
        self._check(type, parameters)
        query = self.query(bases)
        given: Fields = {}
        criteria: list[Predicate] = []
        applied: list[tuple[str, str]] = []
        notes: list[Issue] = []
        seen: set[str] = set()
        for name, value in parameters:
            if name in IGNORED:
                continue
            try:
                self._one(type, name, value, query, given, criteria, seen)
            except NotUnderstood as error:
                if not lenient:
                    raise
                notes.extend(
                    replace(issue, severity="warning", text=f"ignored: {issue.text}")
                    for issue in error.issues
                )
                continue
            if name != "_cursor":
                applied.append((name, str(given["count"]) if name == "_count" else value))
        where: Predicate = criteria[0] if len(criteria) == 1 else And(tuple(criteria))
        if given.get("summary") == "count":
            given["total"] = "accurate"
        request = SearchRequest(type, where, applied=tuple(applied), notes=tuple(notes), **given)
        if request.contained == "false":
            return request
        if not contained:
            raise not_understood(
                f"{type}?_contained", "contained resources are found by searches of one type only"
            )
        return containing(request, self.definitions)

    def parse_across(
        self,
        parameters: Sequence[tuple[str, str]],
        *,
        lenient: bool = False,
        bases: Sequence[str] = (),
        types: tuple[str, ...] | None = None,
    ) -> SearchRequest:
        """The search across the types that ``_type`` names, or all of ``types`` (by default, of all there are).

        Raises BadRequest as :meth:`parse` does.
        """
        named = any(name == "_type" for name, _ in parameters)
        wanted = types_of(parameters, types or self.definitions.resource_types)

        def parse(type: str, given: Sequence[tuple[str, str]]) -> SearchRequest:
            return self.parse(type, given, bases=bases)

        return across(parse, wanted, parameters, named=named or types is not None, lenient=lenient)

    def _check(self, type: str, parameters: Sequence[tuple[str, str]]) -> None:
        if type not in self.definitions.type_number:
            hint = suggestion(type, self.definitions.resource_types)
            raise NotFound(Issue("not-supported", f"{shortened(type)!r} is not a resource type{hint}"))
        if len(parameters) > MAX_PARAMETERS:
            raise too_costly(
                type,
                f"a search takes {MAX_PARAMETERS} parameters at most, this one has {len(parameters)};"
                " join alternatives by commas, or ask in several searches",
            )

    def _one(
        self,
        type: str,
        name: str,
        value: str,
        query: Query,
        given: Fields,
        criteria: list[Predicate],
        seen: set[str],
    ) -> None:
        """Apply one parameter: a criterion is added to ``criteria``, what shapes the answer to ``given``."""
        if len(name) > MAX_NAME:
            raise refuse(f"{type}?{shortened(name)}", "this parameter name is too long")
        if not _storable(name) or not _storable(value):
            raise refuse(type, "a search holds a character that no text can: NUL, or half of a pair")
        head = name.partition(":")[0]
        if head in _INCLUDES:
            given["includes"] = self._results.include(type, given.get("includes", ()), name, value)
            return
        apply = self._results.single.get(head)
        if apply is None:
            criteria.append(self._filters.predicate(type, name, value, query))
            return
        if name != head:
            raise not_understood(f"{type}?{head}", f"{head} takes no modifier")
        if name in seen:
            raise refuse(f"{type}?{name}", f"{name} may be given only once")
        seen.add(name)
        given.update(apply(type, name, value))


def containing(request: SearchRequest, definitions: Definitions) -> SearchRequest:
    """``request``, which asks for contained resources, as a search for what contains them."""
    type, where = request.type, request.where
    for sort in request.sort:
        if sort.code not in ("_id", "_lastUpdated"):
            text = (
                f"what contains a {type} cannot be sorted by its {sort.code}; it can by _lastUpdated and _id"
            )
            raise not_understood(f"{type}?_sort", text)
    if request.includes:
        raise not_understood(f"{type}?_include", "with _contained, nothing can be included; leave it out")
    found: Predicate = Contained(0, type, where)
    if request.contained == "both":
        found = Or((And((OfType((type,)), where)), found))
    able = definitions.resource_types
    types = tuple(each for each in able if "contained" in definitions.types[each].properties or each == type)
    return replace(request, type="", types=types, where=found, inside=(type, where))


def _storable(text: str) -> bool:
    """Whether the store can compare with ``text``: no NUL, no lone surrogates."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
