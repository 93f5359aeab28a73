"""What a role lets people do, type by type, and which rule of the policies says so: for pages and the command line.

It tells the policy alone. A token never reaches further than its scopes, and consents of patients take away from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fhirhub.auth.policy import PLACEHOLDERS, Label, Policies, Rule
from fhirhub.auth.rules import patient_of, placeholders
from fhirhub.auth.scope import LETTERS


@dataclass(frozen=True, slots=True)
class Way:
    """One rule as it applies to one type."""

    letters: str
    rule: str
    """Where it stands: ``practitioner rule 2``."""
    condition: str
    """In words; empty when it is about all resources of the type."""
    why: str


@dataclass(frozen=True, slots=True)
class TypeView:
    """What may be done with one type; no ways: nothing."""

    type: str
    letters: str
    """Of all ways together."""
    ways: tuple[Way, ...]
    hidden: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    """The only elements that may be changed; () for no such limit."""


@dataclass(frozen=True, slots=True)
class ClosedLabel:
    """A security label that closes resources to the role."""

    name: str
    codes: tuple[str, ...]
    glass: bool
    """Whether breaking the glass opens them."""
    why: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A role, whole."""

    role: str
    title: str
    why: str
    types: tuple[TypeView, ...]
    """Types of which anything may be done, in alphabetical order."""
    closed: tuple[ClosedLabel, ...]


def of_role(policies: Policies, role: str, fhir_user: str | None = None) -> Preview:
    """What ``role`` may do; ``fhir_user`` (``Patient/1``) fills in the placeholders. KeyError for no such role."""
    found = policies.roles[role]
    filled = placeholders(fhir_user, patient_of(fhir_user))
    views = []
    for type in sorted(policies.types):
        ways = tuple(_way(rule, filled) for rule in found.rules if type in rule.types)
        if ways:
            letters = "".join(sign for sign in LETTERS if any(sign in way.letters for way in ways))
            hidden, writable = found.hidden.get(type, ()), found.writable.get(type, ())
            views.append(TypeView(type, letters, ways, tuple(sorted(hidden)), tuple(sorted(writable))))
    closed = tuple(_closed(label, role) for label in policies.labels if role not in label.roles)
    return Preview(role, found.title, found.why, tuple(views), closed)


def _way(rule: Rule, filled: Mapping[str, str]) -> Way:
    where = rule.where
    for name in PLACEHOLDERS:
        where = where.replace(name, filled.get(name, name))
    parts = ["in the own record"] if rule.own else []
    parts += [f"found by {where}"] if where else []
    return Way(rule.may, rule.name, ", ".join(parts), rule.why)


def _closed(label: Label, role: str) -> ClosedLabel:
    return ClosedLabel(label.name, label.codes, role in label.glass, label.why)
