"""What to say when a search finds nothing, but a close relative of it would."""

from __future__ import annotations

from dataclasses import replace

from fhirhub.errors import Issue
from fhirhub.hub import Hub
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page

_PART = "component-"


async def hint(hub: Hub, search: SearchRequest, page: Page, base: str) -> Issue | None:
    """A note that the code asked for occurs in components (a systolic pressure in the panel), when it does."""
    if page.matches or page.total or search.cursor is not None or not search.type:
        return None
    known = hub.parser.registry.facets(search.type)
    own = [
        name
        for name, _ in search.applied
        if _PART + name.partition(":")[0] in known and ":missing" not in name
    ]
    if not own:
        return None
    moved = [(_PART + name if name in own else name, value) for name, value in search.applied]
    other = hub.parser.parse(search.type, moved, bases=(base,))
    other = replace(other, count=1, sort=(), includes=(), total="none", summary="false", elements=())
    if not (await hub.store.search(other)).matches:
        return None
    names = ", ".join(dict.fromkeys(_PART + name for name in own))
    text = f"No {search.type} has that as its own, but components of some have it: search by {names}"
    combined = "combo-" + own[0].partition(":")[0]
    text += f", or by {combined} for both." if combined in known else "."
    return Issue("informational", text, severity="information")
