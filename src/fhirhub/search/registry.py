"""The search parameters of a resource type, compiled: routes to their values, and who answers for whom.

An *alias* is a parameter that needs no rows: its expression is another parameter's, or the union of several
(combo-code = code | component-code), or another reference restricted to one type (patient = subject where it
is a Patient). It is found from the data by comparing the alternatives of the expressions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fhirhub.definitions.tables import OWN, Definitions, SearchParameter
from fhirhub.fhirpath.compile import Route, expression_routes
from fhirhub.search.parameters.base import Alias, Facet
from fhirhub.search.parameters.reference import CANONICAL
from fhirhub.search.parameters.special import ROWLESS, UNSERVED_PARAMETERS

Shape = frozenset[tuple[object, ...]]
"""What a parameter stands on: one entry for each route (and component), to be compared with others'."""


def _shape(facet: Facet) -> Shape:
    inner = tuple((component.kind, component.routes) for component in facet.components)
    plain = (Route(route.moves, route.type_name) for route in facet.routes)
    return frozenset((plain_route, facet.routes[n].resolves, inner) for n, plain_route in enumerate(plain))


def _restricted(shape: Shape, only: str) -> Shape:
    return frozenset((route, only, inner) for route, _, inner in shape)


def _cover(facet: Facet, bases: Iterable[Facet]) -> tuple[Alias, ...]:
    """The parameters whose union is ``facet``; () when there are none."""
    wanted = _shape(facet)
    onlys = sorted({route.resolves for route in facet.routes if route.resolves})
    found: list[Alias] = []
    covered: set[tuple[object, ...]] = set()
    for base in bases:
        if base.kind != facet.kind or not base.routes:
            continue
        shape = _shape(base)
        candidates = [(Alias(base.pid), shape)]
        if not any(route.resolves for route in base.routes):
            candidates += [(Alias(base.pid, only), _restricted(shape, only)) for only in onlys]
        for alias, part in candidates:
            if part <= wanted and not part <= covered:
                found.append(alias)
                covered |= part
    return tuple(found) if covered == wanted else ()


def _with_aliases(facets: dict[str, Facet]) -> dict[str, Facet]:
    """The facets with the aliases among them marked; plainer expressions stand for richer ones."""
    bases: list[Facet] = []
    marked = dict(facets)
    order = sorted(facets.values(), key=lambda f: (len(f.routes), any(r.resolves for r in f.routes), f.pid))
    for facet in order:
        aliases = _cover(facet, bases) if facet.routes and not facet.inline else ()
        if aliases:
            marked[facet.code] = replace(facet, aliases=aliases)
        else:
            bases.append(facet)
    return marked


class Registry:
    """Facets by type and code, compiled when a type is first asked for."""

    def __init__(
        self, definitions: Definitions, building: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        self.definitions = definitions
        self.building = building or {}
        """(type, code) of a parameter that is being indexed -> percent of the resources that have their rows."""
        self._facets: dict[str, dict[str, Facet]] = {}
        self._by_pid: dict[int, Facet] = {}

    def facets(self, type: str) -> dict[str, Facet]:
        """Code -> facet of the parameters served on ``type``; KeyError for what is no resource type."""
        found = self._facets.get(type)
        if found is None:
            parameters = self.definitions.search_parameters(type)
            own = {code: self._facet(each, parameters) for code, each in parameters.items() if _served(each)}
            # Parameters of one's own stand for themselves: they come and go, and nobody else's rows move for that.
            found = self._facets[type] = {
                **_with_aliases({code: facet for code, facet in own.items() if facet.pid < OWN}),
                **{code: facet for code, facet in own.items() if facet.pid >= OWN},
            }
            self._by_pid.update((facet.pid, facet) for facet in found.values())
        return found

    def facet(self, pid: int) -> Facet:
        """The facet of a pid that is served; KeyError otherwise."""
        if pid not in self._by_pid:
            self.facets(self.definitions.by_pid[pid].type)
        return self._by_pid[pid]

    def references(self, type: str, code: str) -> tuple[Alias, ...]:
        """Where the rows of the reference parameter ``code`` stand: pids, each with the one type that counts
        or None.

        This is what compartments, includes and chains go by. () when there is no such parameter.
        """
        facet = self.facets(type).get(code)
        if facet is None or facet.kind != "reference" or facet.canonical or facet.inline:
            return ()
        return facet.aliases or (Alias(facet.pid),)

    def aliases(self) -> dict[tuple[str, str], tuple[Alias, ...]]:
        """(type, code) -> aliases, for all types."""
        return {
            (type, code): facet.aliases
            for type in self.definitions.resource_types
            for code, facet in self.facets(type).items()
            if facet.aliases
        }

    def _facet(self, parameter: SearchParameter, siblings: dict[str, SearchParameter]) -> Facet:
        type, definitions = parameter.type, self.definitions
        routes: tuple[Route, ...] = ()
        if parameter.code not in ROWLESS:
            routes = expression_routes(parameter.expression, type, definitions, type)
        components: list[Facet] = []
        for code, expression in parameter.components:
            focus = routes[0].type_name
            inner = expression_routes(expression, focus, definitions, type)
            components.append(_component(siblings[code], inner))
        types = {route.type_name for route in routes}
        return Facet(
            type,
            parameter.code,
            parameter.pid,
            parameter.kind,
            routes,
            _targets(parameter, routes),
            tuple(components),
            inline=types == {"Resource"},
            canonical=parameter.kind == "reference" and bool(types) and types <= CANONICAL,
        )


def _served(parameter: SearchParameter) -> bool:
    return (
        bool(parameter.expression)
        and parameter.kind != "special"
        and parameter.code not in UNSERVED_PARAMETERS
    )


def _component(parameter: SearchParameter, routes: tuple[Route, ...]) -> Facet:
    """One component of a composite.

    Its expression decides between token and reference: HL7 published DocumentReference's relationship with
    the parameters of its two halves exchanged.
    """
    types = {route.type_name for route in routes}
    kind = parameter.kind
    if kind in ("token", "reference"):
        kind = "reference" if types <= CANONICAL | {"Reference"} else "token"
    targets = tuple(sorted({target for route in routes for target in route.targets}))
    return Facet(parameter.type, parameter.code, parameter.pid, kind, routes, targets)


def _targets(parameter: SearchParameter, routes: tuple[Route, ...]) -> tuple[str, ...]:
    """What a reference parameter may lead to: as published, and where it is restricted, no more than that."""
    onlys = {route.resolves for route in routes}
    if onlys and None not in onlys:
        return tuple(sorted(only for only in onlys if only))
    return parameter.targets
