"""How a search would be carried out, as far as its caller may know.

Estimates tell how much there is of something, and what is looked up for them whether there is anything. So they are for
those who may search all there is; everybody else is told the plan as the rules make it, and whether the search would be
refused, which making it would tell as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fhirhub.auth.access import Access
from fhirhub.errors import BadRequest
from fhirhub.search.across import combined
from fhirhub.search.narrowing import narrowed
from fhirhub.search.request import SearchRequest
from fhirhub.store.explain import Explained
from fhirhub.store.outline import outlined, suggestions
from fhirhub.store.plan import Plan
from fhirhub.store.store import Store

COSTLY = "too-costly"
_FOLLOWED = "what it has to follow first (urls, hierarchies, texts) is too much; add a criterion there that few fulfil"


@dataclass(frozen=True, slots=True)
class Planned:
    """``driver`` in words; ``refusal`` is why the search would be refused as too costly, '' when it would not.

    ``conditions`` (each with the resources expected to fulfil it), ``entries`` (of indexes, that a first page looks at)
    and ``is_empty`` (nothing can match) are estimates: None and () for those who are not told.
    """

    plan: Plan
    driver: str
    limit: float
    refusal: str
    advice: list[str] = field(default_factory=list)
    conditions: tuple[tuple[str, float], ...] = ()
    entries: float | None = None
    is_empty: bool | None = None


async def planned(store: Store, access: Access, request: SearchRequest) -> Planned:
    """The plan of ``request`` by somebody with ``access``.

    Raises what the search itself would be refused with, except for what it would cost.
    """
    sight, searcher = access.sight, store.searcher
    asked = narrowed(request, sight, store.definitions, access.require)
    limit = searcher.guard.ceiling
    found, why, help = await _estimated(store, asked)
    sees_all = all(sight.is_open("s", type) for type in store.definitions.resource_types)
    if found is not None and sees_all:
        advice = list(dict.fromkeys([*found.advice, *suggestions(request, found.plan)]))
        return Planned(
            found.plan,
            found.driver,
            limit,
            why,
            advice,
            tuple(found.parts),
            found.cost.entries,
            found.is_empty,
        )
    types = request.types or (request.type,)
    within = combined(types, [sight.of("s", each) for each in types])
    plan, driver = outlined(store.definitions, request, within, searcher.main_date(request.type))
    return Planned(plan, driver, limit, why if sees_all else help, suggestions(request, plan))


async def _estimated(store: Store, asked: SearchRequest) -> tuple[Explained | None, str, str]:
    """The real plan, and why it would be refused: with numbers, and without."""
    try:
        found = await store.planned(asked)
    except BadRequest as error:
        if error.issues[0].code != COSTLY:
            raise
        return None, error.issues[0].text, f"This search is too costly: {_FOLLOWED}."
    if found.is_empty or asked.count == 0 or asked.summary == "count":
        # Nothing is looked for; what is only counted is estimated where counting would take long.
        return found, "", ""
    try:
        found.cost.check(store.searcher.guard, asked.type or "_type")
    except BadRequest as error:
        return found, error.issues[0].text, f"This search is too costly: {found.cost.worst[2]}."
    return found, "", ""
