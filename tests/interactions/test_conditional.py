"""Conditional create, update, patch, delete: https://hl7.org/fhir/R4/http.html#ccreate."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from support.steps import Step, run

JSON_PATCH = {"content-type": "application/json-patch+json"}


def patient(value: str, **more: object) -> dict[str, object]:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:cases", "value": value}], **more}


def exists(value: str) -> dict[str, str]:
    return {"if-none-exist": f"identifier=urn:cases|{value}"}


CASES: dict[str, list[Step]] = {
    "create": [
        {"do": "POST Patient", "send": patient("c1"), "with": exists("c1"), "status": 201, "save": {"id": "id"}},
        {"do": "POST Patient", "send": patient("c1", active=True), "with": exists("c1"), "status": 200,
         "has": {"id": "{id}", "active": "-", "meta.versionId": "1"}, "header": {"etag": 'W/"1"', "content-location": "*"}},
        {"do": "POST Patient", "send": patient("c1"), "status": 201},
        {"do": "POST Patient", "send": patient("c1"), "with": exists("c1"), "status": 412, "issue": "more than one"},
        {"do": "POST Patient", "send": patient("c1"), "with": {"if-none-exist": "identifier=urn%3Acases%7Cc2"}, "status": 201},
        {"do": "POST Patient", "send": patient("c1"), "with": {"if-none-exist": "rubbish=1"}, "status": 400},
        {"do": "POST Patient", "send": patient("c1"), "with": {"if-none-exist": ""}, "status": 412},
        {"do": "POST Patient", "send": patient("c1"), "with": {"if-none-exist": "_count=1"}, "status": 412},
    ],
    "update": [
        {"do": "PUT Patient?identifier=urn:cases|u1", "send": patient("u1"), "status": 201, "save": {"id": "id"}},
        {"do": "PUT Patient?identifier=urn:cases|u1", "send": patient("u1", active=True), "status": 200,
         "has": {"id": "{id}", "meta.versionId": "2", "active": True}},
        {"do": "PUT Patient?identifier=urn:cases|u1", "send": patient("u1", id="other"), "status": 400, "issue": "other"},
        {"do": "PUT Patient?identifier=urn:cases|u2", "send": patient("u2", id="chosen"), "status": 201, "has": {"id": "chosen"}},
        {"do": "PUT Patient?identifier=urn:cases|u3", "send": patient("u3", id="chosen"), "status": 409, "issue": "chosen"},
        {"do": "POST Patient", "send": patient("u1"), "status": 201},
        {"do": "PUT Patient?identifier=urn:cases|u1", "send": patient("u1"), "status": 412},
        {"do": "PUT Patient", "send": patient("u1"), "status": 412},
        {"do": "PUT Patient?identifier=urn:cases|u2", "send": patient("u2", id="chosen", active=True),
         "with": {"if-match": 'W/"7"'}, "status": 412},
    ],
    "patch": [
        {"do": "PATCH Patient?identifier=urn:cases|p1", "send": [], "with": JSON_PATCH, "status": 404},
        {"do": "POST Patient", "send": patient("p1"), "status": 201, "save": {"id": "id"}},
        {"do": "PATCH Patient?identifier=urn:cases|p1", "send": [{"op": "add", "path": "/active", "value": True}], "with": JSON_PATCH,
         "has": {"id": "{id}", "active": True, "meta.versionId": "2"}},
        {"do": "POST Patient", "send": patient("p1"), "status": 201},
        {"do": "PATCH Patient?identifier=urn:cases|p1", "send": [], "with": JSON_PATCH, "status": 412},
    ],
    "delete, one and several": [
        {"do": "DELETE Patient?identifier=urn:cases|d1", "status": 204},
        {"do": "POST Patient", "send": patient("d1"), "status": 201, "save": {"id": "id"}},
        {"do": "DELETE Patient?identifier=urn:cases|d1", "status": 204},
        {"do": "GET Patient/{id}", "status": 410},
        {"do": "POST Patient", "send": patient("d2"), "status": 201, "save": {"one": "id"}},
        {"do": "POST Patient", "send": patient("d2"), "status": 201, "save": {"two": "id"}},
        {"do": "DELETE Patient?identifier=urn:cases|d2", "with": {"prefer": "return=OperationOutcome"}, "status": 200, "issue": "Deleted 2"},
        {"do": "GET Patient/{one}", "status": 410},
        {"do": "GET Patient/{two}", "status": 410},
        {"do": "DELETE Patient", "status": 412},
        {"do": "DELETE Patient?nonsense=1", "status": 400},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])


async def test_fifty_conditional_creates_make_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post("Patient", json=patient("race"), headers=exists("race")) for _ in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    found = await client.get("Patient?identifier=urn:cases|race&_total=accurate")
    assert found.json()["total"] == 1


async def test_fifty_conditional_updates_make_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(
            client.put(
                "Patient?identifier=urn:cases|race2", json=patient("race2", multipleBirthInteger=number)
            )
            for number in range(50)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_updates_without_if_match_all_succeed(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(
            client.put(
                "Patient/busy", json={"resourceType": "Patient", "id": "busy", "multipleBirthInteger": number}
            )
            for number in range(30)
        )
    )
    assert {answer.status_code for answer in answers} <= {200, 201}
    versions = {answer.json()["meta"]["versionId"] for answer in answers}
    assert len(versions) == 30


async def test_of_updates_with_the_same_if_match_one_wins(client: httpx.AsyncClient) -> None:
    await client.put("Patient/lock", json={"resourceType": "Patient", "id": "lock"})
    answers = await asyncio.gather(
        *(
            client.put(
                "Patient/lock",
                json={"resourceType": "Patient", "id": "lock", "multipleBirthInteger": number},
                headers={"if-match": 'W/"1"'},
            )
            for number in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
