"""Every search parameter that the CapabilityStatement claims, on every type, with a hit and a miss.

A resource is made for each element that the parameter's published expression leads to; it must be found by the value
planted there, and not by another one. https://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import httpx
import pytest_asyncio

from fhirhub.definitions.tables import SearchParameter, load
from support.planting import Document, Leaf, Planter, Step, alternatives, reached, read
from support.samples import AIM, BASE, RECORDED, SAMPLES, Sample

URL = "http://testserver/fhir"
BATCH = 400
AT_ONCE = 8
WORD = "kumquat"

definitions = load()
planter = Planter(definitions)


@dataclass(frozen=True, slots=True)
class Case:
    """``document`` must be found on its type by ``code=hit`` and not by ``code=miss``.

    ``paths`` are where the parameter's values stand: what has nothing there must not be found either. ``modifier``
    (``:missing``) follows the code.
    """

    type: str
    code: str
    document: Document
    hit: str
    miss: str
    paths: tuple[tuple[str, ...], ...] = ()
    modifier: str = ""


def ends(type_: str, alternative: str) -> list[Leaf]:
    """Where an alternative leads; an extension is its value."""
    found: list[Leaf] = []
    for leaf in planter.leaves(type_, alternative):
        if leaf.type_name == "Extension":
            found += [
                replace(inner, steps=(*leaf.steps, *inner.steps))
                for inner in planter.leaves("Extension", "value")
            ]
        else:
            found.append(leaf)
    return found


def sampled(kind: str, leaf: Leaf, number: int) -> Sample | None:
    make = SAMPLES.get((kind, leaf.type_name))
    return make(number, leaf, planter) if make and leaf.steps else None


def plain(parameter: SearchParameter, numbers: Iterator[int]) -> Iterator[Case]:
    """A case for each element that a parameter which is no composite stands on."""
    leaves = [leaf for each in alternatives(parameter.expression) for leaf in ends(parameter.type, each)]
    paths = tuple(leaf.names for leaf in leaves)
    for leaf in leaves:
        if leaf.type_name == "Resource":
            leaf = replace(leaf, only=parameter.targets[0])
        sample = sampled(parameter.kind, leaf, next(numbers))
        if sample is None:
            continue
        document = planter.minimal(parameter.type)
        planter.plant(document, leaf, sample.value)
        yield Case(parameter.type, parameter.code, document, sample.hit, sample.miss, paths)
        other = decoy(leaf, sample)
        if other is not None:
            document = planter.minimal(parameter.type)
            planter.plant(document, *other)
            yield Case(parameter.type, parameter.code, document, "true", "false", modifier=":missing")


def decoy(leaf: Leaf, sample: Sample) -> tuple[Leaf, Any] | None:
    """A value beside the one that the expression means: a reference to another type, a contact of another system."""
    last, conditions = leaf.steps[-1]
    if leaf.only and leaf.type_name == "Reference":
        others = (each for each in last.type.targets or definitions.resource_types if each != leaf.only)
        return leaf, {"reference": f"{next(others)}/{AIM}"}
    for at, (found, more) in enumerate(leaf.steps):
        for step in more:
            if step.kind == "where" and step.name != "url":
                own = definitions.types[found.type_name].properties[step.name].element
                changed = replace(
                    step, value=next(code for _, code in planter.codes(own) if code != step.value)
                )
                steps = (*leaf.steps[:at], (found, (changed,)), *leaf.steps[at + 1 :])
                return replace(leaf, steps=steps), sample.value
    return None


def composite(parameter: SearchParameter, numbers: Iterator[int]) -> Iterator[Case]:
    """A case for each combination of elements that the components stand on."""
    siblings = definitions.search_parameters(parameter.type)
    for alternative in alternatives(parameter.expression):
        for focus in planter.leaves(parameter.type, alternative):
            found = [
                list(component(parameter.type, siblings[code], text, focus))
                for code, text in parameter.components
            ]
            for chosen in product(*found):
                yield composed(parameter, chosen, numbers)


def component(type_: str, own: SearchParameter, text: str, focus: Leaf) -> Iterator[tuple[str, Leaf]]:
    """(kind, leaf) of what one component stands on."""
    for alternative in alternatives(text):
        at_root = alternative.startswith("%resource.")
        start = type_ if at_root else focus.type_name
        for leaf in planter.leaves(start, alternative.removeprefix("%resource.")):
            # HL7 exchanged the parameters of the two halves of DocumentReference's relationship.
            kinds = ("token", "reference") if own.code in ("relatesto", "relation") else (own.kind,)
            kind = next((kind for kind in kinds if (kind, leaf.type_name) in SAMPLES), "")
            if kind:
                yield kind, leaf if at_root else replace(leaf, steps=(*focus.steps, *leaf.steps))


def composed(
    parameter: SearchParameter, chosen: tuple[tuple[str, Leaf], ...], numbers: Iterator[int]
) -> Case:
    document = planter.minimal(parameter.type)
    samples: list[Sample] = []
    for kind, leaf in chosen:
        sample = sampled(kind, leaf, next(numbers))
        assert sample is not None
        planter.plant(document, leaf, sample.value)
        samples.append(sample)
    hits = [sample.hit for sample in samples]
    paths = tuple(leaf.names for _, leaf in chosen)
    return Case(
        parameter.type,
        parameter.code,
        document,
        "$".join(hits),
        "$".join([*hits[:-1], samples[-1].miss]),
        paths,
    )


# -- by hand ---------------------------------------------------------------------------------------------


def spoken(type_: str) -> Document:
    """A resource with the word in its narrative, or in some text where a type has no narrative."""
    made = planter.minimal(type_)
    if type_ == "Bundle":
        person = {"resourceType": "Patient", "id": "b", "name": [{"family": WORD}]}
        return made | {"entry": [{"fullUrl": f"{URL}/Patient/b", "resource": person}]}
    if type_ == "Parameters":
        return made | {"parameter": [{"name": "a", "valueString": f"the {WORD} itself"}]}
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>Cut the {WORD}.</p></div>'
    return made | {"text": {"status": "additional", "div": div}}


def _named(type_: str, code: str) -> Iterator[Case]:
    document = {**planter.minimal(type_), "id": f"own-{code.strip('_')}"}
    if code == "_id":
        yield Case(type_, code, document, document["id"], "own-nobody")
    elif code == "_lastUpdated":
        yield Case(type_, code, document, "gt2020-01-01", "lt2020-01-01")
    elif code == "_filter":
        yield Case(type_, code, document, f"_id eq {document['id']}", "_id eq nobody")


def _listed(type_: str, code: str) -> Iterator[Case]:
    yield Case(type_, code, {**planter.minimal(type_), "id": "listed"}, "of-everything", "of-nothing")


def _spoken(type_: str, code: str) -> Iterator[Case]:
    if type_ != "Binary":  # which holds no text
        yield Case(
            type_, code, spoken(type_), f"{WORD[:4]}", f"{WORD}x", (("text",),) if code == "_text" else ()
        )


def _near(type_: str, code: str) -> Iterator[Case]:
    document = planter.minimal(type_) | {"position": {"latitude": 46.0, "longitude": 7.5}}
    yield Case(type_, code, document, "46.01|7.5|5|km", "46.2|7.5|5|km", (("position",),))


def _phonetic(type_: str, code: str) -> Iterator[Case]:
    element = definitions.types[type_].properties["name"]
    name = [{"family": "Smyth"}] if element.type_name == "HumanName" else "Smyth Schmidt"
    yield Case(type_, code, planter.minimal(type_) | {"name": name}, "Smith", "Jones", (("name",),))


def _deceased(type_: str, code: str) -> Iterator[Case]:
    for value in ({"deceasedBoolean": True}, {"deceasedDateTime": "1900-01-01"}):
        yield Case(
            type_, code, planter.minimal(type_) | value, "true", "false", tuple((name,) for name in value)
        )
    yield Case(type_, code, planter.minimal(type_) | {"deceasedBoolean": False}, "false", "true")


BY_HAND: dict[str, Callable[[str, str], Iterator[Case]]] = {
    "_id": _named, "_lastUpdated": _named, "_filter": _named, "_list": _listed, "_content": _spoken, "_text": _spoken,
    "near": _near, "deceased": _deceased, "phonetic": _phonetic,
}  # fmt: skip
WITHOUT_TEXT = {("Binary", "_content")}
"""Claimed, and rightly never found."""


def cases_of(type_: str, code: str, numbers: Iterator[int]) -> list[Case]:
    parameter = definitions.search_parameters(type_)[code]
    if code in BY_HAND:
        return list(BY_HAND[code](type_, code))
    found = list((composite if parameter.kind == "composite" else plain)(parameter, numbers))
    return found + [
        replace(each, hit="false", miss="true", paths=(), modifier=":missing") for each in found[:1]
    ]


# -- carrying it out ---------------------------------------------------------------------------------------


def numbered(cases: list[Case]) -> list[Case]:
    """The cases with an id for each document that has none."""
    known: dict[int, Document] = {}
    for case in cases:
        known.setdefault(id(case.document), {"id": f"c{len(known)}", **case.document})
    return [replace(case, document=known[id(case.document)]) for case in cases]


async def put(client: httpx.AsyncClient, documents: list[Document]) -> None:
    for at in range(0, len(documents), BATCH):
        entries = [
            {
                "resource": {key: value for key, value in each.items()},
                "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"},
            }
            for each in documents[at : at + BATCH]
        ]
        answer = await client.post(
            URL, json={"resourceType": "Bundle", "type": "transaction", "entry": entries}
        )
        assert answer.status_code == 200, answer.text[:3000]


def claimed(statement: dict[str, Any]) -> list[tuple[str, str]]:
    """(type, code) of all claims but those of what the server records itself: see test_audit_event.py."""
    return [
        (each["type"], parameter["name"])
        for each in statement["rest"][0]["resource"]
        for parameter in each.get("searchParam", ())
        if each["type"] != RECORDED
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cases(client: httpx.AsyncClient) -> dict[tuple[str, str], list[Case]]:
    """The cases of all claims, their documents stored."""
    statement = (await client.get("metadata")).json()
    numbers = iter(range(1_000_000))
    found = [case for type_, code in claimed(statement) for case in cases_of(type_, code, numbers)]
    by_claim: dict[tuple[str, str], list[Case]] = {claim: [] for claim in claimed(statement)}
    for case in numbered(found):
        by_claim[case.type, case.code].append(case)
    targets = [
        {**planter.minimal(type_), "id": id_}
        for type_ in definitions.resource_types
        if type_ != RECORDED
        for id_ in (AIM, BASE)
    ]
    items = [{"item": {"reference": f"{type_}/listed"}} for type_, code in by_claim if code == "_list"]
    head = {"resourceType": "List", "status": "current", "mode": "working"}
    await put(client, targets)
    documents = {(each.type, each.document["id"]): each.document for own in by_claim.values() for each in own}
    await put(client, list(documents.values()))
    await put(client, [{**head, "id": "of-everything", "entry": items}, {**head, "id": "of-nothing"}])
    return by_claim


async def ids(client: httpx.AsyncClient, type_: str, code: str, value: str) -> set[str]:
    """The ids of all that a search finds."""
    answer = await client.get(type_, params={code: value, "_count": "1000", "_elements": "id"})
    assert answer.status_code == 200, f"{type_}?{code}={value}: {answer.text[:500]}"
    return {
        each["resource"]["id"] for each in answer.json().get("entry", ()) if each["search"]["mode"] == "match"
    }


async def checked(client: httpx.AsyncClient, case: Case) -> list[str]:
    """What is wrong with one case."""
    name = case.code + case.modifier
    hits = await ids(client, case.type, name, case.hit)
    misses = await ids(client, case.type, name, case.miss)
    own, told = case.document["id"], f"{case.type}?{name}={case.hit}"
    wrong: list[str] = []
    if own not in hits:
        wrong.append(f"{told} does not find {case.document}")
    if own in misses:
        wrong.append(f"{case.type}?{name}={case.miss} finds {case.document}")
    empty = planter.minimal(case.type)
    if case.paths and BASE in hits and not any(reached(empty, path) for path in case.paths):
        wrong.append(f"{told} finds {empty}, which has no value of it")
    return wrong


def test_expressions_are_read_as_published() -> None:
    assert read("(A.b as C).d") == [
        Step("member", "A"),
        Step("member", "b"),
        Step("as", "C"),
        Step("member", "d"),
    ]
    assert read("A.b.where(resolve() is C)")[2] == Step("only", "C")
    assert read("A.b.where(x='y').c")[2:] == [Step("where", "x", "y"), Step("member", "c")]


async def test_every_claim_has_a_case(cases: dict[tuple[str, str], list[Case]]) -> None:
    assert {claim for claim, own in cases.items() if not own} == WITHOUT_TEXT
    assert len({type_ for type_, _ in cases}) == 145 and len(cases) > 3000


async def test_every_claim_is_kept(
    client: httpx.AsyncClient, cases: dict[tuple[str, str], list[Case]]
) -> None:
    waiting = [case for own in cases.values() for case in own]
    wrong: dict[tuple[str, str], list[str]] = defaultdict(list)

    async def work() -> None:
        while waiting:
            case = waiting.pop()
            wrong[case.type, case.code] += await checked(client, case)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    told = [text for each in wrong.values() for text in each]
    assert not told, f"{len(told)} wrong:\n" + "\n".join(sorted(told)[:60])
