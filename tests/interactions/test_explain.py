"""``$explain``: the plan of a search over HTTP. Who may know what of it: ``test_explain_access.py``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from fhirhub.store.cost import Guard
from fhirhub.store.store import Store
from support.access import observation
from support.parameters import Told, told
from support.steps import Step, run

MILLION = 1_000_000.0


async def explained(client: httpx.AsyncClient, query: str) -> Told:
    answer = await client.get(query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["resourceType"] == "Parameters"
    return told(answer.json())


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    for each in ({"resourceType": "Patient", "id": "ana"}, observation("ana", id="o")):
        answer = await client.put(f"{each['resourceType']}/{each['id']}", json=each)
        assert answer.status_code == 201, answer.text


@contextmanager
def crowded(store: Store, guard: Guard) -> Iterator[None]:
    """A store whose statistics speak of millions."""
    number, searcher = store.definitions.type_number, store.searcher
    before = store.statistics.types, store.statistics.total, searcher.guard
    store.statistics.types = {number["Observation"]: 6 * MILLION, number["Patient"]: 16_000}
    store.statistics.total = 8 * MILLION
    searcher.guard = guard
    try:
        yield
    finally:
        store.statistics.types, store.statistics.total, searcher.guard = before


PLANS: dict[str, tuple[str, str, list[str]]] = {
    "Observation/$explain?": ("resource", "all resources of the type", []),
    "Observation/$explain?identifier=a|b": ("token", "1 value(s) of identifier", ["token"]),
    "Observation/$explain?patient=ana&_sort=-date": ("token", "subject refers to 1 resource(s)", ["token"]),
    "Observation/$explain?value-quantity=gt5": ("range", "number value-quantity in a range", ["number"]),
    "Observation/$explain?_lastUpdated=gt2020": ("updated", "all resources of the type", ["resource"]),
    "Observation/$explain?code:missing=true": ("resource", "all resources of the type", ["none"]),
    "Patient/$explain?family=smith&_sort=birthdate": ("sort", "prefix text of family", ["string"]),
    "Patient/$explain?_id=ana&_summary=count": ("count", "1 id(s)", ["resource"]),
    "Observation/$explain?subject:Patient.family=a": (
        "sort",
        "the chain subject:Patient.(prefix text of family)",
        ["token", "string"],
    ),
    "$explain?_type=Observation,Condition&_tag=a|b": ("token", "2 value(s) of _tag", ["token"]),
    "$explain?_type=Patient&family=smith": ("range", "prefix text of family", ["string"]),
    "$explain?_lastUpdated=gt2020": ("updated", "all resources of the type", ["resource"]),
}


@pytest.mark.parametrize("query", PLANS)
async def test_the_plan_for_who_sees_everything(client: httpx.AsyncClient, query: str) -> None:
    kind, driver, indexes = PLANS[query]
    found = await explained(client, query)
    (plan,) = found["plan"]
    assert (plan["kind"], plan["driver"]) == ([kind], [driver])
    assert [index for each in found.get("criterion", []) for index in each["index"]] == indexes
    assert found["refused"] == [False]
    (cost,) = found["cost"]
    assert cost["limit"] == [5_000_000] and cost["entries"][0] > 0
    assert len(plan.get("condition", [])) == len(found.get("criterion", []))


@pytest.mark.parametrize(
    ("query", "grows"),
    [
        ("Observation/$explain?", "page"),
        ("Observation/$explain?identifier=a", "page"),
        ("Observation/$explain?_sort=-date", "page"),
        ("Observation/$explain?_lastUpdated=gt2020", "type"),
        ("Patient/$explain?family=a&_sort=birthdate", "matches"),
        ("Patient/$explain?_sort=birthdate", "type"),
        ("Patient/$explain?family=a&_count=0", "matches"),
        ("Patient/$explain?_summary=count", "type"),
    ],
)
async def test_what_the_cost_grows_with(client: httpx.AsyncClient, query: str, grows: str) -> None:
    assert (await explained(client, query))["cost"][0]["growsWith"] == [grows]


async def test_each_criterion_in_words(client: httpx.AsyncClient) -> None:
    found = await explained(
        client,
        "Observation/$explain?code:text=pressure&subject:Patient.birthdate=gt1980&value-quantity=5|http://unitsofmeasure.org|g"
        "&status:not=final&_has:Provenance:target:agent=Practitioner/1&_count=5&_sort=-date&_include=Observation:subject",
    )
    assert [(each["parameter"][0], each["understood"][0]) for each in found["criterion"]] == [
        ("code:text", "code is described by the words"),
        ("subject:Patient.birthdate", "(subject leads to a Patient of which birthdate is in the range of time or by"
         " subject, it contains a Patient of which birthdate is in the range of time)"),
        ("value-quantity", "value-quantity is in the range of numbers"),
        ("status:not", "not (status has the value)"),
        ("_has:Provenance:target:agent", "a Provenance refers to it by target, of which agent refers to what is named"),
    ]  # fmt: skip
    assert found["plan"][0]["order"] == ["-date"]
    found = await explained(client, "$explain?_lastUpdated=gt2020&_text=a")
    assert [(each["parameter"][0], each["understood"][0]) for each in found["criterion"]] == [
        ("_lastUpdated", "it was last changed in the range of time"),
        ("_text", "it is of the type and its text holds the word"),
    ]


ADVICE = {
    "Observation/$explain?_lastUpdated=gt2020": ["No criterion can drive"],
    "Patient/$explain?name:contains=abc": ["looks through the values"],
    "Patient/$explain?family=a&_sort=birthdate": ["All matches are gathered"],
    "Observation/$explain?_sort=performer&identifier=a": ["performer has no index in its order"],
    "Patient/$explain?gender=male&_total=accurate": ["_total=estimate"],
    "Observation/$explain?code=8480-6": ["component-code does, combo-code into both"],
    "Observation/$explain?identifier=a": [],
}


@pytest.mark.parametrize("query", ADVICE)
async def test_advice(client: httpx.AsyncClient, query: str) -> None:
    advice = (await explained(client, query)).get("advice", [])
    for wanted in ADVICE[query]:
        assert any(wanted in text for text in advice), advice
    assert bool(advice) == bool(ADVICE[query])


async def test_what_would_be_refused(app: Any, client: httpx.AsyncClient) -> None:
    with crowded(app.store, Guard(MILLION)):
        for query in ("_sort=value-quantity", "_sort=-value-quantity&status:not=final"):
            found = await explained(client, f"Observation/$explain?{query}")
            searched = await client.get(f"Observation?{query}")
            assert found["refused"] == [True] and searched.status_code == 400
            (issue,) = found["refusal"][0]["issue"]
            assert issue == searched.json()["issue"][0] | {"diagnostics": issue["diagnostics"]}
            assert (
                issue["code"] == "too-costly"
                and "add a criterion that few fulfil" in issue["details"]["text"]
            )
            assert found["cost"][0]["entries"][0] > MILLION
        assert (await explained(client, "Observation/$explain?identifier=a"))["refused"] == [False]
        assert (await explained(client, "Observation/$explain?_sort=value-quantity&_summary=count"))["refused"] == [False]  # fmt: skip


async def test_nothing_is_searched_for(
    app: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*about: Any, **more: Any) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr(type(app.store), "search", never)
    monkeypatch.setattr(type(app.store), "explain", never)
    answer = await client.get("Observation/$explain?patient=ana&code:text=x&_include=*")
    assert answer.status_code == 200, answer.text
    assert "select" not in answer.text.lower()


SAME = (
    "Observation?nonsense=1", "Observation?code:nonsense=1", "Patient?birthdate=yesterday", "Observation?_sort=nonsense",
    "Observation?_include=Observation:nonsense", "Patient?given=a,", "Observation?code:in=http://nowhere.test/vs",
    "Patient?family:nickname=a", "?_type=Nonsense&_id=1", "?family=a", "?_type=Patient,Observation&family=a",
    "Observation?_type=Patient",
)  # fmt: skip


@pytest.mark.parametrize("query", SAME)
async def test_what_is_not_understood_is_told_as_by_the_search(client: httpx.AsyncClient, query: str) -> None:
    type, _, rest = query.partition("?")
    searched = await client.get(query)
    asked = await client.get(f"{type}/$explain?{rest}".lstrip("/"))
    assert searched.status_code == asked.status_code == 400, asked.text
    assert [each["details"] for each in asked.json()["issue"]] == [
        each["details"] for each in searched.json()["issue"]
    ]


STEPS: dict[str, list[Step]] = {
    "what it is not for": [
        {"do": "GET AuditEvent/$explain?date=2020", "status": 405},
        {"do": "GET $explain?_type=AuditEvent", "status": 405},
        {"do": "GET Nonsense/$explain", "status": 404},
        {"do": "GET Patient/ana/$explain", "status": 404},
        {"do": "GET Patient/$explian", "status": 404, "issue": "Did you mean $explain on Patient?"},
        {"do": "GET $explian", "status": 404, "issue": "Did you mean $explain on the system?"},
        {"do": "GET Patient/$explain?_cursor=x", "status": 400, "issue": "leave _cursor out"},
        {"do": "PUT Patient/$explain", "status": 405},
    ],
    "by POST": [
        {"do": "POST Patient/$explain", "send": {"resourceType": "Parameters", "parameter": [
            {"name": "family", "valueString": "a"}]}, "has": {"parameter.0.name": "criterion"}},
        {"do": "POST Patient/$explain", "send": {"resourceType": "Patient"}, "status": 400},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, STEPS[name])


async def test_forms_xml_batches_and_lenient_handling(client: httpx.AsyncClient) -> None:
    by_url = (await client.get("Patient/$explain?family=a&_sort=family")).json()
    for path in ("Patient/$explain", "Patient/$explain?_sort=family"):
        pairs = {"family": "a"} | ({} if "?" in path else {"_sort": "family"})
        assert (await client.post(path, data=pairs)).json() == by_url
    answer = await client.post("$explain", data={"_type": "Patient", "family": "a", "_sort": "family"})
    assert answer.json() == by_url
    assert (await client.post("Observation/$lastn", data={"patient": "a"})).status_code == 415
    answer = await client.get("Patient/$explain?family=a&_format=xml")
    assert answer.text.startswith("<Parameters") or "<Parameters" in answer.text[:200]
    entry = {"request": {"method": "GET", "url": "Patient/$explain?family=a&_sort=family"}}
    batch = await client.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    assert batch.json()["entry"][0]["resource"] == by_url
    answer = await client.get("Patient/$explain?family=a&nonsense=b", headers={"prefer": "handling=lenient"})
    assert "nonsense" in told(answer.json())["ignored"][0]
