"""A grid of attempts to get at another patient: nothing of theirs may come back, and nothing may differ from what is
said of somebody who does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from attacks.cast import TYPES, Person
from attacks.rig import NOBODY, ROOT, Rig, Tokens, outward, prepared, store
from attacks.vectors import Attempt, everything, forgeries
from conftest import BASE
from fhirhub.app import create_app
from fhirhub.auth.access import Access
from fhirhub.auth.authority import Authority
from fhirhub.auth.grant import Grant
from fhirhub.auth.policy import load as load_policies
from fhirhub.auth.scope import parse_all
from fhirhub.exchange import Caller
from fhirhub.interactions.compartment import member
from fhirhub.packaged import folder
from fhirhub.search import narrowing
from fhirhub.search.across import combined
from fhirhub.search.predicate import Ids, Predicate
from fhirhub.search.request import SearchRequest
from fhirhub.search.sight import ALL, NONE, Sight, both
from fhirhub.settings import Settings
from fhirhub.store.records import Change, Stored
from fhirhub.view import view
from fhirhub.view.view import View
from fhirhub.view.writing import WriteRules
from searching import definitions, registry
from support.lifespan import running

OPEN_TYPES = ("Practitioner", "Organization", "Location", "Medication")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(settings: Settings) -> AsyncIterator[Rig]:
    app = create_app(replace(settings, referential_integrity=False))
    async with running(app):
        tokens = Tokens()
        app.gate = tokens
        policies = load_policies(folder("capability") / "policies", definitions.resource_types)
        authority = Authority(definitions, registry, app.hub.parser, policies)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
            made = await prepared(client)
            for name, letters, types in (
                ("full", "cruds", TYPES),
                ("readonly", "rs", TYPES),
                ("search only", "s", TYPES),
                ("read only", "r", TYPES),
                ("observations", "cruds", ("Observation",)),
            ):
                tokens.known[f"{name} ana"] = confined(app.hub, made.ana, letters, types)
                tokens.known[f"{name} bob"] = confined(app.hub, made.bob, letters, types)
            for name, decide in GRANTS.items():
                for person in (made.ana, made.bob):
                    tokens.known[f"{name} {person.id[2:]}"] = await authority.access(decide(person.id))
            yield made


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


async def _attack(rig: Rig, token: str, attempts: list[Attempt], victim: Person) -> list[str]:
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


def _total(told: int, leaks: list[str]) -> None:
    by_family = Counter(leak.split(": ")[1] for leak in leaks)
    assert not leaks, f"{len(leaks)} of {told} attempts tell something: {by_family}\n" + "\n".join(leaks[:4])


@pytest.mark.parametrize("token", ["full", "search only", "read only", "observations", *GRANTS])
async def test_nothing_of_another_patient_comes_back(rig: Rig, token: str) -> None:
    leaks: list[str] = []
    count = 0
    for _, attempts in everything(rig.bob, rig.ana, bundles=token == "full"):
        count += len(attempts)
        leaks += await _attack(rig, f"{token} ana", attempts, rig.bob)
    # With the twins, well above ten thousand requests over all tokens.
    assert count > (6000 if token == "full" else 2000)
    _total(count, leaks)
    await _untouched(rig)


async def _seen(self: View, action: str, type: str, ids: Sequence[str]) -> dict[str, Stored]:
    return await self._find(ALL, type, ids)


async def _unchecked(self: WriteRules, changes: Sequence[Change]) -> None:
    return None


def _as_it_was(request: SearchRequest, *others: Any) -> SearchRequest:
    return request


def _matches_only(request: SearchRequest, sight: Sight, *others: Any) -> SearchRequest:
    types = request.types or (request.type,)
    return replace(
        request, where=both(combined(types, [sight.of("s", each) for each in types]), request.where)
    )


def _without_includes(request: SearchRequest, *others: Any) -> SearchRequest:
    return replace(narrowing.narrowed(request, *others), within=None)


@pytest.mark.parametrize(
    ("place", "name", "instead", "families"),
    [
        (View, "_visible", _seen, {"1 read", "10 batch of 1 read"}),
        (
            view,
            "narrowed",
            _as_it_was,
            {"6 search", "6 reference", "4 totals", "5 text", "5 filter", "7 compartment"},
        ),
        (view, "narrowed", _matches_only, {"3 chain over a bridge", "3 has"}),
        (view, "narrowed", _without_includes, {"2 include over a bridge", "2 revinclude"}),
    ],
    ids=["reads", "searches", "operands", "includes"],
)
async def test_each_check_is_needed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, instead: Any, families: set[str]
) -> None:
    """The grid finds a leak in each family when the check that stops it is taken out."""
    monkeypatch.setattr(place, name, instead)
    leaks = []
    for _, attempts in everything(rig.bob, rig.ana, types=("Patient", "Observation", "Condition")):
        chosen = [attempt for attempt in attempts if attempt.family in families]
        leaks += await _attack(rig, "full ana", chosen, rig.bob)
    assert {leak.split(": ")[1] for leak in leaks} == families


async def test_a_version_that_was_anothers_stays_hidden(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Family 13: what moves from one patient to another takes its past along out of sight."""
    theirs = rig.bob.documents["Condition", rig.bob.of("Condition")]
    mine = rig.ana.documents["Condition", rig.ana.of("Condition")]
    await store(rig.client, [theirs | {"id": "moved-here"}, mine | {"id": "moved-away"}])
    await store(rig.client, [mine | {"id": "moved-here"}, theirs | {"id": "moved-away"}])

    async def told(url: str) -> tuple[int, bool]:
        answer = await rig.send(Attempt("", "GET", url), "full ana")
        return answer.status_code, rig.bob.canary in answer.text

    assert await told("Condition/moved-here") == (200, False)
    assert await told("Condition/moved-here/_history/1") == (404, False)
    assert await told("Condition/moved-here/_history/2") == (200, False)
    assert await told("Condition/moved-here/_history") == (200, False)
    for url in ("", "/_history/1", "/_history/2", "/_history"):
        assert await told(f"Condition/moved-away{url}") == (404, False)
    monkeypatch.setattr(View, "_was_visible", lambda self, stored: True)
    assert await told("Condition/moved-here/_history/1") == (200, True)
    assert await told("Condition/moved-here/_history") == (200, True)


