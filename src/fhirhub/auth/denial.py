"""What consents keep from one caller, as predicates: :mod:`fhirhub.auth.consent` read them.

Two readings of a provision stand side by side. *At most* what a denial could mean is withheld; of an exception to it
*at least* what it surely permits is given back. Where the two differ, the caller gets less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fhirhub.auth.compartment import Membership
from fhirhub.auth.consent import ANYBODY, NAMED, Condition, PatientConsent, Provision, boundaries
from fhirhub.auth.criteria import Criteria
from fhirhub.auth.logic import every, some
from fhirhub.definitions.tables import Definitions
from fhirhub.errors import FhirError
from fhirhub.search.predicate import Ids, Not, Predicate
from fhirhub.search.sight import ALL, NONE

RESOLVED = ("Device", "Patient", "Practitioner", "RelatedPerson")
"""Kinds of actors of which it is known whether a caller is one."""
AFFILIATIONS = ("Organization", "PractitionerRole")
"""Kinds of actors that somebody can be known to belong to."""
CONSENT = "Consent"
CODED = frozenset({"CodeableConcept", "Coding"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller as consents name one."""

    references: frozenset[str]
    """``Practitioner/1``, ``Device/<client id>`` and, if known, roles and organizations."""
    client: str
    patient: str | None = None
    """The patient that the caller is: nobody is kept from the own record unless named."""
    service: bool = False
    affiliated: bool = False
    """Whether the roles and organizations are known."""

    def surely(self, actor: str) -> bool:
        """Whether the caller is this actor without doubt."""
        return actor == NAMED + self.client or actor in self.references

    def perhaps(self, actor: str) -> bool:
        """Whether the caller may be this actor."""
        if actor == ANYBODY or actor.startswith(NAMED) or self.surely(actor):
            return True
        kind = actor.partition("/")[0]
        return kind not in RESOLVED and not (kind in AFFILIATIONS and self.affiliated)


class Withheld:
    """What the consents in force keep from one caller."""

    def __init__(self, consents: Iterable[PatientConsent], who: Identity, now: int, meaning: Meaning) -> None:
        self._meaning = meaning
        self._seen: dict[Provision, list[str]] = defaultdict(list)
        self._created: dict[Provision, list[str]] = defaultdict(list)
        self.until: int | None = None
        """When something begins or ceases to hold, microseconds since 1970 UTC; None for never."""
        for consent in consents:
            if consent.services_only and not who.service:
                continue
            later = [moment for moment in boundaries(consent.provision) if moment > now]
            self.until = min([*later, *(() if self.until is None else (self.until,))], default=None)
            own = who.patient == consent.patient
            for provision in applying(consent.provision, who, now, own):
                self._seen[provision].append(consent.patient)
                if provision.creating:
                    self._created[provision].append(consent.patient)

    def __bool__(self) -> bool:
        return bool(self._seen)

    def outside(self, letter: str, type: str) -> Predicate:
        """The condition that a resource of ``type`` is not withheld from the action ``letter``."""
        among = self._created if letter == "c" else self._seen
        return every(
            Not(denied)
            for provision, patients in among.items()
            if (denied := self._meaning.denied(provision, type, tuple(dict.fromkeys(patients)))) != NONE
        )


def applying(provision: Provision, who: Identity, now: int, own: bool) -> list[Provision]:
    """The denials in ``provision`` that may concern ``who`` now, without the exceptions that surely do not count.

    ``own``: it is the caller's own record, for which only a caller that is surely named is meant.
    """
    if not provision.deny:
        found = [each for inner in provision.exceptions for each in applying(inner, who, now, own)]
        return list(dict.fromkeys(found))
    named = any(who.surely(actor) for actor in provision.actors)
    concerned = named if own else (not provision.actors or any(map(who.perhaps, provision.actors)))
    if not concerned or not _holds(provision, now):
        return []
    kept = tuple(given for inner in provision.exceptions if (given := permitted(inner, who, now)) is not None)
    return [Provision(True, provision.condition, creating=provision.creating, exceptions=kept)]


