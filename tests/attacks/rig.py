"""A server with two patients in it, and a gate that knows a few tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from attacks.cast import Document, Person, bridge, person, shared
from attacks.vectors import Attempt
from fhirhub.auth.access import OPEN, Access
from fhirhub.errors import Issue, Unauthorized
from fhirhub.resource.json import dumps

NOBODY = "q7eve"
"""As long as the victim's id, and nobody's."""
ROOT = "root"
"""The token of somebody who may do everything."""


@dataclass
class Tokens:
    """A gate with a list."""

    known: dict[str, Access] = field(default_factory=lambda: {ROOT: OPEN})

    async def access(self, headers: Mapping[bytes, bytes], address: str) -> Access:
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
