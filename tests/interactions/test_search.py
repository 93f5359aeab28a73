"""search by GET and POST, and the Bundles it answers with: https://hl7.org/fhir/R4/http.html#search."""

from __future__ import annotations

import httpx
import pytest
import pytest_asyncio

from support.steps import Step, run

FORM = {"content-type": "application/x-www-form-urlencoded"}
BASE = "http://testserver/fhir"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def content(client: httpx.AsyncClient) -> None:
    entries = [("Organization", "o", {"name": "Clinic"})]
    entries += [
        ("Patient", f"p{number}", {"name": [{"family": f"Muster{number:02}"}], "gender": "female" if number % 2 else "male",
                                   "managingOrganization": {"reference": "Organization/o"},
                                   "birthDate": f"19{50 + number}-01-01"})
        for number in range(25)
    ]  # fmt: skip
    entries += [
        ("Observation", f"b{number}", {"status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
                                       "subject": {"reference": "Patient/p1"}, "effectiveDateTime": f"2020-01-{number + 1:02}",
                                       "valueQuantity": {"value": 100 + number, "unit": "mmHg"}})
        for number in range(7)
    ]  # fmt: skip
    body = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "resource": {"resourceType": type, "id": id, **more},
                "request": {"method": "PUT", "url": f"{type}/{id}"},
            }
            for type, id, more in entries
        ],
    }
    answer = await client.post(BASE, json=body)
    assert answer.status_code == 200, answer.text


