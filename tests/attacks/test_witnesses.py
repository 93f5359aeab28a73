"""What tells of other resources (Provenance) is seen with those, and only when all of them may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from attacks.cast import Document, Person
from attacks.rig import GRANTS, NOBODY, ROOT, Rig, attack, store
from attacks.vectors import JSON_PATCH, Attempt

WHOLE = ("app of a patient", "patient by user scopes", "app of a clinician")
"""Grants that reach all of a patient's record."""


def provenance(id: str, *targets: str, canary: str = "") -> Document:
    """A Provenance of ``targets``, some of them in a version."""
    return {
        "resourceType": "Provenance",
        "id": id,
        "text": {
            "status": "additional",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{canary} narrative</div>',
        },
        "target": [{"reference": each} for each in targets],
        "recorded": "2026-11-24T10:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/shared"}}],
    }


def witnesses(who: Person) -> Iterator[Document]:
    """What is in the record of ``who``: it tells of the patient's own, of what is shared, of what is elsewhere."""
    observation, condition = (f"{type}/{who.of(type)}" for type in ("Observation", "Condition"))
    for n, targets in enumerate(
        (
            (observation,),
            (f"{observation}/_history/1", condition),
            (f"Patient/{who.id}",),
            (condition, "Practitioner/shared", "http://elsewhere.test/Observation/1"),
            (f"AllergyIntolerance/{who.of('AllergyIntolerance')}", "Binary/loose"),
        )
    ):
        yield provenance(f"own{n}-{who.id}", *targets, canary=who.canary)


def closed(ana: Person, bob: Person) -> Iterator[Document]:
    """What is in nobody's record; ids end with that of ``bob``, whose canary it carries."""
    mine, theirs = f"Observation/{ana.of('Observation')}", f"Observation/{bob.of('Observation')}"
    for n, targets in enumerate(
        (
            (mine, theirs),
            (f"Patient/{ana.id}", f"Patient/{bob.id}"),
            (f"{theirs}/_history/1", mine),
            (mine, "Group/loose"),
            ("Practitioner/shared",),
            ("http://elsewhere.test/Observation/1",),
            (mine, f"Observation/gone-{bob.id}"),
            (mine, f"Provenance/own0-{ana.id}"),
        )
    ):
        yield provenance(f"mixed{n}-{bob.id}", *targets, canary=bob.canary)


MIXED = 8


async def planted(rig: Rig) -> None:
    """Both kinds, and an Observation that is told of and gone."""
    for one, other in ((rig.ana, rig.bob), (rig.bob, rig.ana)):
        gone = rig.ana.documents["Observation", rig.ana.of("Observation")] | {"id": f"gone-{other.id}"}
        loose = {"resourceType": "Group", "id": "loose", "type": "person", "actual": True}
        binary = {"resourceType": "Binary", "id": "loose", "contentType": "text/plain", "data": "eA=="}
        await store(rig.client, [gone, loose, binary, *witnesses(one), *closed(one, other)])
    for who in (rig.ana, rig.bob):
        answer = await rig.send(Attempt("", "DELETE", f"Observation/gone-{who.id}"), ROOT)
        assert answer.status_code in (200, 204)


def attempts(victim: Person, own: Person, id: str) -> Iterator[Attempt]:
    """Ways to the Provenance ``id``, which is not to be seen."""
    name = f"Provenance/{id}"
    for url in (name, f"{name}/_history", f"{name}/_history/1", f"{name}?_summary=true"):
        yield Attempt("read", "GET", url)
    theirs = f"Observation/{victim.of('Observation')}"
    mine = f"Observation/{own.of('Observation')}"
    for query in (
        f"_id={id}", f"_id={id}&_summary=count", f"_id={id}&_total=accurate", f"target={theirs}&_id={id}",
        f"target={theirs}", f"target={theirs}&_summary=count", f"patient={victim.id}", f"_content={victim.canary}",
        f"target:Observation.status:missing=false&_id={id}", f"_sort=recorded&_id={id}", f"agent=Practitioner/shared&_id={id}",
        f"target:missing=false&_id={id}&_summary=count", f"target=Observation/gone-{victim.id}",
    ):  # fmt: skip
        yield Attempt("search", "GET", f"Provenance?{query}")
    yield Attempt("has", "GET", f"Observation?_has:Provenance:target:_id={id}&_summary=count")
    yield Attempt("has", "GET", f"{mine.replace('/', '?_id=')}&_has:Provenance:target:_id={id}")
    yield Attempt(
        "revinclude", "GET", f"Observation?_id={victim.of('Observation')}&_revinclude=Provenance:target"
    )
    yield Attempt("compartment", "GET", f"Patient/{victim.id}/Provenance?_id={id}")
    yield Attempt("everything", "GET", f"Patient/{victim.id}/$everything?_type=Provenance")
    yield Attempt("delete", "DELETE", name)
    yield Attempt("update", "PUT", name, provenance(id, mine))
    yield Attempt("patch", "PATCH", name, [{"op": "remove", "path": "/text"}], JSON_PATCH)


