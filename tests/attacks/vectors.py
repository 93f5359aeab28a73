"""Requests that try to get at another patient's resources, or to learn of them. Each knows its family in
docs/attacks.md, and a twin that asks the same of something that does not exist."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from attacks.cast import SYSTEM, TYPES, Document, Person
from searching import definitions, registry


@dataclass(frozen=True)
class Attempt:
    """One request."""

    family: str
    method: str
    url: str
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    form: str | None = None

    def about(self, old: str, new: str) -> Attempt:
        """The same request with ``new`` wherever it says ``old``."""

        def swap(text: str) -> str:
            return text.replace(old, new).replace(old.upper(), new.upper())

        body = self.body if self.body is None else json.loads(swap(json.dumps(self.body)))
        headers = tuple((name, swap(value)) for name, value in self.headers)
        return Attempt(
            self.family, self.method, swap(self.url), body, headers, swap(self.form) if self.form else None
        )


BASE = "http://testserver/fhir"
JSON_PATCH = (("content-type", "application/json-patch+json"),)


def reads(type: str, victim: Person) -> Iterator[Attempt]:
    """Family 1 and 12: by guessed ids."""
    name = f"{type}/{victim.of(type)}"
    yield Attempt("1 read", "GET", name)
    yield Attempt("1 read", "HEAD", name)
    yield Attempt("1 read", "GET", f"{name}?_format=xml")
    yield Attempt("1 read", "GET", f"{name}?_summary=true")
    yield Attempt("1 read", "GET", f"{name}?_elements=id,identifier")
    yield Attempt("1 read", "GET", name, headers=(("if-none-match", 'W/"1"'),))
    yield Attempt("1 read", "GET", name, headers=(("if-modified-since", "Tue, 01 Jan 2036 00:00:00 GMT"),))
    yield Attempt("1 vread", "GET", f"{name}/_history/1")
    yield Attempt("12 history", "GET", f"{name}/_history")
    yield Attempt("12 history", "GET", f"{name}/_history?_since=2000-01-01")
    yield Attempt("12 history", "GET", f"{type}/_history")
    yield Attempt("1 read", "GET", f"{type}/{victim.of(type).upper()}")


def searches(type: str, victim: Person, own: Person) -> Iterator[Attempt]:
    """Families 4, 5, 6: by id, identifier, text, filter, in every spelling."""
    id = victim.of(type)
    yield Attempt("6 search", "GET", f"{type}?_id={id}")
    yield Attempt("6 search", "GET", f"{type}?_id={id},{own.of(type)}&_total=accurate")
    yield Attempt("6 search", "POST", f"{type}/_search", form=f"_id={id}")
    yield Attempt("6 search", "GET", f"?_type={type}&_id={id}")
    yield Attempt("6 search", "GET", f"?_id={id}")
    yield Attempt("4 totals", "GET", f"{type}?_id={id}&_summary=count")
    yield Attempt("4 totals", "GET", f"{type}?_id={id}&_total=estimate&_count=0")
    yield Attempt("4 order", "GET", f"{type}?_sort=-_lastUpdated&_count=1&_id={id}")
    if "identifier" in definitions.search_parameters(type):
        token = f"{SYSTEM}|{victim.canary}" + ("" if type == "Patient" else f"-{type}")
        for spelling in (token, token.partition("|")[2], f"{SYSTEM}|"):
            yield Attempt("6 identifier", "GET", f"{type}?identifier={quote(spelling)}")
        yield Attempt("6 identifier", "GET", f"{type}?identifier:not={quote(token)}&_id={id}")
    yield Attempt("5 text", "GET", f"{type}?_content={victim.canary}")
    yield Attempt("5 text", "GET", f"{type}?_text={victim.canary}")
    yield Attempt("5 filter", "GET", f"{type}?_filter={quote(f'_id eq {id}')}")
    yield Attempt("5 filter", "GET", f"{type}?_filter={quote(f'not (_id eq {own.of(type)})')}&_id={id}")
    yield Attempt("5 list", "GET", f"{type}?_list={victim.of('List')}")
    for code in _references(type):
        for value in (
            f"Patient/{victim.id}",
            victim.id,
            f"{BASE}/Patient/{victim.id}",
            f"Patient/{victim.id}/_history/1",
        ):
            yield Attempt("6 reference", "GET", f"{type}?{code}={quote(value)}")
        yield Attempt("6 reference", "GET", f"{type}?{code}:Patient={victim.id}&_summary=count")
        yield Attempt("6 reference", "GET", f"{type}?{code}:missing=false&_id={id}")
        yield Attempt("6 identifier", "GET", f"{type}?{code}:identifier={SYSTEM}|{victim.canary}")


def inference(type: str, victim: Person, own: Person) -> Iterator[Attempt]:
    """Family 3: what a chain or a ``_has`` would tell."""
    for code in _references(type):
        yield Attempt("3 chain", "GET", f"{type}?{code}:Patient.family={victim.canary}")
        yield Attempt("3 chain", "GET", f"{type}?{code}:Patient.family:missing=false&_id={victim.of(type)}")
        yield Attempt("3 chain", "GET", f"{type}?{code}:Patient._id={victim.id}&_summary=count")
        yield Attempt("3 has", "GET", f"Patient?_has:{type}:{code}:_id={victim.of(type)}")
        yield Attempt("3 has", "GET", f"Practitioner?_has:Patient:general-practitioner:_has:{type}:{code}:_id={victim.of(type)}")  # fmt: skip
        yield Attempt("2 include", "GET", f"{type}?_id={victim.of(type)}&_include={type}:{code}")
        yield Attempt("2 revinclude", "GET", f"Patient?_id={victim.id}&_revinclude={type}:{code}")
    over = f"bridge-{victim.id}"
    yield Attempt("3 chain over a bridge", "GET", f"List?_id={over}&item:{type}._id={victim.of(type)}")
    yield Attempt("3 chain over a bridge", "GET", f"List?item:{type}._content={victim.canary}&_summary=count")
    yield Attempt("3 chain over a bridge", "GET", f"List?_id={over}&item:{type}._lastUpdated=gt2000")
    yield Attempt("2 include over a bridge", "GET", f"List?_id={over}&_include=List:item:{type}")
    yield Attempt(
        "2 include over a bridge",
        "GET",
        f"Patient?_id={own.id}&_revinclude=List:subject&_include:iterate=List:item:{type}",
    )
    yield Attempt("5 list over a bridge", "GET", f"{type}?_list={over}")
    yield Attempt("2 include", "GET", f"{type}?_id={victim.of(type)}&_include=*")
    yield Attempt(
        "2 revinclude", "GET", f"Practitioner?_id=shared&_revinclude={type}:*&_revinclude:iterate={type}:*"
    )
    yield Attempt("7 compartment", "GET", f"Patient/{victim.id}/{type}")
    yield Attempt("7 compartment", "GET", f"Patient/{victim.id}/*?_type={type}")
    yield Attempt("11 everything", "GET", f"Patient/{victim.id}/$everything?_type={type}")


def writes(type: str, victim: Person, own: Person) -> Iterator[Attempt]:
    """Families 7, 8, 9: over what is there, through conditions, by switching the subject, by smuggling."""
    id, name = victim.of(type), f"{type}/{victim.of(type)}"
    theirs = _plain(victim.documents[type, id])
    mine = _plain(own.documents[type, own.of(type)])
    yield Attempt("8 update", "PUT", name, theirs)
    yield Attempt("8 update", "PUT", name, mine | {"id": id})
    yield Attempt("8 update", "PUT", name, mine | {"id": id}, headers=(("if-match", 'W/"1"'),))
    yield Attempt("8 update", "PUT", name, mine | {"id": id}, headers=(("if-none-match", "*"),))
    yield Attempt("8 patch", "PATCH", name, [{"op": "test", "path": "/id", "value": id}], JSON_PATCH)
    yield Attempt("8 patch", "PATCH", name, [{"op": "remove", "path": "/text"}], JSON_PATCH)
    yield Attempt("8 delete", "DELETE", name)
    yield Attempt("8 delete", "DELETE", name, headers=(("if-match", 'W/"1"'),))
    token = f"{SYSTEM}|{victim.canary}" + ("" if type == "Patient" else f"-{type}")
    for condition in (f"_id={id}", f"identifier={quote(token)}"):
        if condition[0] == "_" or "identifier" in definitions.search_parameters(type):
            yield Attempt("7 conditional", "PUT", f"{type}?{condition}", mine | {"id": id})
            yield Attempt("7 conditional", "DELETE", f"{type}?{condition}")
            yield Attempt(
                "7 conditional",
                "PATCH",
                f"{type}?{condition}",
                [{"op": "remove", "path": "/text"}],
                JSON_PATCH,
            )


def forgeries(type: str, victim: Person, own: Person) -> Iterator[Attempt]:
    """Families 8 and 9 that must be refused whether or not the other patient exists."""
    theirs = _plain(victim.documents[type, victim.of(type)])
    yield Attempt("9 create", "POST", type, {k: v for k, v in theirs.items() if k != "id"})
    yield Attempt("8 switch", "PUT", f"{type}/{own.of(type)}", theirs | {"id": own.of(type)})
    both = json.dumps(theirs)
    yield Attempt(
        "9 contained", "POST", type,
        {k: v for k, v in json.loads(both).items() if k != "id"}
        | {"contained": [{"resourceType": "Patient", "id": "p", "active": True}]},
    )  # fmt: skip


def bundled(attempts: list[Attempt]) -> Iterator[Attempt]:
    """Family 10: the same inside a batch and a transaction."""
    for attempt in attempts:
        if attempt.form is not None or attempt.method == "HEAD" or attempt.url.startswith("?"):
            continue
        request: Document = {"method": attempt.method, "url": attempt.url}
        for header, element in (("if-match", "ifMatch"), ("if-none-match", "ifNoneMatch")):
            for name, value in attempt.headers:
                if name == header:
                    request[element] = value
        entry: Document = {"request": request}
        if attempt.method == "PATCH":
            data = base64.b64encode(json.dumps(attempt.body).encode()).decode()
            entry["resource"] = {
                "resourceType": "Binary", "contentType": "application/json-patch+json", "data": data
            }  # fmt: skip
        elif attempt.body is not None:
            entry["resource"] = attempt.body
        for kind in ("batch", "transaction"):
            bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
            yield Attempt(f"10 {kind} of {attempt.family}", "POST", "", bundle)


def everything(
    victim: Person, own: Person, *, types: tuple[str, ...] = ("Patient", *TYPES), bundles: bool = True
) -> Iterator[tuple[str, list[Attempt]]]:
    """All attempts on ``victim`` by ``own``, by resource type; ``bundles``: each in a batch and a transaction, too."""
    for type in types:
        plain = [
            *reads(type, victim),
            *searches(type, victim, own),
            *inference(type, victim, own),
            *writes(type, victim, own),
        ]
        yield type, [*plain, *(bundled(plain) if bundles else ())]
    operations = [
        Attempt("11 everything", "GET", f"Patient/{victim.id}/$everything"),
        Attempt("11 everything", "GET", f"Encounter/{victim.of('Encounter')}/$everything"),
        Attempt("11 lastn", "GET", f"Observation/$lastn?patient=Patient/{victim.id}&code:missing=false"),
        Attempt("11 explain", "GET", f"Observation/$explain?patient=Patient/{victim.id}&status=final"),
        Attempt("11 explain", "GET", f"Patient/$explain?identifier={SYSTEM}|{victim.canary}&_sort=birthdate"),
        Attempt(
            "11 explain",
            "GET",
            f"List/$explain?_id=bridge-{victim.id}&item:Patient.name:contains={victim.canary}",
        ),
        Attempt("11 explain", "GET", f"$explain?_type=Patient,Observation&_content={victim.canary}"),
        Attempt("11 explain", "POST", "Patient/$explain", form=f"_id={victim.id}&_total=accurate"),
        Attempt("7 compartment", "GET", f"Patient/{victim.id}/*"),
        Attempt("12 history", "GET", "_history"),
        Attempt("15 audit", "GET", f"AuditEvent?patient=Patient/{victim.id}"),
    ]
    yield "*", [*operations, *(bundled(operations) if bundles else ())]


def _references(type: str) -> list[str]:
    """Parameters of ``type`` that may lead to a patient, the compartment's and others."""
    if type == "Patient":
        return ["link"]
    return [
        code
        for code, parameter in definitions.search_parameters(type).items()
        if parameter.kind == "reference"
        and ("Patient" in parameter.targets)
        and registry.references(type, code)
    ]


def _plain(document: Document) -> Document:
    """``document`` as JSON types of the standard library have it."""
    from_text: Document = json.loads(json.dumps(document, default=lambda number: float(number)))
    return from_text