CASES: dict[str, list[Step]] = {
    "a searchset": [
        {"do": "GET Patient?name=muster03", "has": {
            "resourceType": "Bundle", "type": "searchset", "entry.#": 1, "entry.0.fullUrl": f"{BASE}/Patient/p3", "entry.0.resource.id": "p3",
            "entry.0.search.mode": "match", "link.0.relation": "self", "link.0.url": f"{BASE}/Patient?name=muster03"}},
        {"do": "GET Patient?name=nobody&_total=accurate", "has": {"total": 0, "entry": "-"}},
    ],
    "totals and counts": [
        {"do": "GET Patient?gender=female&_total=accurate&_count=5", "has": {"total": 12, "entry.#": 5}},
        {"do": "GET Patient?gender=female&_summary=count", "has": {"total": 12, "entry": "-"}},
        {"do": "GET Patient?gender=female&_count=0", "has": {"total": 12, "entry": "-"}},
        {"do": "GET Patient?_count=x", "status": 400},
    ],
    "includes": [
        {"do": "GET Patient?_id=p1&_include=Patient:organization", "has": {"entry.#": 2, "entry.1.resource.resourceType": "Organization",
                                                                           "entry.1.search.mode": "include"}},
        {"do": "GET Patient?_id=p1&_revinclude=Observation:subject", "has": {"entry.#": 8}},
    ],
    "by form, nothing of it in the links": [
        {"do": "POST Patient/_search", "send": "gender=female&_count=5&_sort=family", "with": FORM,
         "has": {"entry.#": 5, "entry.0.resource.id": "p1", "link.1.relation": "next"}, "save": {"next": "link.1.url", "self": "link.0.url"}},
        {"do": "GET {next}", "has": {"entry.#": 5, "entry.0.resource.id": "p11"}},
        {"do": "GET {self}", "has": {"entry.#": 5, "entry.0.resource.id": "p1"}},
        {"do": "POST Patient/_search?gender=male", "send": "name=muster04", "with": FORM, "has": {"entry.#": 1}},
        {"do": "POST Patient/_search", "send": "", "with": FORM, "has": {"entry.#": 20}},
        {"do": "POST Patient/_search", "send": {"gender": "male"}, "status": 415},
        {"do": "GET Observation?_cursor=~abc", "status": 400},
    ],
    "a path with an empty step": [{"do": "GET /Patient", "status": 404}, {"do": "POST /Patient", "send": {}, "status": 404}],
    "unknown parameters": [
        {"do": "GET Patient?nmae=x", "status": 400, "issue": "name"},
        {"do": "GET Patient?nmae=x&_id=p1", "with": {"prefer": "handling=lenient"},
         "has": {"entry.#": 2, "entry.1.search.mode": "outcome", "entry.1.resource.issue.0.severity": "warning",
                 "link.0.url": f"{BASE}/Patient?_id=p1"}},
        {"do": "GET Patient?_id=p1", "with": {"prefer": "handling=sloppy"}, "status": 400},
    ],
    "summary and elements": [
        {"do": "GET Patient?_id=p1&_elements=gender", "has": {"entry.0.resource.gender": "female", "entry.0.resource.name": "-",
                                                              "entry.0.resource.meta.tag.0.code": "SUBSETTED"}},
        {"do": "GET Patient?_id=p1&_summary=text", "has": {"entry.0.resource.name": "-"}},
    ],
    "over one type from the system": [
        {"do": "GET ?_type=Patient&gender=male&_total=accurate", "has": {"total": 13, "link.0.url": f"{BASE}/Patient?gender=male&_total=accurate"}},
        {"do": "POST _search", "send": "_type=Patient&_id=p2", "with": FORM, "has": {"entry.#": 1}},
    ],
    "across types": [
        {"do": "GET ?_type=Patient,Organization&_total=accurate&_count=10", "has": {
            "total": 26, "entry.#": 10, "link.0.url": f"{BASE}?_type=Patient,Organization&_total=accurate&_count=10",
            "link.1.relation": "next"}, "save": {"next": "link.1.url"}},
        {"do": "GET {next}", "has": {"entry.#": 10}},
        {"do": "GET ?_type=Patient,Observation&_id=p1,b1,o&_sort=_id", "has": {
            "entry.#": 2, "entry.0.resource.id": "b1", "entry.1.resource.id": "p1"}},
        {"do": "GET ?_id=p1,b1,o&_sort=-_id", "has": {"entry.#": 3, "entry.0.fullUrl": f"{BASE}/Patient/p1",
                                                      "entry.1.fullUrl": f"{BASE}/Organization/o"}},
        {"do": "GET ?_summary=count", "has": {"total": 33}},
        {"do": "GET ?_lastUpdated=ge2020&_count=50&_sort=-_lastUpdated", "has": {"entry.#": 33}},
        {"do": "GET ?_lastUpdated=lt2020", "has": {"entry": "-"}},
        {"do": "GET ?_tag=nothing", "has": {"entry": "-"}},
        {"do": "GET ?_tag:missing=true&_summary=count", "has": {"total": 33}},
        {"do": "GET ?_type=Patient,Observation&_tag:not=x&_summary=count", "has": {"total": 32}},
        {"do": "GET ?_type=Patient,Observation&_include=Observation:subject&_id=b1", "has": {"entry.#": 2, "entry.1.search.mode": "include"}},
        {"do": "GET ?_type=Patient,Organization&_revinclude=Observation:subject&_id=p1", "has": {"entry.#": 8}},
        {"do": "GET ?_type=Patient,Observation&gender=male", "status": 400, "issue": "Observation has no search parameter 'gender'"},
        {"do": "GET ?_type=Patient,Observation&gender=male&_id=p1", "with": {"prefer": "handling=lenient"},
         "has": {"entry.#": 2, "entry.1.search.mode": "outcome", "link.0.url": f"{BASE}?_type=Patient,Observation&_id=p1"}},
        {"do": "GET ?name=x", "status": 400, "issue": "parameters that all have"},
        {"do": "GET ?_type=Patient,Nonsense", "status": 400, "issue": "not a resource type"},
        {"do": "GET ?_type=Patient,Organization&name=clinic,muster01&_sort=name", "has": {
            "entry.#": 2, "entry.0.resource.id": "o", "entry.1.resource.id": "p1"}},
        {"do": "GET ?_type=Patient,Organization&_has:Observation:subject:code=8480-6", "status": 400, "issue": "does not refer"},
        {"do": "POST _search", "send": "_type=Patient,Organization&name=muster&_count=2", "with": FORM,
         "has": {"entry.#": 2}, "save": {"next": "link.1.url"}},
        {"do": "GET {next}", "has": {"entry.#": 2, "link.3.relation": "next"}},
        {"do": "GET ?_type=Patient,Organization&_elements=name&_id=o", "has": {"entry.#": 1}},
        {"do": "GET ?_type=Patient,Observation&_sort=_id,_id", "status": 400},
    ],
    "in a compartment": [
        {"do": "GET Patient/p1/Observation?date=ge2020-01-03&_count=2&_total=accurate", "has": {
            "total": 5, "entry.#": 2, "link.1.relation": "next",
            "link.0.url": f"{BASE}/Patient/p1/Observation?date=ge2020-01-03&_count=2&_total=accurate"}, "save": {"next": "link.1.url"}},
        {"do": "GET {next}", "has": {"entry.#": 2}},
        {"do": "GET Patient/p2/Observation", "has": {"entry": "-"}},
        {"do": "GET Patient/p1/Patient", "has": {"entry.#": 1, "entry.0.resource.id": "p1"}},
        {"do": "GET Patient/p1/Observation?nonsense=1", "status": 400},
        {"do": "GET Patient/p1/Organization", "status": 404, "issue": "compartment"},
        {"do": "GET Organization/o/Observation", "status": 405},
        {"do": "POST Patient/p1/Observation/_search", "send": "_count=3", "with": FORM, "has": {"entry.#": 3}, "save": {"next": "link.1.url"}},
        {"do": "GET {next}", "has": {"entry.#": 3}},
        {"do": "GET Patient/p1/*?_count=5&_total=accurate", "has": {
            "total": 8, "entry.#": 5, "link.0.url": f"{BASE}/Patient/p1/*?_count=5&_total=accurate"}, "save": {"next": "link.1.url"}},
        {"do": "GET {next}", "has": {"entry.#": 3, "link.2.relation": "previous"}},
        {"do": "GET Patient/p1/*?_type=Observation", "has": {"entry.#": 7}},
        {"do": "GET Patient/p1/*?_type=Organization", "status": 400, "issue": "not a resource type"},
        {"do": "POST Patient/p1/*/_search", "send": "_id=b1,p1,p2", "with": FORM, "has": {"entry.#": 2}},
        {"do": "GET Patient/nobody/*", "has": {"entry": "-"}},
        {"do": "POST Patient/p1/Observation", "send": {}, "status": 405},
    ],
    "everything": [
        {"do": "GET Patient/p1/$everything", "has": {"type": "searchset", "entry.#": 9, "entry.0.resource.id": "p1",
                                                      "entry.8.resource.id": "o", "entry.8.search.mode": "include"}},
        {"do": "GET Patient/p1/$everything?_type=Observation", "has": {"entry.#": 7}},
        {"do": "GET Patient/p1/$everything?_since=2999-01-01", "has": {"entry": "-"}},
        {"do": "GET Patient/p1/$everything?_count=5", "has": {"entry.#": 6, "link.2.relation": "next"}, "save": {"next": "link.2.url"}},
        {"do": "GET {next}", "has": {"entry.#": 3, "link.2": "-"}},
        {"do": "POST Patient/p1/$everything", "send": {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Observation"}]},
         "has": {"entry.#": 7}},
        {"do": "GET Patient/nobody/$everything", "status": 404},
        {"do": "GET Patient/p1/$everything?_type=Nonsense", "status": 400},
        {"do": "GET Patient/p1/$everything?nonsense=1", "status": 400},
        {"do": "GET Patient/$everything", "status": 404},
        {"do": "GET Patient/p1/$everythin", "status": 404, "issue": "$everything"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])


@pytest.mark.parametrize(
    "query",
    [
        "Patient?gender=female",
        "Patient?_sort=-birthdate",
        "Patient?_sort=_lastUpdated",
        "?_type=Patient,Organization,Observation",
        "?_sort=-_lastUpdated",
        "Patient/p1/*?",
    ],
)
async def test_pages_neither_skip_nor_repeat(client: httpx.AsyncClient, query: str) -> None:
    """Forward to the end, and back to the beginning."""
    all_at_once = (await client.get(f"{BASE}/{query}&_count=99".replace("/?", "?"))).json()
    expected = [entry["resource"]["id"] for entry in all_at_once["entry"]]
    url, pages = f"{BASE}/{query}&_count=5".replace("/?", "?"), []
    while url:
        page = (await client.get(url)).json()
        pages.append([entry["resource"]["id"] for entry in page["entry"]])
        links = {link["relation"]: link["url"] for link in page["link"]}
        last, url = links, links.get("next")
    assert [id for page in pages for id in page] == expected
    backwards = [pages[-1]]
    while "previous" in last:
        page = (await client.get(last["previous"])).json()
        backwards.append([entry["resource"]["id"] for entry in page["entry"]])
        last = {link["relation"]: link["url"] for link in page["link"]}
    assert backwards == pages[::-1]
