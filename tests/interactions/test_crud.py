"""read, vread, create, update, patch, delete: https://hl7.org/fhir/R4/http.html."""

from __future__ import annotations

import httpx
import pytest

from support.steps import Step, run

PATIENT = {"resourceType": "Patient", "active": True, "name": [{"family": "Sand", "given": ["Ada"]}]}
JSON_PATCH = {"content-type": "application/json-patch+json"}


def patient(id: str, **more: object) -> dict[str, object]:
    return {**PATIENT, "id": id, **more}


CASES: dict[str, list[Step]] = {
    "create, then read": [
        {"do": "POST Patient", "send": PATIENT, "status": 201,
         "has": {"id": "*", "meta.versionId": "1", "meta.lastUpdated": "*", "name.0.family": "Sand"},
         "header": {"etag": 'W/"1"', "last-modified": "*", "location": "*"}, "save": {"id": "id", "at": "header:location"}},
        {"do": "GET Patient/{id}", "has": {"id": "{id}", "meta.versionId": "1"}, "header": {"etag": 'W/"1"', "cache-control": "no-store"}},
        {"do": "GET {at}", "has": {"id": "{id}"}},
        {"do": "HEAD Patient/{id}", "header": {"etag": 'W/"1"', "content-length": "*"}},
    ],
    "the server assigns ids on create": [
        {"do": "POST Patient", "send": patient("mine"), "status": 201, "save": {"id": "id"}},
        {"do": "GET Patient/mine", "status": 404, "issue": "mine"},
    ],
    "update as create, then update": [
        {"do": "PUT Patient/u1", "send": patient("u1"), "status": 201, "header": {"location": "http://testserver/fhir/Patient/u1/_history/1"}},
        {"do": "PUT Patient/u1", "send": patient("u1", gender="female"), "status": 200,
         "has": {"meta.versionId": "2", "gender": "female"}, "header": {"etag": 'W/"2"'}},
        {"do": "GET Patient/u1/_history/1", "has": {"gender": "-", "meta.versionId": "1"}},
        {"do": "GET Patient/u1/_history/2", "has": {"gender": "female"}},
        {"do": "GET Patient/u1/_history/3", "status": 404},
        {"do": "GET Patient/u1/_history/x", "status": 404},
    ],
    "an update that changes nothing makes no version": [
        {"do": "PUT Patient/same", "send": patient("same"), "status": 201},
        {"do": "PUT Patient/same", "send": patient("same"), "status": 200, "has": {"meta.versionId": "1"}, "header": {"etag": 'W/"1"'}},
        {"do": "PUT Patient/same", "send": patient("same", meta={"versionId": "77", "lastUpdated": "2001-01-01T00:00:00Z"}),
         "has": {"meta.versionId": "1"}},
    ],
    "the id in the body must be that of the URL": [
        {"do": "PUT Patient/one", "send": patient("two"), "status": 400, "issue": "two"},
        {"do": "PUT Patient/one", "send": PATIENT, "status": 400, "issue": "missing"},
        {"do": "PUT Patient/one", "send": {"resourceType": "Practitioner", "id": "one"}, "status": 400, "issue": "Practitioner"},
        {"do": "PUT Patient/o_ne", "send": patient("o_ne"), "status": 400},
    ],
    "If-Match": [
        {"do": "PUT Patient/m", "send": patient("m"), "with": {"if-match": 'W/"1"'}, "status": 412},
        {"do": "PUT Patient/m", "send": patient("m"), "status": 201},
        {"do": "PUT Patient/m", "send": patient("m", gender="male"), "with": {"if-match": 'W/"1"'}, "has": {"meta.versionId": "2"}},
        {"do": "PUT Patient/m", "send": patient("m", gender="other"), "with": {"if-match": 'W/"1"'}, "status": 412, "issue": "present version is 2"},
        {"do": "PUT Patient/m", "send": patient("m"), "with": {"if-match": "rubbish"}, "status": 400},
        {"do": "PATCH Patient/m", "send": [{"op": "remove", "path": "/gender"}], "with": {**JSON_PATCH, "if-match": 'W/"1"'}, "status": 412},
        {"do": "DELETE Patient/m", "with": {"if-match": 'W/"1"'}, "status": 412},
        {"do": "DELETE Patient/m", "with": {"if-match": 'W/"2"'}, "status": 204},
    ],
    "If-None-Match * creates only": [
        {"do": "PUT Patient/only", "send": patient("only"), "with": {"if-none-match": "*"}, "status": 201},
        {"do": "PUT Patient/only", "send": patient("only", gender="male"), "with": {"if-none-match": "*"}, "status": 412},
    ],
    "conditional read": [
        {"do": "PUT Patient/c", "send": patient("c"), "status": 201, "save": {"when": "header:last-modified"}},
        {"do": "GET Patient/c", "with": {"if-none-match": 'W/"1"'}, "status": 304, "header": {"etag": 'W/"1"'}},
        {"do": "GET Patient/c", "with": {"if-none-match": 'W/"2"'}, "status": 200},
        {"do": "GET Patient/c", "with": {"if-modified-since": "{when}"}, "status": 304},
        {"do": "GET Patient/c", "with": {"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}, "status": 200},
        {"do": "GET Patient/c", "with": {"if-modified-since": "rubbish"}, "status": 200},
    ],
    "deleted is 410, and can come back": [
        {"do": "PUT Patient/d", "send": patient("d"), "status": 201},
        {"do": "DELETE Patient/d", "status": 204, "header": {"etag": 'W/"2"'}},
        {"do": "GET Patient/d", "status": 410, "issue": "deleted", "header": {"etag": 'W/"2"'}},
        {"do": "GET Patient/d/_history/2", "status": 410},
        {"do": "GET Patient/d/_history/1", "status": 200},
        {"do": "DELETE Patient/d", "status": 204},
        {"do": "PATCH Patient/d", "send": [{"op": "add", "path": "/active", "value": False}], "with": JSON_PATCH, "status": 410},
        {"do": "PUT Patient/d", "send": patient("d"), "status": 201, "has": {"meta.versionId": "3"}},
        {"do": "GET Patient/d", "status": 200},
    ],
    "deleting what never was": [
        {"do": "DELETE Patient/never", "status": 204},
        {"do": "DELETE Patient/never", "with": {"prefer": "return=OperationOutcome"}, "status": 200, "issue": "Nothing"},
        {"do": "DELETE Patient/never", "with": {"if-match": 'W/"1"'}, "status": 412},
    ],
    "JSON Patch": [
        {"do": "PUT Patient/jp", "send": patient("jp"), "status": 201},
        {"do": "PATCH Patient/jp", "send": [{"op": "replace", "path": "/name/0/family", "value": "Wald"}], "with": JSON_PATCH,
         "has": {"name.0.family": "Wald", "meta.versionId": "2"}},
        {"do": "PATCH Patient/jp", "send": [{"op": "test", "path": "/active", "value": True}], "with": JSON_PATCH, "has": {"meta.versionId": "2"}},
        {"do": "PATCH Patient/jp", "send": [{"op": "add", "path": "/hair", "value": "grey"}], "with": JSON_PATCH, "status": 400, "issue": "hair"},
        {"do": "PATCH Patient/jp", "send": [{"op": "remove", "path": "/nothing"}], "with": JSON_PATCH, "status": (400, 409, 422)},
        {"do": "PATCH Patient/absent", "send": [], "with": JSON_PATCH, "status": 404},
    ],
    "FHIRPath Patch": [
        {"do": "PUT Patient/fp", "send": patient("fp"), "status": 201},
        {"do": "PATCH Patient/fp", "send": {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.active"},
            {"name": "value", "valueBoolean": False}]}]}, "has": {"active": False, "meta.versionId": "2"}},
        {"do": "PATCH Patient/fp", "send": PATIENT, "status": 400, "issue": "Parameters"},
    ],
    "Prefer": [
        {"do": "POST Patient", "send": PATIENT, "with": {"prefer": "return=minimal"}, "status": 201, "header": {"location": "*", "content-length": "0"}},
        {"do": "POST Patient", "send": PATIENT, "with": {"prefer": "return=OperationOutcome"}, "status": 201,
         "has": {"resourceType": "OperationOutcome", "issue.0.severity": "information"}},
        {"do": "POST Patient", "send": PATIENT, "with": {"prefer": "return=representation"}, "status": 201, "has": {"resourceType": "Patient"}},
    ],
    "every problem in one go": [
        {"do": "POST Patient", "send": {"resourceType": "Patient", "gender": "x", "birthDate": "1.1.2000", "hair": 1}, "status": 400,
         "has": {"issue.2.expression.0": "*"}, "issue": "Patient.birthDate"},
        {"do": "POST Patient", "send": {"resourceType": "Observation"}, "status": 400, "issue": "Observation"},
        {"do": "POST Patient", "send": "{", "status": 400},
        {"do": "POST Patient", "send": "[]", "status": 400},
        {"do": "POST Patient", "send": "", "with": {"content-type": "application/fhir+json"}, "status": 400, "issue": "empty"},
    ],
    "referential integrity": [
        {"do": "PUT Observation/ri", "send": {"resourceType": "Observation", "id": "ri", "status": "final", "code": {"text": "x"},
         "subject": {"reference": "Patient/nobody"}}, "status": (409, 422), "issue": "Patient/nobody"},
        {"do": "PUT Patient/somebody", "send": patient("somebody"), "status": 201},
        {"do": "PUT Observation/ri", "send": {"resourceType": "Observation", "id": "ri", "status": "final", "code": {"text": "x"},
         "subject": {"reference": "Patient/somebody"}}, "status": 201},
        {"do": "DELETE Patient/somebody", "status": 409, "issue": "Observation/ri"},
        {"do": "DELETE Observation/ri", "status": 204},
        {"do": "DELETE Patient/somebody", "status": 204},
    ],
    "types and paths": [
        {"do": "GET patient/1", "status": 404, "issue": "Did you mean 'Patient'"},
        {"do": "GET Patient/1/2/3/4", "status": 404},
        {"do": "GET Patient/no_id", "status": 404},
        {"do": "POST Patient/1", "send": PATIENT, "status": 405, "header": {"allow": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"}},
        {"do": "DELETE metadata", "status": 405},
        {"do": "GET $nothing", "status": 404},
        {"do": "OPTIONS Patient/1", "status": 204, "header": {"allow": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"}},
    ],
    "summary and elements on read": [
        {"do": "PUT Patient/s", "send": patient("s", photo=[{"title": "x"}]), "status": 201},
        {"do": "GET Patient/s?_summary=true", "has": {"photo": "-", "name": "*", "meta.tag.0.code": "SUBSETTED"}},
        {"do": "GET Patient/s?_elements=photo", "has": {"photo": "*", "name": "-"}},
        {"do": "GET Patient/s?_summary=nonsense", "status": 400},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_case(client: httpx.AsyncClient, name: str) -> None:
    await run(client, CASES[name])


async def test_digits_are_kept(client: httpx.AsyncClient) -> None:
    text = (
        '{"resourceType":"Observation","id":"digits","status":"final","code":{"text":"Ünïcode 💊"},'
        '"valueQuantity":{"value":1.00},"component":[{"code":{"text":"a"},"valueQuantity":{"value":0.1230000000000000000000}},'
        '{"code":{"text":"b"},"valueQuantity":{"value":1E+2}}],"effectiveDateTime":"2020","_effectiveDateTime":{"id":"x"}}'
    )
    written = await client.put(
        "Observation/digits", content=text.encode(), headers={"content-type": "application/fhir+json"}
    )
    assert written.status_code == 201
    for body in (written.text, (await client.get("Observation/digits")).text):
        assert body.startswith('{"resourceType":"Observation","id":"digits","meta":{"versionId":"1",')
        for piece in (
            '"value":1.00',
            "0.1230000000000000000000",
            "Ünïcode 💊",
            '"_effectiveDateTime":{"id":"x"}',
        ):
            assert piece.replace(" ", "") in body.replace(" ", ""), piece
