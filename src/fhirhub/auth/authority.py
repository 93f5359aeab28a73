"""Grant in, Access out: scopes AND role AND client AND labels AND consents, for every action and type.

Nothing here looks at a request or a resource. The result is predicates, which the store puts on every row before any
limit (:mod:`fhirhub.search.sight`). What no rule allows is refused. docs/access.md traces one request through.
"""

from __future__ import annotations

import time
from asyncio import Lock
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from fhirhub.auth import consent
from fhirhub.auth.access import Access
from fhirhub.auth.compartment import Membership
from fhirhub.auth.consent import PatientConsent
from fhirhub.auth.criteria import Criteria
from fhirhub.auth.decision import Decision
from fhirhub.auth.denial import Identity, Meaning, Withheld
from fhirhub.auth.grant import Grant
from fhirhub.auth.policy import Policies, PolicyError
from fhirhub.auth.rules import Reach, Rules, patient_of
from fhirhub.auth.scope import LETTERS, Scope
from fhirhub.definitions.tables import Definitions
from fhirhub.exchange import Caller
from fhirhub.search.parse import SearchParser
from fhirhub.search.registry import Registry
from fhirhub.search.sight import NAME, REFER, Sight

KEPT = 4096
"""Accesses that are kept."""
LoadConsents = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
"""The Consent resources that are active, as documents: read after the stamp of the grant was."""
LoadAffiliations = Callable[[str], Awaitable[Collection[str]]]
"""``Practitioner/1`` -> the PractitionerRoles and Organizations it belongs to, as references."""


class Authority:
    """Decides by one set of policies; one for each process.

    Without ``load_consents`` there are none. Without ``load_affiliations``, what a consent denies to an organization
    it denies to everybody who is not known to belong to another. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        definitions: Definitions,
        registry: Registry,
        parser: SearchParser,
        policies: Policies,
        load_consents: LoadConsents | None = None,
        load_affiliations: LoadAffiliations | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.definitions = definitions
        self.policies = policies
        self.criteria = Criteria(parser)
        membership = Membership(definitions, registry, self.criteria, policies.boundary)
        self.rules = Rules(self.criteria, membership, policies)
        self._meaning = Meaning(definitions, self.criteria, membership, policies.opaque)
        self._load_consents = load_consents
        self._load_affiliations = load_affiliations
        self._clock = clock
        self._consents: tuple[PatientConsent, ...] = ()
        self._version = -1
        self._reading = Lock()
        self._kept: OrderedDict[tuple[str, int, int], tuple[Access, int | None]] = OrderedDict()

    async def access(self, grant: Grant) -> Access:
        """What ``grant`` allows now."""
        found = self.kept(grant)
        if found is not None:
            return found
        await self._read_consents(grant.stamp[1])
        consents, version = self._consents, self._version
        access, until = self.decide(grant, consents, await self._affiliations(grant))
        key = (grant.id, grant.stamp[0], max(grant.stamp[1], version))
        self._kept[key] = access, until
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return access

    def kept(self, grant: Grant) -> Access | None:
        """What ``grant`` allows now, if that has been decided before and nothing has changed since."""
        # The consents that were read may be later ones than the grant was looked up with, never earlier.
        key = (grant.id, grant.stamp[0], max(grant.stamp[1], self._version))
        found = self._kept.get(key)
        if found is None or not (found[1] is None or self._now() < found[1]):
            return None
        self._kept.move_to_end(key)
        return found[0]

    def check(self) -> None:
        """Raise PolicyError when a policy cannot be applied; for the start of the server."""
        for role in self.policies.roles.values():
            self.rules.check(role)

    def check_client(self, policy: Mapping[str, Any] | None) -> None:
        """Raise PolicyError when the policy of a client cannot be applied; for its registration."""
        role = self.policies.client(policy)
        if role is not None:
            self.rules.check(role)

    def decide(
        self,
        grant: Grant,
        consents: Sequence[PatientConsent] = (),
        affiliations: Collection[str] | None = None,
    ) -> tuple[Access, int | None]:
        """What ``grant`` allows, worked out anew, and until when that stays so (microseconds since 1970 UTC)."""
        scopes = usable(grant)
        withheld = Withheld(consents, self._identity(grant, affiliations), self._now(), self._meaning)
        decision = Decision(grant, scopes, self.rules, withheld)
        types = self.definitions.resource_types
        sight = Sight(
            within={letter: Reach(types, decision, letter) for letter in (*LETTERS, REFER, NAME)},
            hidden=decision.hidden,
            writable=decision.writable,
            holder=_holder(grant, scopes),
            about=frozenset(f"Patient/{id}" for id in decision.confined),
        )
        access = Access(sight, _caller(grant), scopes, levels(grant), labels=self.policies.labels)
        return access, withheld.until

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    async def _read_consents(self, version: int) -> None:
        """See to it that the consents are those of ``version`` or later."""
        if self._load_consents is None or version <= self._version:
            return
        async with self._reading:
            if version > self._version:
                documents = await self._load_consents()
                types = self.definitions.type_number
                read = (consent.read(document, types) for document in documents)
                self._consents = tuple(each for each in read if each is not None)
                self._version = version

    async def _affiliations(self, grant: Grant) -> Collection[str] | None:
        """The organizations and roles of the user; None when that cannot be told, or makes no difference."""
        if self._load_affiliations is None or not self._consents or not grant.fhir_user:
            return None
        return await self._load_affiliations(grant.fhir_user)

    def _identity(self, grant: Grant, affiliations: Collection[str] | None) -> Identity:
        try:
            policy = self.policies.client(grant.client_policy)
        except PolicyError:
            policy = None
        own = {f"Device/{grant.client}", *(affiliations or ())}
        own |= {name for name in (grant.fhir_user, policy.organization if policy else "") if name}
        service = grant.kind == "system"
        told = affiliations is not None or (service and policy is not None and bool(policy.organization))
        patient = patient_of(grant.fhir_user) if grant.role == "patient" else None
        return Identity(frozenset(own), grant.client, patient, service, told)


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
