"""Search parameters of one's own: checked when they come in, indexed beside a running server, gone when they go."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from fhirhub.definitions.tables import load
from fhirhub.packaged import folder
from fhirhub.settings import Settings
from fhirhub.store.verify import verify

pytestmark = pytest.mark.asyncio(loop_scope="module")
PETS = "http://example.org/pets"


def parameter(
    code: str, expression: str, kind: str = "token", base: str = "Patient", **more: Any
) -> dict[str, Any]:
    """An active SearchParameter."""
    return {
        "resourceType": "SearchParameter",
        "url": f"http://example.org/SearchParameter/{base}-{code}",
        "name": code,
        "status": "active",
        "description": "For tests.",
        "code": code,
        "base": [base],
        "type": kind,
        "expression": expression,
    } | more


def patient(pet: str, **more: Any) -> dict[str, Any]:
    extension = [{"url": PETS, "valueString": pet}]
    return {"resourceType": "Patient", "extension": extension, **more}


async def created(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    answer = await client.post(body["resourceType"], json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def ready(client: httpx.AsyncClient, search: str, within: float = 30.0) -> httpx.Response:
    """The answer to ``search`` once its parameter can be used."""
    until = asyncio.get_running_loop().time() + within
    while True:
        answer = await client.get(search)
        if answer.status_code == 200 or asyncio.get_running_loop().time() > until:
            assert answer.status_code == 200, answer.text
            return answer
        await asyncio.sleep(0.05)


async def refused(client: httpx.AsyncClient, search: str, within: float = 30.0) -> httpx.Response:
    """The answer to ``search`` once its parameter is not known any more."""
    until = asyncio.get_running_loop().time() + within
    while True:
        answer = await client.get(search)
        if answer.status_code == 400 or asyncio.get_running_loop().time() > until:
            assert answer.status_code == 400, answer.text
            return answer
        await asyncio.sleep(0.05)


def ids(answer: httpx.Response) -> set[str]:
    return {entry["resource"]["id"] for entry in answer.json().get("entry", ()) if "id" in entry["resource"]}


async def claimed(client: httpx.AsyncClient, type: str) -> set[str]:
    statement = (await client.get("metadata")).json()
    (resource,) = [each for each in statement["rest"][0]["resource"] if each["type"] == type]
    return {each["name"] for each in resource["searchParam"]}


async def test_what_is_there_and_what_comes_is_found(client: httpx.AsyncClient, settings: Settings) -> None:
    before = {await created(client, patient("Rex", birthDate="2001-01-01")) for _ in range(3)}
    await created(client, patient("Tom"))
    changed = await created(client, patient("Tom"))
    assert (await client.get("Patient?pet=Rex")).status_code == 400
    id = await created(client, parameter("pet", f"Patient.extension('{PETS}')", "string"))
    found = ids(await ready(client, "Patient?pet=rex"))
    assert found == before
    assert "pet" in await claimed(client, "Patient")
    after = await created(client, patient("Rexona"))
    await client.put(f"Patient/{changed}", json=patient("Rexi", id=changed))
    assert ids(await client.get("Patient?pet=rex")) == before | {after, changed}
    assert ids(await client.get("Patient?pet:exact=Rexona&birthdate:missing=true")) == {after}
    assert len(ids(await client.get("Patient?pet:missing=false"))) == 6
    assert (await verify(settings.database_url or "", load())).disagreements == []

    await client.delete(f"SearchParameter/{id}")
    assert "has no search parameter" in (await refused(client, "Patient?pet=rex")).text
    assert "pet" not in await claimed(client, "Patient")


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"expression": "Patient.pet"}, "business-rule", "no element 'pet'"),
        ({"expression": "Patient.name.given.first()"}, "business-rule", "cannot be compiled for Patient"),
        ({"expression": "Observation.code"}, "business-rule", "no alternative that begins with Patient"),
        (
            {"expression": "Patient.name"},
            "business-rule",
            "HumanName on Patient, which cannot be indexed as token",
        ),
        (
            {"expression": "Patient.meta.lastUpdated", "type": "date"},
            "business-rule",
            "search by _lastUpdated",
        ),
        ({"expression": None}, "business-rule", "has no expression"),
        ({"expression": "Patient.id" + " " * 3000}, "too-long", "longer than 2000"),
        ({"code": "gender"}, "duplicate", "Patient has the search parameter 'gender' already"),
        ({"code": "_id"}, "business-rule", "cannot be the name"),
        ({"code": "a.b:c"}, "business-rule", "cannot be the name"),
        ({"type": "special"}, "business-rule", "type special are not served"),
        ({"type": "composite"}, "business-rule", "two or three components"),
        ({"base": ["Pet"]}, "code-invalid", "Pet"),
    ],
)
async def test_what_cannot_be_served_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], code: str, text: str
) -> None:
    body = {k: v for k, v in (parameter("x1", "Patient.gender") | changes).items() if v is not None}
    answer = await client.post("SearchParameter", json=body)
    assert answer.status_code in (400, 422), answer.text
    assert any(text in issue["details"]["text"] for issue in answer.json()["issue"]), answer.text
    draft = await client.post("SearchParameter", json=body | {"status": "draft"})
    assert draft.status_code == (400 if changes.get("base") else 201), draft.text


async def test_a_transaction_says_so_too(client: httpx.AsyncClient) -> None:
    entry = {
        "resource": parameter("x2", "Patient.pet"),
        "request": {"method": "POST", "url": "SearchParameter"},
    }
    answer = await client.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert answer.status_code == 400 and "no element 'pet'" in answer.text
    assert "Bundle.entry[0].resource.expression" in answer.text


async def test_a_code_belongs_to_one(client: httpx.AsyncClient) -> None:
    id = await created(client, parameter("sex", "Patient.gender"))
    await ready(client, "Patient?sex=male")
    second = parameter("sex", "Patient.active") | {"url": "http://example.org/other"}
    answer = await client.post("SearchParameter", json=second)
    assert answer.status_code == 422 and f"SearchParameter/{id}" in answer.text
    same = await client.put(
        f"SearchParameter/{id}", json=parameter("sex", "Patient.gender", id=id, purpose="Sex")
    )
    assert same.status_code == 200
    assert (await client.get("Patient?sex=male")).status_code == 200


KINDS: list[tuple[str, str, str, dict[str, Any], str, str]] = [
    ("number", "Observation", "Observation.component.value.as(integer)",
     {"component": [{"code": {"text": "x"}, "valueInteger": 7}]}, "gt6", "gt8"),
    ("date", "Observation", "Observation.extension('http://example.org/when')",
     {"extension": [{"url": "http://example.org/when", "valueDateTime": "2020-02-03"}]}, "2020-02", "2021"),
    ("string", "Observation", "Observation.note.text", {"note": [{"text": "Éclair"}]}, "eclair", "x"),
    ("token", "Observation", "Observation.interpretation",
     {"interpretation": [{"coding": [{"system": "http://s", "code": "H"}]}]}, "http://s|H", "http://s|L"),
    ("reference", "Observation", "Observation.extension('http://example.org/by')",
     {"extension": [{"url": "http://example.org/by", "valueReference": {"reference": "Patient/ref"}}]},
     "Patient/ref", "Patient/other"),
    ("quantity", "Observation", "Observation.referenceRange.high",
     {"referenceRange": [{"high": {"value": 2, "unit": "g", "system": "http://unitsofmeasure.org", "code": "g"}}]},
     "2000|http://unitsofmeasure.org|mg", "3|http://unitsofmeasure.org|g"),
    ("uri", "Observation", "Observation.implicitRules", {"implicitRules": "http://r/1"}, "http://r/1", "http://r/2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "base", "expression", "content", "hit", "miss"), KINDS, ids=[k[0] for k in KINDS]
)
async def test_every_kind(
    client: httpx.AsyncClient,
    settings: Settings,
    kind: str,
    base: str,
    expression: str,
    content: dict[str, Any],
    hit: str,
    miss: str,
) -> None:
    await client.put("Patient/ref", json={"resourceType": "Patient", "id": "ref"})
    plain = {"resourceType": base, "status": "final", "code": {"text": kind}}
    first = await created(client, plain | content)
    await created(client, plain)
    await created(client, parameter(f"own-{kind}", expression, kind, base))
    assert ids(await ready(client, f"{base}?own-{kind}={hit}")) == {first}
    second = await created(client, plain | content)
    assert ids(await client.get(f"{base}?own-{kind}={hit}")) == {first, second}
    assert ids(await client.get(f"{base}?own-{kind}={miss}")) == set()
    assert ids(await client.get(f"{base}?own-{kind}:missing=false")) == {first, second}
    assert (await verify(settings.database_url or "", load())).disagreements == []


async def test_references_chain_and_include(client: httpx.AsyncClient) -> None:
    found = await client.get(
        "Observation?own-reference.active:missing=true&_include=Observation:own-reference"
    )
    assert "ref" in ids(found) and len(ids(found)) == 3, found.text
    assert ids(await client.get("Patient?_has:Observation:own-reference:status=final")) == {"ref"}


async def test_another_expression_is_indexed_anew(client: httpx.AsyncClient, settings: Settings) -> None:
    first = await created(client, {"resourceType": "Patient", "name": [{"family": "Ama", "given": ["Zoe"]}]})
    body = parameter("called", "Patient.name.family", "string")
    id = await created(client, body)
    assert ids(await ready(client, "Patient?called=ama")) == {first}
    body |= {"id": id, "expression": "Patient.name.given"}
    await client.put(f"SearchParameter/{id}", json=body)
    await refused(client, "Patient?called=ama")
    assert ids(await ready(client, "Patient?called=zoe")) == {first}
    assert ids(await client.get("Patient?called=ama")) == set()
    assert (await verify(settings.database_url or "", load())).disagreements == []


async def test_the_trigger_knows_the_type() -> None:
    assert (
        f"new.rt = {load().type_number['SearchParameter']})"
        in (folder("migrations") / "parameters.sql").read_text()
    )