def permitted(provision: Provision, who: Identity, now: int) -> Provision | None:
    """An exception to a denial, if it surely counts for ``who`` now; what it takes back again is kept."""
    concerned = not provision.actors or any(map(who.surely, provision.actors))
    if provision.deny or not provision.condition.exact or not concerned or not _holds(provision, now):
        return None
    again = [each for inner in provision.exceptions for each in applying(inner, who, now, False)]
    return Provision(False, provision.condition, exceptions=tuple(again))


def _holds(provision: Provision, now: int) -> bool:
    started = provision.start is None or provision.start <= now
    return started and (provision.end is None or now <= provision.end)


class Meaning:
    """Conditions of consents as predicates on the resources of a type."""

    def __init__(
        self, definitions: Definitions, criteria: Criteria, membership: Membership, opaque: frozenset[str]
    ) -> None:
        self._definitions = definitions
        self._criteria = criteria
        self._membership = membership
        self._opaque = opaque
        self._coded: dict[str, tuple[str, ...]] = {}

    def denied(self, provision: Provision, type: str, patients: tuple[str, ...]) -> Predicate:
        """What of the ``patients``' data of ``type`` is withheld.

        Not the consents, unless the provision names them: else nobody whom one concerns could withdraw it.
        """
        condition = provision.condition
        named = condition.types or [kind for kind, _ in condition.instances or ()]
        if type == CONSENT and CONSENT not in named:
            return NONE
        return every((self._membership.about(type, patients), self._data(provision, type)))

    def _data(self, provision: Provision, type: str) -> Predicate:
        """The data that a provision is about, without those of its exceptions."""
        found = self._condition(provision.condition, type, widely=provision.deny)
        if found == NONE:
            return NONE
        parts = [found]
        for inner in provision.exceptions:
            excepted = self._data(inner, type)
            if excepted == ALL:
                return NONE
            if excepted != NONE:
                parts.append(Not(excepted))
        return every(parts)

    def _condition(self, condition: Condition, type: str, widely: bool) -> Predicate:
        """``widely``: what cannot be told counts as meant."""
        if condition.types is not None and type not in condition.types:
            return NONE
        parts: list[Predicate] = []
        if condition.instances is not None:
            ids = tuple(id for kind, id in condition.instances if kind == type)
            parts.append(Ids(ids) if ids else NONE)
        if condition.labels:
            parts.append(self._criterion(type, "_security", ",".join(condition.labels)))
        if condition.codes:
            parts.append(self._codes(type, condition.codes, widely))
        if condition.since or condition.until:
            parts.append(self._dated(type, condition.since, condition.until, widely))
        return every(parts)

    def _codes(self, type: str, codes: Sequence[str], widely: bool) -> Predicate:
        if widely and type in self._opaque:
            return ALL
        found = [self._criterion(type, name, ",".join(codes)) for name in self._parameters(type)]
        if widely and "medication" in self._definitions.search_parameters(type):
            # The code may stand in the Medication that is referred to.
            found.append(self._criterion(type, "medication:missing", "false"))
        return some(found)

    def _parameters(self, type: str) -> tuple[str, ...]:
        """The token parameters of ``type`` that stand on codes."""
        found = self._coded.get(type)
        if found is None:
            facets = self._criteria.facets(type).values()
            found = self._coded[type] = tuple(
                facet.code
                for facet in facets
                if facet.kind == "token"
                and facet.code[0] != "_"
                and any(route.type_name in CODED for route in facet.routes)
            )
        return found

    def _dated(self, type: str, since: str | None, until: str | None, widely: bool) -> Predicate:
        name = self._definitions.sort_date.get(type)
        if name is None:
            return ALL if widely else NONE
        ends = [f"ge{since}"] if since else []
        ends += [f"le{until}"] if until else []
        within = every(self._criterion(type, name, end, ALL if widely else NONE) for end in ends)
        if not widely:
            # Both ends of one date inside, which "not outside" says whatever the number of dates.
            beyond = [f"lt{since}"] if since else []
            beyond += [f"gt{until}"] if until else []
            return every((within, *(Not(self._criterion(type, name, end, ALL)) for end in beyond)))
        return some((within, self._criterion(type, f"{name}:missing", "true")))

    def _criterion(self, type: str, name: str, value: str, otherwise: Predicate = NONE) -> Predicate:
        """A criterion, or ``otherwise`` if there is no asking for it (a code outside of a required value set)."""
        try:
            return self._criteria.criterion(type, name, value)
        except FhirError:
            return otherwise
