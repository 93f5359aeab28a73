"""Grant in, Access out: scopes AND role AND client AND labels AND consents, for every action and type.

Nothing here looks at a request or a resource. The result is predicates, which the store puts on every row before any
limit (:mod:`fhirhub.search.sight`). What no rule allows is refused. docs/access.md traces one request through.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

from fhirhub.auth.access import Access
from fhirhub.auth.compartment import Membership
from fhirhub.auth.criteria import Criteria
from fhirhub.auth.decision import Decision
from fhirhub.auth.grant import Grant
from fhirhub.auth.policy import Policies
from fhirhub.auth.rules import Reach, Rules
from fhirhub.auth.scope import LETTERS, Scope
from fhirhub.definitions.tables import Definitions
from fhirhub.exchange import Caller
from fhirhub.search.parse import SearchParser
from fhirhub.search.registry import Registry
from fhirhub.search.sight import REFER, Sight

KEPT = 4096
"""Accesses that are kept."""
LoadConsents = Callable[[], Awaitable[list[dict[str, Any]]]]
"""The active Consent resources that deny something, as documents with their ids."""


async def _no_consents() -> list[dict[str, Any]]:
    return []


class Authority:
    """Decides by one set of policies; one for each process."""

    def __init__(
        self,
        definitions: Definitions,
        registry: Registry,
        parser: SearchParser,
        policies: Policies,
        load_consents: LoadConsents = _no_consents,
    ) -> None:
        self.definitions = definitions
        self.policies = policies
        self.criteria = Criteria(parser)
        self.rules = Rules(
            self.criteria, Membership(definitions, registry, self.criteria, policies.boundary), policies
        )
        self._load_consents = load_consents
        self._kept: OrderedDict[tuple[str, tuple[int, int]], Access] = OrderedDict()

    async def access(self, grant: Grant) -> Access:
        """What ``grant`` allows now."""
        key = (grant.id, grant.stamp)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        found = self._kept[key] = self.decide(grant)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def check(self) -> None:
        """Raise PolicyError when a policy cannot be applied; for the start of the server."""
        for role in self.policies.roles.values():
            self.rules.check(role)

    def decide(self, grant: Grant) -> Access:
        """What ``grant`` allows, worked out anew."""
        scopes = usable(grant)
        decision = Decision(grant, scopes, self.rules)
        types = self.definitions.resource_types
        reach = {letter: Reach(types, decision, letter) for letter in (*LETTERS, REFER)}
        sight = Sight(
            within=reach,
            hidden=decision.hidden,
            writable=decision.writable,
            holder=_holder(grant, scopes),
            about=frozenset(f"Patient/{id}" for id in decision.confined),
        )
        return Access(sight, _caller(grant), scopes, levels(grant))


def usable(grant: Grant) -> tuple[Scope, ...]:
    """The resource scopes of ``grant`` that can count: those of its levels."""
    return tuple(scope for scope in grant.scopes if scope.level in levels(grant))


def levels(grant: Grant) -> tuple[str, ...]:
    """The levels of scopes that count for ``grant``: ``patient/`` takes a patient in context."""
    if grant.kind == "system":
        return ("system",)
    return ("patient", "user") if grant.patient else ("user",)


def _caller(grant: Grant) -> Caller:
    return Caller(
        user=grant.user or "",
        fhir_user=grant.fhir_user or "",
        role=grant.role or "",
        client=grant.client,
        client_name=grant.client_name,
        grant=grant.id,
        issuer=grant.issuer,
        reason=grant.reason,
    )


def _holder(grant: Grant, scopes: tuple[Scope, ...]) -> str:
    """Equal for grants of the same person, client, scopes and context: their page links are interchangeable."""
    told = (
        grant.kind, grant.client, grant.issuer, grant.user, grant.fhir_user, grant.role, grant.patient,
        grant.encounter, bool(grant.reason), *sorted(scope.text for scope in scopes),
    )  # fmt: skip
    return sha256(repr(told).encode()).hexdigest()[:32]
