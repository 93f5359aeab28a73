"""Two patients with a resource of every type of their compartment; what belongs to each carries its own canaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from searching import definitions, examples, extractor, registry
from searching import document as document_of

Document = dict[str, Any]
TYPES = tuple(
    type
    for type in definitions.resource_types
    if definitions.compartments["Patient"].get(type) and type not in ("Patient", "AuditEvent")
)
"""The types of the Patient compartment. Audit events are the server's own."""
SYSTEM = "http://canary.test"
SHARED = ("Practitioner", "Organization", "Location", "Medication")
"""What both patients' resources refer to."""


@dataclass(frozen=True)
class Person:
    """A patient and what is theirs."""

    id: str
    canary: str
    """Stands in every resource of this patient, in texts and as identifier; never in an id."""
    documents: dict[tuple[str, str], Document] = field(default_factory=dict)

    def of(self, type: str) -> str:
        """The id of this patient's resource of ``type``."""
        return self.id if type == "Patient" else f"{type.lower()}-{self.id}"


def person(id: str, canary: str) -> Person:
    """A patient with one resource of every type, all inside the compartment."""
    made = Person(id, canary)
    made.documents["Patient", id] = {
        "resourceType": "Patient",
        "id": id,
        "identifier": [{"system": SYSTEM, "value": canary}],
        "name": [{"family": canary, "given": ["Robin"]}],
        "birthDate": "1980-02-03",
        "generalPractitioner": [{"reference": "Practitioner/shared"}],
    }
    for type in TYPES:
        document = _belonging(type, made)
        made.documents[type, document["id"]] = document
    return made


def bridge(own: Person, other: str) -> Document:
    """A resource of ``own`` that refers to everything that the patient with the id ``other`` has, or would have."""
    names = ["Patient/" + other, *(f"{type}/{type.lower()}-{other}" for type in TYPES)]
    return {
        "resourceType": "List",
        "id": f"bridge-{other}",
        "status": "current",
        "mode": "working",
        "subject": {"reference": f"Patient/{own.id}"},
        "entry": [{"item": {"reference": name}} for name in names],
    }


def shared() -> Iterator[Document]:
    """One resource of each shared type."""
    for type in SHARED:
        yield {"resourceType": type, "id": "shared"}


def _belonging(type: str, to: Person) -> Document:
    """The published example of ``type``, all its references led to ``to`` or to what is shared."""
    document = document_of(min(_examples(type), key=lambda each: len(str(each))))
    document = _rewritten(document, to.id)
    document |= {"id": to.of(type), "text": _narrative(to.canary)}
    document.pop("meta", None)
    if "identifier" in definitions.types[type].properties:
        one = {"system": SYSTEM, "value": f"{to.canary}-{type}"}
        several = definitions.types[type].properties["identifier"].element.max != 1
        document["identifier"] = [one] if several else one
    if not _is_member(document, to.id):
        for path in _ways(type):
            trial = _planted(type, document, path, to.id)
            if trial is not None and _is_member(trial, to.id):
                return trial
        raise AssertionError(f"the example of {type} cannot be put into a compartment")
    return document


def _examples(type: str) -> list[Document]:
    return [each for each in examples() if each["resourceType"] == type]


def _narrative(canary: str) -> Document:
    return {
        "status": "additional",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{canary} narrative</div>',
    }


def _rewritten(value: Any, patient: str) -> Any:
    """``value`` with references to patients led to this one, to shared types to the shared, all others away."""
    if isinstance(value, list):
        return [_rewritten(each, patient) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _rewritten(each, patient) for name, each in value.items()}
    text = changed.get("reference")
    if isinstance(text, str):
        type = text.rpartition("/")[0].rpartition("/")[2]
        if type == "Patient":
            changed["reference"] = f"Patient/{patient}"
        elif type in SHARED:
            changed["reference"] = f"{type}/shared"
        elif not text.startswith("#"):
            changed["reference"] = f"http://elsewhere.test/{text}"
    return changed


def _is_member(document: Document, patient: str) -> bool:
    rows = extractor.rows(document, ())
    type = document["resourceType"]
    pids = {
        alias.pid
        for code in definitions.compartments["Patient"][type]
        for alias in registry.references(type, code)
    }
    return any(pid in pids and (to, id) == ("Patient", patient) for pid, to, id in rows.references)


def _ways(type: str) -> Iterator[list[str]]:
    """Paths to the references that make a member, plain ones first."""
    parameters = definitions.search_parameters(type)
    for code in definitions.compartments["Patient"][type]:
        for part in parameters[code].expression.replace("(", "").replace(")", "").split("|"):
            path = part.strip().partition(".where")[0].partition(" as ")[0].removesuffix(".as").split(".")
            if path[0] == type:
                yield path[1:]


def _planted(type: str, document: Document, path: list[str], patient: str) -> Document | None:
    """``document`` with a reference to ``patient`` at ``path``; None where there is no such place."""
    copy = document_of(document)
    holder: Any = copy
    kind = type
    for place, name in enumerate(path):
        held = definitions.types[kind].properties.get(name) or definitions.types[kind].properties.get(
            f"{name}Reference"
        )
        if held is None:
            return None
        last = place == len(path) - 1
        value: Any = {"reference": f"Patient/{patient}"} if last else {}
        if held.element.max != 1:
            listed = holder.setdefault(held.name, [])
            if last:
                listed.append(value)
            elif not listed:
                listed.append(value)
            holder = listed[-1]
        elif last:
            holder[held.name] = value
        else:
            holder = holder.setdefault(held.name, value)
        kind = held.type_name
    return copy
