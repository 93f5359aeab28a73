"""What to say when a search finds nothing, but a close relative of it would."""

from __future__ import annotations

from fhirhub.errors import Issue
from fhirhub.hub import Hub
from fhirhub.search.parameters.special import RESULT_PARAMETERS
from fhirhub.search.request import SearchRequest
from fhirhub.store.records import Page

_PART = "component-"
_ONE = ("_count", "1")


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
    criteria = [pair for pair in search.applied if pair[0].partition(":")[0] not in RESULT_PARAMETERS]
    moved = [(_PART + name if name in own else name, value) for name, value in criteria]
    holder = hub.access.sight.holder
    other = hub.parser.understood(search.type, (*moved, _ONE), False, (base,), False, holder)
    if not (await hub.store.search(other)).matches:
        return None
    names = ", ".join(dict.fromkeys(_PART + name for name in own))
    text = f"No {search.type} has that as its own, but components of some have it: search by {names}"
    combined = "combo-" + own[0].partition(":")[0]
    text += f", or by {combined} for both." if combined in known else "."
    return Issue("informational", text, severity="information")
