"""What the record says about who may see it: consents, and the organizations that people work for.

:class:`fhirhub.auth.authority.Authority` asks when the stamp of ``access_stamp`` has moved; what it is told is at least
as new as the stamp, because it is read after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fhirhub.resource import json
from fhirhub.store.store import Store

PAGE = 1000


class Consents:
    """Reads them from ``store``, whoever asks: nobody is shown what they are."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def active(self) -> list[dict[str, Any]]:
        """The Consent resources that are in force, whatever they say."""
        return [document async for document in self._found("Consent", [("status", "active")])]

    async def affiliations(self, fhir_user: str) -> list[str]:
        """The PractitionerRoles of ``Practitioner/1`` and the Organizations these are for, as references."""
        if not fhir_user.startswith("Practitioner/"):
            return []
        found: list[str] = []
        async for role in self._found("PractitionerRole", [("practitioner", fhir_user)]):
            if role.get("active") is False:
                continue
            found.append(f"PractitionerRole/{role['id']}")
            organization = (role.get("organization") or {}).get("reference")
            if isinstance(organization, str):
                found.append(organization)
        return found

    async def _found(self, type: str, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[dict[str, Any]]:
        request = self._store.indexing.parser.parse(type, [*parameters, ("_count", str(PAGE))])
        while True:
            page = await self._store.search(request)
            for stored in page.matches:
                yield json.parse(stored.render())
            if page.next is None:
                return
            request = replace(request, cursor=page.next)
