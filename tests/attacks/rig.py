"""A server with two patients in it, and a gate that knows a few tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from attacks.cast import Document, Person, bridge, person, shared
from attacks.vectors import Attempt
from fhirhub.auth.access import OPEN, Access
from fhirhub.auth.grant import Grant
from fhirhub.auth.scope import parse_all
from fhirhub.errors import Issue, Unauthorized
from fhirhub.exchange import Caller
from fhirhub.interactions.compartment import member
from fhirhub.resource.json import dumps
from fhirhub.search.predicate import Ids, Predicate
from fhirhub.search.sight import ALL, Sight

OPEN_TYPES = ("Practitioner", "Organization", "Location", "Medication")
"""What everybody may read."""
NOBODY = "q7eve"
"""As long as the victim's id, and nobody's."""
ROOT = "root"
"""The token of somebody who may do everything."""


@dataclass
class Tokens:
    """A gate with a list."""

    known: dict[str, Access] = field(default_factory=lambda: {ROOT: OPEN})

    async def access(self, headers: Mapping[bytes, bytes]) -> Access:
        """The access of the token in the headers."""
        token = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        if token not in self.known:
            raise Unauthorized(Issue("login", "no such token"))
        return self.known[token]


@dataclass
class Rig:
    """What an attack needs: the client, and the two patients."""

    client: httpx.AsyncClient
    ana: Person
    bob: Person

    async def send(self, attempt: Attempt, token: str) -> httpx.Response:
        """The answer to ``attempt``."""
        headers = {
            "authorization": f"Bearer {token}",
            "prefer": "return=representation",
            **dict(attempt.headers),
        }
        content: Any = None
        if attempt.form is not None:
            content = attempt.form
            headers["content-type"] = "application/x-www-form-urlencoded"
        elif attempt.body is not None:
            content = json.dumps(attempt.body)
            headers.setdefault("content-type", "application/fhir+json")
        return await self.client.request(attempt.method, attempt.url, content=content, headers=headers)


async def prepared(client: httpx.AsyncClient) -> Rig:
    """Two patients and what they share, written by somebody who may."""
    rig = Rig(client, person("q7ana", "zqanalena"), person("q7bob", "zqbobbert"))
    bridges = [bridge(rig.ana, rig.bob.id), bridge(rig.ana, NOBODY)]
    await store(client, [*shared(), *rig.ana.documents.values(), *rig.bob.documents.values(), *bridges])
    return rig


async def store(client: httpx.AsyncClient, documents: list[Document]) -> None:
    """Write ``documents`` under their ids."""
    entries = [
        b'{"resource":%b,"request":{"method":"PUT","url":"%b/%b"}}'
        % (dumps(each), each["resourceType"].encode(), each["id"].encode())
        for each in documents
    ]
    body = b'{"resourceType":"Bundle","type":"transaction","entry":[%b]}' % b",".join(entries)
    headers = {"authorization": f"Bearer {ROOT}", "content-type": "application/fhir+json"}
    answer = await client.post("", content=body, headers=headers)
    assert answer.status_code == 200, answer.text[:2000]


GRANTS: dict[str, Callable[[str], Grant]] = {
    "app of a patient": lambda id: _granted(
        "patient/*.cruds", role="patient", fhir_user=f"Patient/{id}", patient=id
    ),
    "patient by user scopes": lambda id: _granted("user/*.cruds", role="patient", fhir_user=f"Patient/{id}"),
    "app of a clinician": lambda id: _granted("patient/*.cruds", role="practitioner", patient=id),
    "laboratory only": lambda id: _granted(
        "patient/Observation.rs?category=laboratory patient/Patient.rs", role="practitioner", patient=id
    ),
    "a system for one": lambda id: _granted(
        "system/*.cruds",
        kind="system",
        client_policy={
            "rules": [
                {"types": ["Patient"], "may": "cruds", "where": f"_id={id}"},
                {
                    "types": ["Observation", "DiagnosticReport"],
                    "may": "cruds",
                    "where": f"subject=Patient/{id}",
                },
                {"types": ["Condition", "Encounter"], "may": "rs", "where": f"patient=Patient/{id}"},
            ]
        },
    ),
}
"""Grants as they are made in life, for the patient with the id given."""


def _granted(scopes: str, kind: str = "user", **about: Any) -> Grant:
    user = None if kind == "system" else about.get("fhir_user", "Practitioner/shared")
    return Grant(f"{scopes} {about}", kind, parse_all(scopes), "app", user=user, **about)


def confined(hub: Any, to: Person, letters: str, types: tuple[str, ...]) -> Access:
    """Access to the compartment of one patient, and to what is shared by all."""

    def rule(type: str) -> Predicate:
        return Ids((to.id,)) if type == "Patient" else member(hub, "Patient", to.id, type)

    rules = {type: rule(type) for type in ("Patient", *types)}
    within = {
        action: rules | ({type: ALL for type in OPEN_TYPES} if action in "rs" else {}) for action in letters
    }
    within["x"] = {"Patient": rule("Patient"), **{type: ALL for type in OPEN_TYPES}}
    return Access(Sight(within, holder=f"{to.id} {letters}"), Caller(user=to.id))


_MOVING = re.compile(
    r'"(lastUpdated|lastModified)":"[^"]*"|<(lastUpdated|lastModified) value="[^"]*"|_cursor=[\w.~%-]+'
    r"|[0-9a-hjkmnp-tv-z]{21,22}"
)


def outward(answer: httpx.Response, names: Mapping[str, str]) -> tuple[Any, ...]:
    """All that an answer tells, with ``names`` replaced and what differs from call to call taken out."""
    text = _MOVING.sub("", answer.text)
    headers = Counter(
        (name, _MOVING.sub("", value))
        for name, value in answer.headers.multi_items()
        if name not in ("x-request-id", "content-length", "last-modified", "date")
    )
    told: tuple[str, ...] = (text, str(sorted(headers.items())))
    for old, new in names.items():
        told = tuple(part.replace(old, new).replace(old.upper(), new.upper()) for part in told)
    return answer.status_code, *told


async def attack(rig: Rig, token: str, attempts: list[Attempt], victim: Person) -> list[str]:
    """What went wrong."""
    leaks = []
    for attempt in attempts:
        answer = await rig.send(attempt, token)
        twin = await rig.send(attempt.about(victim.id, NOBODY).about(victim.canary, "zqnobodyy"), token)
        names = {victim.id: "VICTIM", NOBODY: "VICTIM", victim.canary: "SECRET", "zqnobodyy": "SECRET"}
        told, other = outward(answer, names), outward(twin, names)
        sent = f"{attempt.url}{attempt.body}{attempt.form}{attempt.headers}"
        if victim.canary in answer.text and victim.canary not in sent:
            leaks.append(
                f"{token}: {attempt.family}: {attempt.method} {attempt.url}: CANARY {answer.text[:300]}"
            )
        elif answer.status_code >= 500:
            leaks.append(f"{token}: {attempt.family}: {attempt.method} {attempt.url}: {answer.text[:300]}")
        elif told != other:
            leaks.append(
                f"{token}: {attempt.family}: {attempt.method} {attempt.url} {attempt.headers}: differs from nobody\n"
                f"    {told[0]} {told[1][:600]}\n    {other[0]} {other[1][:600]}\n    {told[2][:200]}\n    {other[2][:200]}"
            )
    return leaks
