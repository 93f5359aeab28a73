"""How Postgres goes about a page: by indexes alone, and no further than the page is long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from fhirhub.search.request import SearchRequest
from fhirhub.store.plan import LEGS, Plan, choose
from fhirhub.store.records import Change, Page
from fhirhub.store.store import Store
from property.rig import Rig, any_plan
from searching import definitions

OBSERVATIONS = 20_000
PATIENTS = 500
COUNT = 20
EXCEPT = 5000
"""Every so many observations one has no category."""
Node = dict[str, Any]

PAGES = {
    # search: (kind of plan, rows that may be read for a page of 20)
    "Observation?code=common": ("token", 60),
    "Observation?code=common&_sort=date": ("token", 80),
    "Observation?code=common&_sort=-date": ("token", 60),
    "Observation?code=common,even,odd&_sort=-date": ("token", 120),
    "Observation?status=final": ("token", 60),
    "Observation?code=http://x|common&status=final": ("token", 80),
    "Observation?subject=Patient/p7": ("token", 60),
    "Observation?subject=Patient/p7&code=common": ("token", 160),
    "Observation?subject=Patient/p7&date=ge2010&_sort=-date": ("token", 160),
    "Observation?code=common&date=ge2012-06-01&date=lt2012-06-08": ("token", 120),
    "Observation?code=common&date=2012": ("token", 100),
    "Observation?code=common&_sort=-date&date=lt2005": ("token", 100),
    "Observation?": ("resource", 45),
    "Observation?_sort=date": ("resource", 80),
    "Observation?_sort=-date": ("resource", 45),
    "Observation?code:not=common": ("resource", 400),
    "Observation?value-quantity:missing=true": ("resource", 120),
    "Observation?subject=Patient/p226&category:not=lab": ("token", 160),
    "Observation?subject=Patient/p144&category:missing=true": ("token", 160),
    "Observation?_sort=_lastUpdated": ("updated", 45),
    "Observation?_sort=-_lastUpdated": ("updated", 45),
    "Observation?value-quantity=gt400": ("range", 260),
    "Observation?value-quantity=500": ("range", 180),
    "Observation?value-quantity=le900||cm": ("range", 180),
    "Observation?combo-value-quantity=le900|http://unitsofmeasure.org|cm": ("range", 180),
    # The dictionary has some 400 texts of codes.
    "Observation?_content=common": ("merged", 400 + 180),
    "Observation?_content=common&_sort=date": ("merged", 400 + 240),
    "Observation?_content=bulky": ("resource", 400 + 400),
    "Observation?value-string=word": ("range", 120),
    "Patient?birthdate=ge1990-01-01": ("range", 120),
    "Patient?family=name1": ("range", 120),
    "Observation?_sort=status": ("ranked", 70),
    "Observation?_sort=-status,-date": ("ranked", 70),
    "Observation?code=common&_sort=-status": ("ranked", 400),
    "Observation?identifier=n777": ("token", 10),
    "Observation?_id=o5,o6": ("sort", 20),
    "Observation?subject:Patient.family=name17&_sort=-date": ("sort", 1200),
    "Patient?_has:Observation:subject:identifier=n777": ("sort", 30),
}  # fmt: skip
UNITS = [{"system": "http://unitsofmeasure.org", "code": code} for code in ("mg", "cm")]
COUNTS = {
    "Observation?identifier=n777": 10,
    "Observation?subject=Patient/p7": 80,
    "Observation?subject=Patient/p7&code=common": 400,
}


def mixed(number: int, salt: int) -> int:
    """A number that has nothing to do with others of the same observation."""
    return ((number + 1) * 2_654_435_761 * (2 * salt + 1) % (1 << 32)) >> 9


def observation(number: int) -> dict[str, Any]:
    codes = ("common", "even" if number % 2 == 0 else "odd", f"rare{number % 400}")
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final" if number % 10 else "amended",
        "note": [{"text": "bulky" if number % 2 else "light"}],
        "identifier": [{"value": f"n{number}"}],
        "code": {
            "coding": [
                {"system": "http://x", "code": code, "display": f"Kind {code}"}
                for code in codes[number % 5 == 4 :]
            ]
        },
        "category": [{"coding": [{"code": "lab"}]}] if number % EXCEPT else None,
        "subject": {"reference": f"Patient/p{mixed(number, 1) % PATIENTS}"},
    }
    if number % 50:
        year, month, day = (
            first + mixed(number, salt) % size
            for salt, (first, size) in enumerate(((2000, 20), (1, 12), (1, 28)))
        )
        made["effectiveDateTime"] = f"{year}-{month:02}-{day:02}T08:{number % 60:02}:00Z"
    value = (
        {"valueQuantity": {"value": number % 1000, **UNITS[number % 20 == 7]}}
        if number % 3
        else {"valueString": f"word {number % 90}"}
    )
    return {name: part for name, part in (made | value).items() if part is not None}


def patient(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "name": [{"family": f"Name{number}"}],
        "birthDate": f"{1930 + number % 80}-03-04",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(dsn: str) -> AsyncIterator[Rig]:
    store = await Store.open(dsn, definitions, connections=5)
    made = Rig(store)

    async def load(documents: list[dict[str, Any]]) -> None:
        changes = [
            Change("PUT", each["resourceType"], each["id"], None, each, made.extractor.rows(each))
            for each in documents
        ]
        await store.write(changes)

    await load([patient(number) for number in range(PATIENTS)])
    for first in range(0, OBSERVATIONS, 2000):
        numbers = range(first, first + 2000)
        await asyncio.gather(
            *(load([observation(n) for n in numbers[k : k + 500]]) for k in range(0, 2000, 500))
        )
    await store.fetch("analyze")
    await store.fetch("vacuum")
    await store.statistics.refresh(store.fetch)
    yield made
    await store.close()


def literal(value: Any) -> str:
    """``value`` as SQL text; an untyped one, since the statement says what it is."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return "'{" + ",".join(str(each) for each in value) + "}'"
    return "'" + str(value).replace("'", "''") + "'"


