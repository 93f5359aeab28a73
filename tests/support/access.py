"""Decisions about single documents, for tests of access: a grant in words, and whether it reaches something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.auth import consent, policy
from fhirhub.auth.access import Access
from fhirhub.auth.authority import Authority
from fhirhub.auth.grant import Grant
from fhirhub.auth.scope import parse_all
from fhirhub.packaged import folder
from fhirhub.search.match import Subject, matches
from searching import NOW, definitions, parser, registry, rows

policies = policy.load(folder("capability") / "policies", definitions.resource_types)
authority = Authority(definitions, registry, parser, policies, clock=lambda: NOW)


def grant(scopes: str, **more: Any) -> Grant:
    """A grant of these ``scopes`` to the user, or the service, that ``more`` says."""
    return Grant(**{"id": "g", "kind": "user", "client": "app", "scopes": parse_all(scopes), **more})


def decided(
    given: Grant, consents: Sequence[dict[str, Any]] = (), affiliations: Sequence[str] | None = None
) -> Access:
    """What ``given`` allows while these consents hold."""
    read = [consent.read(each, definitions.type_number) for each in consents]
    return authority.decide(given, [each for each in read if each], affiliations)[0]


class Around:
    """A world in which every patient is there, and the resources that are :func:`observation` of ana (``o-ana``) and bob."""

    def resource(self, type: str, id: str) -> Subject | None:
        """The resource ``type/id``."""
        if type == "Patient":
            return Subject(type, id, 0, rows({"resourceType": type, "id": id}))
        if type == "Observation" and id in ("o-ana", "o-bob"):
            return Subject(type, id, 0, rows(observation(id[2:])))
        return None

    def resources(self, type: str) -> Sequence[Subject]:
        """None: nothing here asks for them."""
        return ()


def reaches(access: Access, letter: str, document: dict[str, Any]) -> bool:
    """Whether the action ``letter`` may touch ``document``."""
    subject = Subject(document["resourceType"], document.get("id", "x"), 0, rows(document))
    return matches(access.sight.of(letter, subject.type), subject, Around())


def letters(access: Access, document: dict[str, Any]) -> str:
    """All actions that may touch ``document``."""
    return "".join(letter for letter in "cruds" if reaches(access, letter, document))


def patient(id: str) -> dict[str, str]:
    """A reference to a patient."""
    return {"reference": f"Patient/{id}"}


def observation(subject: str | None = "ana", **more: Any) -> dict[str, Any]:
    """An Observation about a patient."""
    about = {"subject": patient(subject)} if subject else {}
    return {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        **about,
        **more,
    }
