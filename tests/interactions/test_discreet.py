"""What is hidden and what is not there are asked of the database in the same words, and cost it the same.

``{x}`` stands for a name that only another patient's record knows, or that nobody does. Compared are the answers, the
statements with the rows they gave, and the plans with the rows that each of their steps went through.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.access import observation, patient
from support.door import Door
from support.recorded import Record, differing, recorded
from support.smart import bearer, issue

HIDDEN, ABSENT, DELETED = "hid00", "abs00", "del00"
SEVERAL = 12
"""Of each kind in the other record: more than one step of anything."""
TAG = "urn:tags"


def _identified(name: str, *systems: str) -> list[dict[str, str]]:
    return [{"system": system, "value": name} for system in systems]


def _encounter(subject: str, id: str, **more: Any) -> dict[str, Any]:
    klass = {"code": "AMB"}
    return {"resourceType": "Encounter", "id": id, "status": "planned", "class": klass, "subject": patient(subject), **more}  # fmt: skip


def _other_record() -> list[dict[str, Any]]:
    """All that is known by names in ``hid00``."""
    named = {"reference": f"Encounter/{HIDDEN}"}
    return [
        {
            "resourceType": "Patient",
            "id": HIDDEN,
            "identifier": _identified(HIDDEN, "urn:a", "urn:b"),
            "name": [{"family": f"Van {HIDDEN}"}],
            "meta": {"tag": [{"system": TAG, "code": HIDDEN}]},
        },
        _encounter(HIDDEN, HIDDEN, identifier=_identified(HIDDEN, "urn:a")),
        *(
            observation(
                HIDDEN,
                id=HIDDEN if number == 0 else f"{HIDDEN}-{number}",
                identifier=_identified(HIDDEN, "urn:a", *(["urn:b"] if number % 2 else [])),
                code={"coding": [{"system": f"urn:c{number % 3}", "code": HIDDEN, "display": f"Test {HIDDEN}"}]},
                encounter=named,
                effectiveDateTime=f"2020-01-{number + 1:02}",
                note=[{"text": f"{HIDDEN} " * 500}],
            )
            for number in range(SEVERAL)
        ),
        {
            "resourceType": "List",
            "id": HIDDEN,
            "status": "current",
            "mode": "working",
            "subject": patient(HIDDEN),
            "entry": [{"item": {"reference": f"Observation/{HIDDEN}"}}, {"item": {"reference": "Patient/me"}}],
        },
        {
            "resourceType": "Provenance",
            "id": HIDDEN,
            "target": [{"reference": f"Observation/{HIDDEN}"}],
            "recorded": "2020-01-01T00:00:00Z",
            "agent": [{"who": {"reference": "Practitioner/doc"}}],
        },
        {
            "resourceType": "Binary",
            "id": HIDDEN,
            "contentType": "text/plain",
            "securityContext": patient(HIDDEN),
            "data": "eHg=",
        },
    ]  # fmt: skip


def _own_record() -> list[dict[str, Any]]:
    return [
        {"resourceType": "Patient", "id": "me", "identifier": _identified("me", "urn:a"), "name": [{"family": "Me"}]},
        _encounter("me", "mine"),
        *(
            observation(
                "me",
                id=f"mine-{number}",
                identifier=_identified(f"mine-{number}", "urn:a"),
                code={"coding": [{"system": "urn:c0", "code": "mine", "display": "Mine"}]},
                encounter={"reference": "Encounter/mine"},
                performer=[{"reference": "Practitioner/doc"}],
                effectiveDateTime=f"2021-01-{number + 1:02}",
            )
            for number in range(5)
        ),
    ]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def me(door: Door) -> AsyncIterator[Door]:
    """An app on one of two patients."""
    for document in (*_own_record(), *_other_record()):
        answer = await door.put(document)
        assert answer.status_code == 201, answer.text
    yield door.by(
        await issue(door.dsn, "patient/*.cruds", role="patient", patient="me", fhir_user="Patient/me")
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doctor(me: Door) -> Door:
    """An app of a doctor on the same patient."""
    return me.by(await issue(me.dsn, "patient/*.cruds", patient="me", fhir_user="Practitioner/doc"))


async def _ask(door: Door, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
    content = {"json": body} if isinstance(body, dict) else {"content": body} if body is not None else {}
    return await door.client.request(method, path, headers=bearer(door.token) | IDENTITY | headers, **content)


def _named(given: Any, name: str) -> Any:
    """``given`` with ``name`` for every ``{x}`` in it."""
    if isinstance(given, dict):
        return {key: _named(value, name) for key, value in given.items()}
    if isinstance(given, list):
        return [_named(each, name) for each in given]
    return given.replace("{x}", name) if isinstance(given, str) else given


def _said(answer: httpx.Response, name: str) -> tuple[int, str, list[str]]:
    """What an answer says, but for the name that was asked for, and for what no two answers share."""
    text = answer.text.replace(name, "{x}")
    text = re.sub(
        r'"(lastUpdated|timestamp|id|versionId|url|fullUrl|location|etag|lastModified|_at)":"[^"]*"', "", text
    )
    headers = sorted(set(answer.headers) - {"date", "x-request-id"})
    return answer.status_code, text, [f"{each}: {answer.headers[each]}" if each in SAME else each for each in headers]  # fmt: skip


IDENTITY = {"accept-encoding": "identity"}
"""What is compressed has another length when a sealed link has."""
SAME = ("content-type", "content-length", "cache-control", "www-authenticate")

Form = tuple[str, str, Any, dict[str, str]]


def _form(method: str, path: str, body: Any = None, **headers: str) -> Form:
    return method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}


def _batch(*entries: tuple[str, str]) -> Form:
    requests = [{"request": {"method": method, "url": url}} for method, url in entries]
    return _form("POST", "", {"resourceType": "Bundle", "type": "batch", "entry": requests})


def _transaction(*entries: dict[str, Any]) -> Form:
    return _form("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})


PATCH = {"content_type": "application/json-patch+json"}
REPLACE = b'[{"op": "replace", "path": "/status", "value": "amended"}]'

LOOKING: dict[str, Form] = {
    path: _form("GET", f"/{path}")
    for path in (
        "Observation/{x}",
        "Patient/{x}",
        "Binary/{x}",
        "Observation/{x}/_history/1",
        "Observation/{x}/_history",
        "Patient/{x}/_history",
        "Observation?_id={x}",
        "Observation?_id={x},mine-1",
        "Patient?_id={x}",
        "Observation?subject=Patient/{x}",
        "Observation?patient={x}",
        "Observation?patient={x}&date=ge2019&_sort=date",
        "Observation?patient={x}&_sort=status",
        "Observation?patient={x}&_sort=-_lastUpdated",
        "Observation?patient={x}&_include=Observation:encounter",
        "Observation?patient={x},me&_include=Observation:encounter&_count=2",
        "Observation?patient={x}&_total=accurate",
        "Observation?patient={x}&_total=estimate",
        "Observation?patient={x}&_summary=count",
        "Observation?encounter={x}",
        "Observation?encounter={x}&encounter=mine",
        "Observation?encounter:not={x}&_count=2",
        "Observation?patient=me&encounter={x}",
        "Observation?identifier=urn:a|{x}",
        "Observation?identifier={x}",
        "Observation?identifier={x}&_summary=count",
        "Observation?identifier={x},mine-1",
        "Patient?identifier={x}",
        "Patient?identifier=urn:a|{x}&_revinclude=Observation:subject",
        "Observation?code={x}",
        "Observation?code={x},mine&_sort=date",
        "Observation?code:not={x}&_count=2",
        "Observation?code:text={x}",
        "Observation?combo-code={x}",
        "Observation?patient.identifier={x}",
        "Observation?subject:Patient.identifier=urn:a|{x}",
        "Observation?patient.name={x}",
        "Observation?encounter.identifier=urn:a|{x}",
        "Observation?encounter.subject=Patient/{x}",
        "Observation?subject:identifier=urn:a|{x}",
        "Patient?_has:Observation:patient:_id={x}",
        "Patient?_has:Observation:patient:code={x}",
        "Patient?_has:Observation:patient:encounter={x}",
        "Patient?_has:List:item:_id={x}",
        "Practitioner?_has:Observation:performer:code={x}",
        "Practitioner?_has:Observation:performer:patient={x}",
        "Practitioner?_has:Observation:performer:_id={x}",
        "Observation?_list={x}",
        "Patient?_list={x}",
        "Patient?_tag={x}",
        "Patient?name={x}",
        "Patient?name=Van {x}",
        "Patient?name:exact=Van {x}",
        "Patient?name:contains={x}",
        "Patient?_tag=urn:tags|{x}",
        "Observation?_content={x}",
        "Observation?_filter=subject eq Patient/{x}",
        "Observation?_filter=code eq {x} or encounter eq Encounter/{x}",
        "Patient/{x}/Observation",
        "Patient/{x}/Observation?code=mine",
        "Patient/{x}/*",
        "Encounter/{x}/Observation",
        "Patient/{x}/$everything",
        "Encounter/{x}/$everything",
        "Observation/$lastn?patient={x}",
        "Observation/$lastn?code={x}",
        "Observation/{x}?_elements=status",
        "Provenance?target=Observation/{x}",
        "Provenance?target={x}",
        "Provenance?target:Observation.encounter={x}",
        "Observation?encounter={x}&_revinclude=Provenance:target",
        "?_type=Observation,Encounter&patient={x}",
        "?_type=Observation,Encounter&identifier={x}",
    )
}  # fmt: skip
GONE = (
    "Observation/{x}",
    "Observation/{x}/_history",
    "Observation/{x}/_history/1",
    "Observation?_id={x}",
    "Patient/{x}",
)
LOOKING |= {
    "a batch": _batch(("GET", "Observation/{x}"), ("GET", "Observation?patient={x}"), ("DELETE", "Observation/{x}")),
    "a form": _form("POST", "/Observation/_search", "patient={x}", content_type="application/x-www-form-urlencoded"),
    "all types": _form("GET", "/?_id={x}"),
    "an ETag": _form("GET", "/Observation/{x}", if_none_match='W/"1"'),
}  # fmt: skip

CHANGING: dict[str, Form] = {
    "create about": _form("POST", "/Observation", observation("{x}")),
    "create that refers to": _form("POST", "/Observation", observation("me", encounter={"reference": "Encounter/{x}"})),
    "update": _form("PUT", "/Observation/{x}", observation("me", id="{x}")),
    "update that refers to": _form(
        "PUT", "/Observation/mine-1", observation("me", id="mine-1", encounter={"reference": "Encounter/{x}"})
    ),
    "update if it is that version": _form("PUT", "/Observation/{x}", observation("me", id="{x}"), if_match='W/"1"'),
    "patch": _form("PATCH", "/Observation/{x}", REPLACE, **PATCH),
    "delete": _form("DELETE", "/Observation/{x}"),
    "create unless": _form("POST", "/Observation", observation("me"), if_none_exist="identifier=urn:a|{x}"),
    "create unless it refers to": _form("POST", "/Observation", observation("me"), if_none_exist="encounter={x}"),
    "conditional update": _form(
        "PUT", "/Observation?identifier={x}", observation("me", identifier=[{"system": "urn:own", "value": "1"}])
    ),
    "conditional patch": _form("PATCH", "/Observation?encounter={x}", REPLACE, **PATCH),
    "conditional delete": _form("DELETE", "/Observation?encounter=Encounter/{x}"),
    "conditional delete by a code": _form("DELETE", "/Observation?code={x}"),
    "transaction with a conditional reference": _transaction(
        {
            "resource": observation("me", encounter={"reference": "Encounter?identifier=urn:a|{x}"}),
            "request": {"method": "POST", "url": "Observation"},
        }
    ),
    "transaction": _transaction(
        {
            "resource": observation("me", encounter={"reference": "Encounter/{x}"}),
            "request": {"method": "POST", "url": "Observation"},
        }
    ),
    "transaction that reads": _transaction({"request": {"method": "GET", "url": "Observation?patient={x}"}}),
}  # fmt: skip


async def _both(
    me: Door, form: Form, monkeypatch: pytest.MonkeyPatch, there: str = HIDDEN
) -> list[tuple[Any, Record]]:
    method, path, body, headers = form
    told = []
    for name in (there, ABSENT, there, ABSENT):
        # The first two warm up what is kept between requests.
        sent = body.replace(b"{x}", name.encode()) if isinstance(body, bytes) else _named(body, name)
        with recorded(monkeypatch) as record:
            answer = await _ask(me, method, _named(path, name), sent, _named(headers, name))
        told.append((_said(answer, name), record))
    return told[2:]


@pytest.mark.parametrize("form", LOOKING)
async def test_what_is_hidden_is_looked_for_like_what_is_not_there(
    me: Door, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, hidden), (second, absent) = await _both(me, LOOKING[form], monkeypatch)
    assert first == second
    assert first[0] < 500
    assert differing(hidden.texts, absent.texts) == ""
    assert differing(hidden.answers, absent.answers) == ""
    if form == "all types":
        # What is called that is looked at and left out, as it is by a read.
        return
    assert differing(await hidden.work(me.dsn), await absent.work(me.dsn)) == ""


@pytest.mark.parametrize("form", GONE)
async def test_what_was_hidden_and_is_gone_is_looked_for_like_what_was_never_there(
    me: Door, door: Door, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for document in ({"resourceType": "Patient", "id": DELETED}, observation(HIDDEN, id=DELETED)):
        assert (await door.put(document)).status_code in (200, 201)
        assert (await door.call("DELETE", f"/{document['resourceType']}/{DELETED}")).status_code == 204
    (first, hidden), (second, absent) = await _both(me, _form("GET", f"/{form}"), monkeypatch, DELETED)
    assert first == second
    assert differing(hidden.texts, absent.texts) == ""
    assert differing(hidden.answers, absent.answers) == ""


@pytest.mark.parametrize("form", CHANGING)
async def test_what_is_hidden_is_changed_like_what_is_not_there(
    doctor: Door, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, hidden), (second, absent) = await _both(doctor, CHANGING[form], monkeypatch)
    assert first == second
    assert first[0] < 500
    assert differing(hidden.texts, absent.texts) == ""
