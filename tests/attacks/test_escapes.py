"""A grid of attempts to get at another patient: nothing of theirs may come back, and nothing may differ from what is
said of somebody who does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from attacks.cast import TYPES
from attacks.rig import GRANTS, ROOT, Rig, attack, store
from attacks.vectors import Attempt, everything, forgeries
from conftest import BASE
from fhirhub.auth.access import Access
from fhirhub.search import narrowing
from fhirhub.search.across import combined
from fhirhub.search.request import SearchRequest
from fhirhub.search.sight import ALL, NONE, Sight, both
from fhirhub.store.records import Change, Stored
from fhirhub.view.narrowings import Narrowings
from fhirhub.view.view import View
from fhirhub.view.writing import WriteRules
from searching import definitions


def _total(told: int, leaks: list[str]) -> None:
    by_family = Counter(leak.split(": ")[1] for leak in leaks)
    assert not leaks, f"{len(leaks)} of {told} attempts tell something: {by_family}\n" + "\n".join(leaks[:4])


@pytest.mark.parametrize("token", ["full", "search only", "read only", "observations", *GRANTS])
async def test_nothing_of_another_patient_comes_back(rig: Rig, token: str) -> None:
    leaks: list[str] = []
    count = 0
    for _, attempts in everything(rig.bob, rig.ana, bundles=token == "full"):
        count += len(attempts)
        leaks += await attack(rig, f"{token} ana", attempts, rig.bob)
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


def _by(instead: Any) -> Any:
    """What narrows a search in place of the real thing; nothing of it is kept for later tests."""

    def of(self: Narrowings, request: SearchRequest, access: Access, definitions: Any) -> SearchRequest:
        made: SearchRequest = instead(request, access.sight, definitions, access.require)
        return made

    return of


@pytest.mark.parametrize(
    ("place", "name", "instead", "families"),
    [
        (View, "_visible", _seen, {"1 read", "10 batch of 1 read"}),
        (
            Narrowings,
            "of",
            _by(_as_it_was),
            {"6 search", "6 reference", "4 totals", "5 text", "5 filter", "7 compartment"},
        ),
        (Narrowings, "of", _by(_matches_only), {"3 chain over a bridge", "3 has"}),
        (Narrowings, "of", _by(_without_includes), {"2 include over a bridge", "2 revinclude"}),
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
        leaks += await attack(rig, "full ana", chosen, rig.bob)
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

    async def visible(*_: Any) -> bool:
        return True

    monkeypatch.setattr(View, "_was_visible", visible)
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
