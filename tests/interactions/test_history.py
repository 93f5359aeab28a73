"""history of a resource, a type, the system: https://hl7.org/fhir/R4/http.html#history."""

from __future__ import annotations

import httpx
import pytest

from support.steps import Step, run

CASES: dict[str, list[Step]] = {
    "of a resource": [
        {"do": "PUT Group/h", "send": {"resourceType": "Group", "id": "h", "type": "person", "actual": True}, "status": 201},
        {"do": "PUT Group/h", "send": {"resourceType": "Group", "id": "h", "type": "animal", "actual": True}},
        {"do": "DELETE Group/h", "status": 204},
        {"do": "GET Group/h/_history", "has": {
            "type": "history", "entry.#": 3, "entry.0.request.method": "DELETE", "entry.0.resource": "-", "entry.0.response.status": "204",
            "entry.0.fullUrl": "http://testserver/fhir/Group/h", "entry.1.request.method": "PUT", "entry.1.request.url": "Group/h",
            "entry.1.resource.type": "animal", "entry.1.response.status": "200", "entry.1.response.etag": 'W/"2"',
            "entry.2.resource.meta.versionId": "1", "entry.2.response.status": "201", "link.0.relation": "self"}},
        {"do": "GET Group/h/_history?_count=1", "has": {"entry.#": 1, "link.2.relation": "next"}, "save": {"next": "link.2.url"}},
        {"do": "GET {next}", "has": {"entry.#": 1, "entry.0.resource.meta.versionId": "2"}, "save": {"next": "link.2.url"}},
        {"do": "GET {next}", "has": {"entry.#": 1, "entry.0.resource.meta.versionId": "1", "link.2": "-"}},
        {"do": "GET Group/h/_history?_since=2999-01-01T00:00:00Z", "has": {"entry": "-"}},
        {"do": "GET Group/h/_history?_since=2001-01-01", "has": {"entry.#": 3}},
        {"do": "GET Group/never/_history", "status": 404},
    ],
    "of a type and of everything": [
        {"do": "POST Basic", "send": {"resourceType": "Basic", "code": {"text": "a"}}, "status": 201},
        {"do": "POST Basic", "send": {"resourceType": "Basic", "code": {"text": "b"}}, "status": 201},
        {"do": "GET Basic/_history", "has": {"entry.#": 2, "entry.0.resource.code.text": "b", "entry.0.request.method": "POST",
                                             "entry.0.request.url": "Basic", "entry.0.response.status": "201"}},
        {"do": "GET _history?_count=2", "has": {"entry.#": 2, "entry.0.resource.code.text": "b"}},
    ],
    "bad parameters": [
        {"do": "GET Basic/_history?_count=x", "status": 400, "issue": "_count"},
        {"do": "GET Basic/_history?_count=-1", "status": 400},
        {"do": "GET Basic/_history?_count=99999999999999999999", "status": 200},
        {"do": "GET Basic/_history?_since=yesterday", "status": 400},
        {"do": "GET Basic/_history?_cursor=abc", "status": 400},
        {"do": "GET Basic/_history?_sinc=2020", "status": 400, "issue": "_since"},
        {"do": "GET Basic/_history?_sinc=2020", "with": {"prefer": "handling=lenient"}, "status": 200},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])
