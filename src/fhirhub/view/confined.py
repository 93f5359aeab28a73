"""What is known beforehand of resources within reach of a caller who is confined to patients."""

from __future__ import annotations

from collections.abc import Sequence

from fhirhub.search.narrowing import confines
from fhirhub.search.sight import Sight
from fhirhub.view.pointing import pointing


def naming(sight: Sight, action: str, type: str, ids: Sequence[str]) -> list[str] | None:
    """What each of ``ids`` names if ``action`` ever reached it: a patient that the caller is confined to (any of those
    returned). None where that cannot be said."""
    within, about = sight.of(action, type), sight.about
    is_told = confines(within, sight) and next(pointing(within), None) is None
    return sorted(about) if is_told and about.isdisjoint(f"{type}/{id}" for id in ids) else None