async def test_a_page_link_is_its_holders_alone(rig: Rig) -> None:
    """Family 17: links of somebody who may see more, or of another patient."""
    for query in ("Practitioner?_count=1&_sort=_id", "Observation?_count=1&_sort=_id"):
        if query.startswith("Pr"):
            await store(rig.client, [{"resourceType": "Practitioner", "id": f"p{n}"} for n in range(3)])
        answer = await rig.send(Attempt("", "GET", query), ROOT)
        (link,) = [each["url"] for each in answer.json()["link"] if each["relation"] == "next"]
        for token in ("full ana", "readonly ana", "full bob"):
            stolen = await rig.send(Attempt("17 cursor", "GET", link.removeprefix(BASE + "/")), token)
            assert stolen.status_code == 400, stolen.text
    own = await rig.send(Attempt("", "GET", "Practitioner?_count=1&_sort=_id"), "full ana")
    (link,) = [each["url"] for each in own.json()["link"] if each["relation"] == "next"]
    path = link.removeprefix(BASE + "/")
    assert (await rig.send(Attempt("", "GET", path), "full ana")).status_code == 200
    for token in ("full bob", "readonly ana"):
        assert (await rig.send(Attempt("17 cursor", "GET", path), token)).status_code == 400


async def test_what_is_forged_is_refused(rig: Rig) -> None:
    for type in TYPES:
        for attempt in forgeries(type, rig.bob, rig.ana):
            answer = await rig.send(attempt, "full ana")
            assert answer.status_code in (403, 422), (
                f"{attempt.family} {type}: {answer.status_code} {answer.text}"
            )
    await _untouched(rig)


async def _untouched(rig: Rig) -> None:
    """All of both patients' resources are as they were first written."""
    for who in (rig.ana, rig.bob):
        for type, id in who.documents:
            answer = await rig.send(Attempt("", "GET", f"{type}/{id}"), ROOT)
            assert answer.status_code == 200, f"{type}/{id} is gone: {answer.text[:200]}"
            assert answer.json()["meta"]["versionId"] == "1", f"{type}/{id} was changed"


async def test_the_attempts_find_what_is_ones_own(rig: Rig) -> None:
    """The positive control: the same requests by the patient whose data it is."""
    found: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for _, attempts in everything(rig.bob, rig.ana):
        for attempt in attempts:
            if attempt.method in ("GET", "POST") and attempt.body is None:
                kinds[attempt.family] += 1
                answer = await rig.send(attempt, "full bob")
                found[attempt.family] += rig.bob.canary in answer.text
    for family in ("1 read", "1 vread", "6 search", "6 identifier", "6 reference", "5 text", "5 filter", "3 chain",
                   "3 has", "2 include", "2 revinclude", "7 compartment", "11 everything"):  # fmt: skip
        assert found[family], f"{family}: not even the owner finds anything in {kinds[family]} attempts"


def test_every_type_of_the_compartment_takes_part() -> None:
    assert len(TYPES) == sum(1 for types in definitions.compartments["Patient"].values() if types) - 2
    assert both(NONE, ALL) == NONE