async def explained(rig: Rig, sql: str, values: list[Any]) -> Node:
    """The plan of a statement as the server keeps it (for any values), with what it did for these."""
    async with rig.store._lanes["search"].use() as connection:
        await connection.raw.execute(f"prepare page as {sql}")
        try:
            call = f"execute page ({', '.join(map(literal, values))})" if values else "execute page"
            text = await connection.raw.fetchval(f"explain (analyze, buffers, format json) {call}")
        finally:
            await connection.raw.execute("deallocate page")
    return json.loads(text)[0]["Plan"]


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for each in node.get("Plans", ()):
        yield from nodes(each)


def rows_read(plan: Node) -> int:
    """Rows that scans have looked at, those they threw away too."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return round(
        sum(
            (node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * node["Actual Loops"]
            for node in nodes(plan)
            if "Scan" in node["Node Type"] and "Relation Name" in node
        )
    )


def outline(node: Node, depth: int = 0) -> Iterator[str]:
    """The plan, a line for each node."""
    names = ("Relation Name", "Actual Rows", "Actual Loops", "Rows Removed by Filter", "Index Cond", "Filter")
    told = ", ".join(f"{name} {node[name]}" for name in names if name in node)
    yield f"{'  ' * depth}{node['Node Type']}: {told}"
    for each in node.get("Plans", ()):
        yield from outline(each, depth + 1)


def check(plan: Node, limit: int) -> None:
    scans = {node["Node Type"] for node in nodes(plan) if "Relation Name" in node}
    assert scans <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, scans
    assert rows_read(plan) <= limit, "\n".join(outline(plan))


def request_of(rig: Rig, query: str) -> SearchRequest:
    type, _, rest = query.partition("?")
    pairs = [tuple(piece.split("=", 1)) for piece in rest.split("&") if piece]
    return replace(rig.request(type, pairs), count=COUNT)


async def asked(rig: Rig, request: SearchRequest) -> tuple[Page, list[str], str, list[Any]]:
    """A page, the kinds of plan chosen for it, and the last statement with its values."""
    seen: list[tuple[str, list[Any]]] = []
    used: list[Plan] = []

    async def fetch(sql: str, *values: Any) -> Any:
        seen.append((sql, list(values)))
        return await rig.store.fetch(sql, *values)

    with any_plan(Random(), used, lambda *about: [choose(*about)]):
        page = await rig.store.searcher.search(request, fetch)
    sql, values = next((each for each in reversed(seen) if " as place" in each[0]), seen[-1])
    ranked = ["ranked"] if "with found as" in sql else []
    return page, ranked or [plan.kind for plan in used], sql, values


@pytest.mark.parametrize("query", PAGES)
async def test_a_page_costs_what_it_shows(rig: Rig, query: str) -> None:
    """The first page, and those after six more, forward and back."""
    expected, limit = PAGES[query]
    request = request_of(rig, query)
    page, kinds, sql, values = await asked(rig, request)
    assert kinds == [expected] and page.matches
    check(await explained(rig, sql, values), limit)
    for _ in range(6):
        if page.next is None:
            return
        page, kinds, *_ = await asked(rig, replace(request, cursor=page.next))
        assert kinds in ([], ["ranked"]), "a page link pins its plan"
    for cursor in (page.next, page.previous):
        if cursor is not None:
            _, _, sql, values = await asked(rig, replace(request, cursor=cursor))
            check(await explained(rig, sql, values), limit)


@pytest.mark.parametrize("query", COUNTS)
async def test_a_total_costs_what_it_counts(rig: Rig, query: str) -> None:
    page, _, sql, values = await asked(rig, replace(request_of(rig, query), count=0))
    assert page.total
    check(await explained(rig, sql, values), COUNTS[query])


UNLABELLED = {f"o{number}" for number in range(0, OBSERVATIONS, EXCEPT)}
RARELY = {
    # search: the observations found
    "Observation?category:not=lab": UNLABELLED,
    "Observation?category:missing=true": UNLABELLED,
    "Observation?category:not=lab&_sort=date": UNLABELLED,
    "Observation?category:not=lab,a,b,c,d,e,f,g,h": UNLABELLED,
    "Observation?status=final&category:not=lab": UNLABELLED - {f"o{number}" for number in range(0, OBSERVATIONS, 10)},
    "Observation?subject:missing=true": set(),
    "Observation?device:missing=false": set(),
}  # fmt: skip


async def index_only(rig: Rig, sql: str, values: list[Any], looked_up: int) -> None:
    """Check that ``sql`` reads no more than so many rows but in indexes, and those once."""
    plan = await explained(rig, sql, values)
    told = "\n".join(outline(plan))
    entries = [node for node in nodes(plan) if node["Node Type"] == "Index Only Scan"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in entries) <= 2.1 * OBSERVATIONS, told
    assert not any(node["Heap Fetches"] for node in entries), told
    assert rows_read(plan) <= 2.1 * OBSERVATIONS + looked_up, told
    kept = [node for node in nodes(plan) if "Sort" in node["Node Type"] or node.get("Strategy") == "Hashed"]
    assert all(node["Actual Rows"] <= 0.05 * OBSERVATIONS for node in kept), told
    others = [node for node in nodes(plan) if "Index" in node["Node Type"] and node not in entries]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in others) <= looked_up, told


@pytest.mark.parametrize("query", RARELY)
async def test_what_hardly_any_lacks_is_found_in_the_indexes(rig: Rig, query: str) -> None:
    request = request_of(rig, query)
    page, kinds, sql, values = await asked(rig, request)
    assert kinds == ["absent"] and {each.id for each in page.matches} == RARELY[query]
    await index_only(rig, sql, values, 100)
    page, _, sql, values = await asked(rig, replace(request, count=0))
    assert page.total == len(RARELY[query])
    await index_only(rig, sql, values, 100)


async def test_what_hardly_any_lacks_is_gathered_for_other_orders(rig: Rig) -> None:
    for order in ("_lastUpdated", "value-quantity", "status"):
        page, kinds, sql, values = await asked(
            rig, request_of(rig, f"Observation?category:not=lab&_sort={order}")
        )
        assert kinds == ["sort"] and {each.id for each in page.matches} == UNLABELLED
        await index_only(rig, sql, values, 100)


async def test_the_last_page_by_codes_looks_up_what_it_shows(rig: Rig) -> None:
    request = replace(request_of(rig, "Observation?_sort=category"), count=OBSERVATIONS - len(UNLABELLED) - 3)
    page, kinds, _, _ = await asked(rig, request)
    assert kinds == ["ranked"]
    page, _, sql, values = await asked(rig, replace(request, cursor=page.next, count=COUNT))
    assert len(page.matches) == len(UNLABELLED) + 3 and {each.id for each in page.matches} >= UNLABELLED
    await index_only(rig, sql, values, 100)


async def test_all_codes_of_a_system_are_not_followed_one_by_one(rig: Rig) -> None:
    for query in ("Observation?code=http://x|", "Observation?code=http://x|&_sort=-date"):
        page, kinds, sql, _ = await asked(rig, request_of(rig, query))
        assert kinds == ["resource"] and sql.count("union all") < LEGS
        assert len(page.matches) == COUNT
