"""Which resources belong to one patient, as far as access is concerned.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html, as ``capability/policies/compartment.toml`` reads it. The
search of a compartment (``Patient/1/Observation``) goes by the definition alone, within what access allows.
"""

from __future__ import annotations

from collections.abc import Callable

from fhirhub.auth.criteria import Criteria
from fhirhub.auth.logic import some
from fhirhub.auth.policy import Boundary, PolicyError
from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import And, Ids, Not, OfType, Or, Points, Predicate, Refers
from fhirhub.search.registry import Registry
from fhirhub.search.sight import ALL, NONE, both

PATIENT = "Patient"
BY_CONTEXT: Predicate = Ids(())
"""Nothing by itself, but not out of reach: what it says of its context decides (:mod:`fhirhub.view.view`)."""


class Membership:
    """Answers for any patient."""

    def __init__(
        self, definitions: Definitions, registry: Registry, criteria: Criteria, boundary: Boundary
    ) -> None:
        self._formal = definitions.compartments[PATIENT]
        self._types = definitions.resource_types
        self._registry = registry
        self._criteria = criteria
        self._boundary = boundary
        self._ways: dict[str, tuple[tuple[int, ...], tuple[int, ...], Predicate]] = {}
        self._through = {type: self._pointer(type, code) for type, code in boundary.through.items()}
        self._besides = tuple(sorted({*boundary.shared, *boundary.by_context}))

    def of(self, type: str, patient: str) -> Predicate:
        """Resources of ``type`` that belong to the patient with the id ``patient``."""
        if type == PATIENT:
            return Ids((patient,))
        if type in self._boundary.by_context:
            return BY_CONTEXT
        pointer = self._through.get(type)
        if pointer is not None:
            return Points(pointer, self._anything(lambda each: self.of(each, patient)), self._besides)
        about, others, nobody = self._of_type(type)
        target = ((PATIENT, patient),)
        return some((_refer(about, target), both(_refer(others, target), nobody)))

    def about(self, type: str, patients: tuple[str, ...]) -> Predicate:
        """Resources of ``type`` that any of ``patients`` is mentioned by in the compartment's parameters.

        Wider than :meth:`of`: for what is to be kept from somebody.
        """
        if type == PATIENT:
            return Ids(patients)
        codes = {*self._formal.get(type, ()), *self._boundary.also.get(type, ())}
        found = _refer(self._pids(type, sorted(codes)), tuple((PATIENT, id) for id in patients))
        pointer = self._through.get(type)
        if pointer is not None:
            found = some((found, Points(pointer, self._anything(lambda each: self.about(each, patients)))))
        return found

    def parameters(self, type: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Codes of the parameters by which ``type`` belongs to a patient; second those that count only when none
        of the first has any value.
        """
        formal = self._formal.get(type, ())
        codes = [*self._boundary.only.get(type, formal), *self._boundary.also.get(type, ())]
        about = tuple(code for code in codes if code in self._boundary.about)
        others = tuple(code for code in codes if code not in self._boundary.about)
        return about, others

    def _anything(self, of: Callable[[str], Predicate]) -> Predicate:
        """What is ``of`` some type that can be in a record, whatever its type: parameters belong to one type each."""
        found = []
        for type in self._types:
            if type not in self._through and type not in self._besides:
                part = of(type)
                # Ids do not tell the type; all other conditions here stand on its parameters.
                found.append(And((OfType((type,)), part)) if isinstance(part, Ids) else part)
        return some(found)

    def _pointer(self, type: str, code: str) -> int:
        links = self._registry.references(type, code)
        if len(links) != 1:
            raise PolicyError(f"compartment.toml, through: {code} is no reference parameter of {type}")
        return links[0].pid

    def _of_type(self, type: str) -> tuple[tuple[int, ...], tuple[int, ...], Predicate]:
        """Parameters that say whom it is about, the others, and that it is about nobody."""
        found = self._ways.get(type)
        if found is None:
            about, others = self.parameters(type)
            somebody = [self._criteria.criterion(type, f"{code}:missing", "false") for code in about]
            nobody: Predicate = Not(Or(tuple(somebody))) if somebody else ALL
            found = self._ways[type] = (self._pids(type, about), self._pids(type, others), nobody)
        return found

    def _pids(self, type: str, codes: tuple[str, ...] | list[str]) -> tuple[int, ...]:
        links = [link for code in codes for link in self._registry.references(type, code)]
        return tuple(sorted({link.pid for link in links if link.only in (None, PATIENT)}))


def _refer(pids: tuple[int, ...], targets: tuple[tuple[str, str], ...]) -> Predicate:
    return some(Refers(pid, targets) for pid in pids) if targets else NONE
