"""The single rules, each on its own: of a level of scopes, of a role's policy, of security labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from fhirhub.auth.compartment import Membership
from fhirhub.auth.criteria import Criteria
from fhirhub.auth.logic import every, some
from fhirhub.auth.policy import PLACEHOLDERS, Label, Policies, PolicyError, Role, Rule
from fhirhub.search.predicate import Not, Predicate
from fhirhub.search.sight import ALL, NONE, REFER

_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,60})/([A-Za-z0-9.-]{1,64})", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
SAMPLES: Mapping[str, str] = {"{patient}": "example", "{fhirUser}": "Practitioner/example"}
"""What policies are tried with before anybody uses them."""


def patient_of(fhir_user: str | None) -> str | None:
    """The id of the patient that a user is; None for others.

    A RelatedPerson is no patient: acting for somebody else takes a grant of its own.
    """
    found = _REFERENCE.fullmatch(fhir_user or "")
    return found[2] if found and found[1] == "Patient" else None


def placeholders(fhir_user: str | None, patient: str | None) -> dict[str, str]:
    """What stands for the placeholders of policies; those that cannot be filled are left out."""
    found: dict[str, str] = {}
    if patient and _ID.fullmatch(patient):
        found["{patient}"] = patient
    if fhir_user and _REFERENCE.fullmatch(fhir_user):
        found["{fhirUser}"] = fhir_user
    return found


class Rules:
    """What each rule comes to for a type."""

    def __init__(self, criteria: Criteria, membership: Membership, policies: Policies) -> None:
        self.criteria = criteria
        self.membership = membership
        self.policies = policies

    def of_level(self, level: str, letter: str, type: str, patient: str | None) -> Predicate:
        """The reach of scopes of ``level``, whatever they name. For ``patient/``: the record of ``patient``, and
        to look at what is shared by all.
        """
        if level != "patient":
            return ALL
        if patient is None:
            return NONE
        if type in self.policies.boundary.shared:
            return ALL if letter in ("r", "s", REFER) else NONE
        return self.membership.of(type, patient)

    def of_role(
        self, role: Role, letter: str, type: str, own: str | None, filled: Mapping[str, str]
    ) -> Predicate:
        """The reach of a role's policy: any of its rules. ``own`` is the patient that the user is."""
        wanted = "rs" if letter == REFER else letter
        return some(
            self.of_rule(rule, type, own, filled)
            for rule in role.rules
            if type in rule.types and any(sign in rule.may for sign in wanted)
        )

    def of_rule(self, rule: Rule, type: str, own: str | None, filled: Mapping[str, str]) -> Predicate:
        """The reach of one rule; nothing when it cannot be applied to this user."""
        parts: list[Predicate] = []
        if rule.own:
            parts.append(NONE if own is None else self.membership.of(type, own))
        if rule.where:
            where = rule.where
            for name in PLACEHOLDERS:
                if name in where and name not in filled:
                    return NONE
                where = where.replace(name, filled.get(name, ""))
            try:
                parts.append(self.criteria.of_policy(type, where, rule.name))
            except PolicyError:
                # The policies of the practice were checked at the start (check); this is a client's.
                return NONE
        return every(parts)

    def of_labels(self, labels: tuple[Label, ...], type: str) -> Predicate:
        """What carries none of ``labels``; codes count without a system, too."""
        codes = [code for label in labels for code in label.codes]
        if not codes:
            return ALL
        spelt = dict.fromkeys(part for code in codes for part in (code, "|" + code.partition("|")[2]))
        return Not(self.criteria.criterion(type, "_security", ",".join(spelt)))

    def check(self, role: Role) -> None:
        """Raise PolicyError when a rule of ``role`` cannot be applied to one of its types."""
        for rule in role.rules:
            where = rule.where
            for name, value in SAMPLES.items():
                where = where.replace(name, value)
            for type in rule.types if where else ():
                self.criteria.of_policy(type, where, rule.name)


class Decides(Protocol):
    """What a :class:`Reach` asks."""

    def of(self, letter: str, type: str) -> Predicate:
        """The condition on resources of ``type`` for the action ``letter``."""


class Reach(Mapping[str, Predicate]):
    """Resource type -> condition for one action, each worked out when it is first asked for."""

    def __init__(self, types: tuple[str, ...], decision: Decides, letter: str) -> None:
        self._types = types
        self._decision = decision
        self._letter = letter
        self._found: dict[str, Predicate] = {}

    def __getitem__(self, type: str) -> Predicate:
        found = self._found.get(type)
        if found is None:
            if type not in self._types:
                raise KeyError(type)
            found = self._found[type] = self._decision.of(self._letter, type)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)
