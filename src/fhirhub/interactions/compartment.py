"""Who belongs to a compartment: https://hl7.org/fhir/R4/compartmentdefinition.html."""

from __future__ import annotations

from fhirhub.hub import Hub
from fhirhub.search.predicate import Ids, Or, Predicate, Refers


def members(hub: Hub, compartment: str) -> list[str]:
    """The resource types that can be in the compartments of ``compartment``, in alphabetical order."""
    listed = hub.definitions.compartments.get(compartment, {})
    return [type for type in hub.definitions.resource_types if listed.get(type)]


def member(hub: Hub, compartment: str, id: str, type: str) -> Predicate:
    """A resource of ``type`` is in the compartment of ``compartment``/``id``."""
    ways: list[Predicate] = [Ids((id,))] if type == compartment else []
    pids = {
        alias.pid
        for code in hub.definitions.compartments[compartment].get(type, ())
        for alias in hub.parser.registry.references(type, code)
        if alias.only in (None, compartment)
    }
    ways += [Refers(pid, ((compartment, id),)) for pid in sorted(pids)]
    return ways[0] if len(ways) == 1 else Or(tuple(ways))
