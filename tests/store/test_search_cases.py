"""Searches that once went wrong, each as small as it can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.search.parse import SearchParser
from fhirhub.store.store import Store
from property.rig import Rig, flat
from searching import NOW, definitions, registry

CODE = {"coding": [{"system": "http://loinc.org", "code": "a"}]}


@pytest_asyncio.fixture
async def rig(fresh_dsn: str) -> AsyncIterator[Rig]:
    store = await Store.open(fresh_dsn, definitions, integrity=False, connections=4)
    yield Rig(store)
    await store.close()


def observation(id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "status": "final", "code": CODE, **more}


async def found(rig: Rig, type: str, query: str, count: int) -> list[str]:
    pairs = [tuple(piece.split("=", 1)) for piece in query.split("&")]
    request = rig.request(type, pairs)
    ids = [each.id for each in flat(await rig.walk(request, count))]
    assert set(ids) == rig.expected(request) and len(ids) == len(set(ids))
    rig.check_order(request, ids)
    return ids


@pytest.mark.parametrize(
    "query", ["value-quantity=lt100", "code=a&_sort=value-quantity", "code=a&_sort=-value-quantity"]
)
async def test_pages_go_on_after_a_value_without_a_limit(rig: Rig, query: str) -> None:
    for number in range(3):
        below = {"value": number, "comparator": "<"}
        await rig.put(observation(f"b{number}", valueQuantity=below))
        await rig.put(observation(f"n{number}", valueQuantity={"value": number}))
        await rig.put(observation(f"a{number}", valueQuantity={"value": number, "comparator": ">"}))
    assert len(await found(rig, "Observation", query, 1)) == 9


async def test_a_page_link_survives_the_passing_of_time(rig: Rig) -> None:
    times = iter(range(NOW, NOW + 100))
    rig.parser = SearchParser(definitions, rig.store.secret, registry, clock=lambda: next(times))
    for number in range(3):
        await rig.put(observation(f"o{number}", effectiveDateTime="2020"))
    request = rig.request("Observation", [("date", "ap2020"), ("_count", "1")])
    ids: list[str] = []
    page = await rig.store.search(request)
    while page.next:
        ids += [each.id for each in page.matches]
        request = rig.request("Observation", [("date", "ap2020"), ("_count", "1"), ("_cursor", page.next)])
        page = await rig.store.search(request)
    assert len(ids) == 2 and len(page.matches) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("query", ["location-period=ge2020", "location-period=ge2020&_sort=-location-period"])
async def test_several_values_that_begin_together_are_one_place_in_the_order(
    rig: Rig, query: str, count: int
) -> None:
    for number in range(5):
        stays = [
            {
                "location": {"reference": "Location/1"},
                "period": {"start": f"2020-01-0{number + 1}", "end": f"2020-01-{day}"},
            }
            for day in range(10, 19)
        ]
        await rig.put(
            {
                "resourceType": "Encounter",
                "id": f"e{number}",
                "status": "finished",
                "class": {"code": "x"},
                "location": stays,
            }
        )
    assert len(await found(rig, "Encounter", query, count)) == 5


async def test_sorting_goes_by_the_first_value_even_if_a_later_one_matches(rig: Rig) -> None:
    for id, starts in (("e1", ("2001", "2020")), ("e2", ("2010", "2012")), ("e3", ("2015",))):
        stays = [
            {"location": {"reference": "Location/1"}, "period": {"start": start, "end": start}}
            for start in starts
        ]
        await rig.put(
            {
                "resourceType": "Encounter",
                "id": id,
                "status": "finished",
                "class": {"code": "x"},
                "location": stays,
            }
        )
    assert await found(rig, "Encounter", "location-period=ge2012&_sort=location-period", 1) == [
        "e1",
        "e2",
        "e3",
    ]


@pytest.mark.parametrize("sort", ["", "&_sort=date", "&_sort=-date"])
async def test_one_alternative_of_a_date_is_open_where_another_is_not(rig: Rig, sort: str) -> None:
    for number, date in enumerate(("2019", "2020", "2020-02", "2021")):
        await rig.put(observation(f"o{number}", effectiveDateTime=date))
    assert set(await found(rig, "Observation", f"code=a&date=eq2020,lt2020{sort}", 1)) == {"o0", "o1", "o2"}


async def test_has_finds_nothing_of_another_type(rig: Rig) -> None:
    await rig.put({"resourceType": "Patient", "id": "p"})
    await rig.put({"resourceType": "Group", "id": "g", "type": "person", "actual": True})
    await rig.put(observation("o1", subject={"reference": "Group/g"}))
    await rig.put(observation("o2", subject={"reference": "Patient/p"}))
    await rig.put(observation("o3", subject={"reference": "Patient/q"}))
    for type, ids in (("Patient", ["p"]), ("Group", ["g"])):
        query = "_has:Observation:subject:code=a"
        assert await found(rig, type, query, 1) == ids
        page = await rig.store.search(rig.request(type, [tuple(query.split("=")), ("_count", "0")]))
        assert page.total == 1


async def test_a_chain_does_not_see_what_was_deleted(rig: Rig) -> None:
    await rig.put({"resourceType": "Patient", "id": "p"})
    await rig.put(observation("o", subject={"reference": "Patient/p"}))
    assert await found(rig, "Observation", "code=a&subject:Patient.gender:missing=true", 1) == ["o"]
    await rig.delete(("Patient", "p"))
    assert await found(rig, "Observation", "code=a&subject:Patient.gender:missing=true", 1) == []


async def test_a_contained_resource_has_no_time_of_its_own(rig: Rig) -> None:
    inner = {"resourceType": "Medication", "id": "m", "status": "active"}
    held = {
        "contained": [inner],
        "medicationReference": {"reference": "#m"},
        "subject": {"reference": "Patient/p"},
    }
    document = {"resourceType": "MedicationRequest", "id": "r", "status": "active", "intent": "order", **held}
    await rig.put(document)
    for query, ids in (
        ("_id=r&medication.status=active", ["r"]),
        ("_id=r&medication._lastUpdated=gt2020", []),
    ):
        pairs = [tuple(piece.split("=")) for piece in query.split("&")]
        assert await found(rig, "MedicationRequest", query, 1) == ids
        assert rig.expected(rig.request("MedicationRequest", pairs)) == set(ids)