@pytest.mark.parametrize("token", GRANTS)
async def test_nothing_is_told_of_another_patient(rig: Rig, token: str) -> None:
    await planted(rig)
    leaks: list[str] = []
    ids = [f"own{n}-{rig.bob.id}" for n in range(5)] + [f"mixed{n}-{rig.bob.id}" for n in range(MIXED)]
    for id in ids:
        leaks += await attack(rig, f"{token} ana", list(attempts(rig.bob, rig.ana, id)), rig.bob)
    assert not leaks, "\n".join(leaks[:4])


async def found(rig: Rig, token: str, url: str) -> set[str]:
    answer = await rig.send(Attempt("", "GET", url), token)
    assert answer.status_code == 200, answer.text
    resources = [entry["resource"] for entry in json.loads(answer.content).get("entry", ())]
    return {each["id"] for each in resources if each["resourceType"] == "Provenance"}


@pytest.mark.parametrize("token", WHOLE)
async def test_ones_own_is_found(rig: Rig, token: str) -> None:
    await planted(rig)
    ana = rig.ana.id
    own = {f"own{n}-{ana}" for n in range(5)}
    observation, condition = (rig.ana.of(type) for type in ("Observation", "Condition"))
    name = f"{token} ana"
    by_type = {rig.ana.of("Provenance")}
    assert await found(rig, name, "Provenance?_count=100") - by_type == own
    assert await found(rig, name, "Provenance?_count=100&_sort=recorded") - by_type == own
    assert await found(rig, name, f"Provenance?target=Observation/{observation}") == {
        f"own0-{ana}",
        f"own1-{ana}",
    }
    assert await found(rig, name, f"Provenance?target:Observation={observation}&_total=accurate") == {
        f"own0-{ana}", f"own1-{ana}"
    }  # fmt: skip
    with_it = f"Observation?patient={ana}&_revinclude=Provenance:target&_count=100"
    assert await found(rig, name, with_it) == {f"own0-{ana}", f"own1-{ana}"}
    assert await found(rig, name, f"Condition?_id={condition}&_revinclude=Provenance:target") == {
        f"own1-{ana}", f"own3-{ana}"
    }  # fmt: skip
    assert await found(rig, name, f"Provenance?_id={','.join(own)}&_include=Provenance:target") == own
    for id in own:
        for url in ("", "/_history", "/_history/1"):
            answer = await rig.send(Attempt("", "GET", f"Provenance/{id}{url}"), name)
            assert answer.status_code == 200 and rig.ana.canary in answer.text, (id, url, answer.text)
        totals = await rig.send(Attempt("", "GET", f"Provenance?_id={id}&_summary=count"), name)
        assert totals.json()["total"] == 1


async def test_ones_own_is_written(rig: Rig) -> None:
    """Within reach means all that is pointed to, also what the same transaction writes."""
    await planted(rig)
    name = "app of a clinician ana"
    mine, theirs = f"Observation/{rig.ana.of('Observation')}", f"Observation/{rig.bob.of('Observation')}"

    async def sent(method: str, url: str, body: Any) -> int:
        answer = await rig.send(Attempt("", method, url, body), name)
        return answer.status_code

    def new(*targets: str) -> Document:
        return {key: value for key, value in provenance("x", *targets).items() if key != "id"}

    answer = await rig.send(Attempt("", "POST", "Provenance", new(mine)), name)
    assert answer.status_code == 201 and answer.json()["target"] == [{"reference": mine}], answer.text
    assert await sent("POST", "Provenance", new(mine, theirs)) in (403, 422)
    assert await sent("POST", "Provenance", new("Practitioner/shared")) == 403
    assert await sent("PUT", f"Provenance/own2-{rig.ana.id}", provenance(f"own2-{rig.ana.id}", theirs)) in (
        403,
        422,
    )

    def bundle(subject: str) -> Document:
        observation = {
            "resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{subject}"},
        }  # fmt: skip
        return {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {"fullUrl": "urn:uuid:0b8d5a56-3b7c-4f0b-9a39-0d3e5a6f7c01", "resource": observation,
                 "request": {"method": "POST", "url": "Observation"}},
                {"resource": new("urn:uuid:0b8d5a56-3b7c-4f0b-9a39-0d3e5a6f7c01"),
                 "request": {"method": "POST", "url": "Provenance"}},
            ],
        }  # fmt: skip

    assert await sent("POST", "", bundle(rig.ana.id)) == 200
    assert await sent("POST", "", bundle(rig.bob.id)) in (403, 422)


async def test_what_becomes_anothers_takes_its_witness_along(rig: Rig) -> None:
    condition = rig.ana.documents["Condition", rig.ana.of("Condition")] | {"id": "wandering"}
    theirs = rig.bob.documents["Condition", rig.bob.of("Condition")] | {"id": "wandering"}
    told = provenance("of-wandering", "Condition/wandering", canary="zqwander")
    await store(rig.client, [condition, told])
    name = "app of a clinician ana"
    assert await found(rig, name, "Provenance?_id=of-wandering") == {"of-wandering"}
    await store(rig.client, [theirs])
    for url in ("", "/_history", "/_history/1"):
        answer = await rig.send(Attempt("", "GET", f"Provenance/of-wandering{url}"), name)
        assert answer.status_code == 404 and "zqwander" not in answer.text
    assert await found(rig, name, "Provenance?_id=of-wandering") == set()
    assert await found(rig, "app of a clinician bob", "Provenance?_id=of-wandering") == {"of-wandering"}
    assert NOBODY not in (rig.ana.id, rig.bob.id)
