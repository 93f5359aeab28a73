"""Which resources belong to one patient, as far as access is concerned.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html, as ``capability/policies/compartment.toml`` reads it. The
search of a compartment (``Patient/1/Observation``) goes by the definition alone, within what access allows.
"""

from __future__ import annotations

from fhirhub.auth.criteria import Criteria
from fhirhub.auth.policy import Boundary
from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import Ids, Not, Or, Predicate, Refers
from fhirhub.search.registry import Registry
from fhirhub.search.sight import NONE, both, either

PATIENT = "Patient"
BY_CONTEXT: Predicate = Ids(())
"""Nothing by itself, but not out of reach: what it says of its context decides (:mod:`fhirhub.view.view`)."""


class Membership:
    """Answers for any patient."""

    def __init__(
        self, definitions: Definitions, registry: Registry, criteria: Criteria, boundary: Boundary
    ) -> None:
        self._formal = definitions.compartments[PATIENT]
        self._registry = registry
        self._criteria = criteria
        self._boundary = boundary
        self._ways: dict[str, tuple[tuple[int, ...], tuple[int, ...], Predicate]] = {}

    def of(self, type: str, patient: str) -> Predicate:
        """Resources of ``type`` that belong to the patient with the id ``patient``."""
        if type == PATIENT:
            return Ids((patient,))
        if type in self._boundary.by_context:
            return BY_CONTEXT
        about, others, nobody = self._of_type(type)
        target = ((PATIENT, patient),)
        return either(_refer(about, target), both(_refer(others, target), nobody))

    def about(self, type: str, patients: tuple[str, ...]) -> Predicate:
        """Resources of ``type`` that any of ``patients`` is mentioned by in the compartment's parameters.

        Wider than :meth:`of`: for what is to be kept from somebody.
        """
        if type == PATIENT:
            return Ids(patients)
        codes = {*self._formal.get(type, ()), *self._boundary.also.get(type, ())}
        return _refer(self._pids(type, sorted(codes)), tuple((PATIENT, id) for id in patients))

    def parameters(self, type: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Codes of the parameters by which ``type`` belongs to a patient; second those that count only when none
        of the first has any value.
        """
        formal = self._formal.get(type, ())
        codes = [*self._boundary.only.get(type, formal), *self._boundary.also.get(type, ())]
        about = tuple(code for code in codes if code in self._boundary.about)
        others = tuple(code for code in codes if code not in self._boundary.about)
        return about, others

    def _of_type(self, type: str) -> tuple[tuple[int, ...], tuple[int, ...], Predicate]:
        """Parameters that say whom it is about, the others, and that it is about nobody."""
        found = self._ways.get(type)
        if found is None:
            about, others = self.parameters(type)
            somebody = [self._criteria.criterion(type, f"{code}:missing", "false") for code in about]
            nobody: Predicate = Not(Or(tuple(somebody)))
            found = self._ways[type] = (self._pids(type, about), self._pids(type, others), nobody)
        return found

    def _pids(self, type: str, codes: tuple[str, ...] | list[str]) -> tuple[int, ...]:
        links = [link for code in codes for link in self._registry.references(type, code)]
        return tuple(sorted({link.pid for link in links if link.only in (None, PATIENT)}))


def _refer(pids: tuple[int, ...], targets: tuple[tuple[str, str], ...]) -> Predicate:
    found: Predicate = NONE
    for pid in pids:
        found = either(found, Refers(pid, targets))
    return found
