"""A row of the audit trail as an AuditEvent (https://hl7.org/fhir/R4/auditevent.html) in the shapes of IHE BALP
(https://profiles.ihe.net/ITI/BALP/): client, server and user; the data or the query; the patient; X-Request-Id.

BALP has one event for every patient found. A row is one event: its id ``7-42`` is chain and number. With ``.2``
behind it is the event about the second of its patients alone, which is what a search for a patient shows.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fhirhub.resource.meta import instant
from fhirhub.store.audit.search import Row

Json = dict[str, Any]
_HL7 = "http://terminology.hl7.org/CodeSystem"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"
RESTFUL = "http://hl7.org/fhir/restful-interaction"
OWN = "urn:fhirhub:audit"
"""Code system of what the standards have no code for: interactions by their own name, as in ``subtype=sign-in``."""
BALP = "https://profiles.ihe.net/ITI/BALP"

KINDS: dict[str, Json] = {
    "rest": {"system": f"{_HL7}/audit-event-type", "code": "rest", "display": "Restful Operation"},
    "login": {"system": DICOM, "code": "110114", "display": "User Authentication"},
    "token": {"system": DICOM, "code": "110114", "display": "User Authentication"},
    "consent": {"system": DICOM, "code": "110113", "display": "Security Alert"},
    "security": {"system": DICOM, "code": "110113", "display": "Security Alert"},
    "export": {"system": DICOM, "code": "110106", "display": "Export"},
    "import": {"system": DICOM, "code": "110107", "display": "Import"},
    "admin": {"system": DICOM, "code": "110137", "display": "User Security Attributes Changed"},
}
"""Kind of a row -> type of the event."""
_LOGIN = {"system": DICOM, "code": "110122", "display": "Login"}
_LOGOUT = {"system": DICOM, "code": "110123", "display": "Logout"}
SUBTYPES: dict[str, Json] = {"login": _LOGIN, "sign-in": _LOGIN, "logout": _LOGOUT, "sign-out": _LOGOUT}
STANDARD: dict[str, str] = {
    **{name: name for name in (
        "read", "vread", "update", "patch", "delete", "create", "capabilities", "history-instance", "history-type",
        "history-system", "search-type", "search-system", "transaction", "batch", "operation",
    )},
    "search-compartment": "search-type",
    "conditional-update": "update",
    "conditional-patch": "patch",
    "conditional-delete": "delete",
    "bundle": "transaction",
}  # fmt: skip
"""Interaction of a row -> its code in http://hl7.org/fhir/restful-interaction."""
ACTIONS: dict[str, tuple[str, ...]] = {
    "C": ("create",),
    "R": ("read", "vread", "history-instance"),
    "U": ("update", "patch", "conditional-update", "conditional-patch"),
    "D": ("delete", "conditional-delete"),
}
"""Action -> interactions; whatever else is an execution, E."""
_ACTION_OF = {interaction: action for action, some in ACTIONS.items() for interaction in some}
_PROFILES = {"C": "Create", "R": "Read", "U": "Update", "D": "Delete"}
_ID = re.compile(r"([1-9]\d{0,3})-([1-9]\d{0,17})((?:\.[1-9]\d{0,4}){0,10})")
_SOURCE = {"system": DICOM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": DICOM, "code": "110152", "display": "Destination Role ID"}
_SIDES: dict[str, tuple[Json, Json]] = {
    "C": (_SOURCE, _DESTINATION),
    "R": (_DESTINATION, _SOURCE),
    "U": (_SOURCE, _DESTINATION),
    "D": (
        {"system": DICOM, "code": "110150", "display": "Application"},
        {"system": f"{_HL7}/provenance-participant-type", "code": "custodian", "display": "Custodian"},
    ),
    "E": (_SOURCE, _DESTINATION),
}
"""Action -> what the client and the server are in it."""


def id_of(row: Row, shown: Iterable[str] | None = None) -> str:
    """The id of the event about ``shown`` of the row's patients; None: about all of them."""
    name = f"{row.chain}-{row.seq}"
    kept = set(row.patients if shown is None else shown)
    places = [n for n, each in enumerate(row.patients, 1) if each in kept]
    return name if len(places) == len(row.patients) else name + "".join([f".{n}" for n in places])


def parse_id(id: str) -> tuple[int, int, tuple[int, ...]] | None:
    """Chain, number and places of the patients (empty: all); None for what is no id of an event."""
    found = _ID.fullmatch(id)
    if found is None:
        return None
    return int(found[1]), int(found[2]), tuple(int(each) for each in found[3].split(".") if each)


def action_of(row: Row) -> str:
    """C, R, U, D or E."""
    return _ACTION_OF.get(row.interaction, "E") if row.kind == "rest" else "E"


def as_event(row: Row, base: str, shown: Iterable[str] | None = None, *, whole: bool = True) -> Json:
    """The AuditEvent; ``base`` is the address of the service, ``shown`` as in :func:`id_of`.

    Without ``whole``, for the patient it is about: what was asked for in words, which may name others, is left out.
    """
    if not whole:
        row = replace(
            row,
            detail={name: row.detail[name] for name in row.detail if name not in ("query", "why", "more")},
        )
    kept = row.patients if shown is None else [each for each in row.patients if each in set(shown)]
    action = action_of(row)
    event: Json = {
        "resourceType": "AuditEvent",
        "id": id_of(row, shown),
        "meta": {"versionId": "1", "lastUpdated": instant(row.at)},
        "type": KINDS.get(row.kind, {"system": OWN, "code": row.kind}),
        "subtype": _subtypes(row),
        "action": action,
        "recorded": instant(row.at),
        "outcome": str(row.outcome),
    }
    profile = _profile(row, action, kept)
    if profile:
        event["meta"]["profile"] = [f"{BALP}/StructureDefinition/IHE.BasicAudit.{profile}"]
    why = row.detail.get("why")
    if why or row.outcome:
        event["outcomeDesc"] = why or f"HTTP status {row.status}"
    event["agent"] = _agents(row, action, base)
    event["source"] = {
        "observer": {"identifier": {"value": base}, "display": "fhirhub"},
        "type": [{"system": f"{_HL7}/security-source-type", "code": "4", "display": "Application Server"}],
    }
    entities = [*_entities(row, action), *(_patient(each) for each in kept)]
    if row.request:
        entities.append(_transaction(row))
    if entities:
        event["entity"] = entities
    return event


def _profile(row: Row, action: str, patients: list[str]) -> str:
    """The profile of BALP that the event follows; they are for successes only."""
    if row.kind != "rest" or row.outcome:
        return ""
    if row.interaction.startswith("search-"):
        name = "Query"
    elif row.interaction in ("create", "read", "vread", "update", "patch", "delete"):
        name = _PROFILES[action]
    else:
        return ""
    return f"Patient{name}" if len(patients) == 1 else name


def _subtypes(row: Row) -> list[Json]:
    if row.kind == "rest":
        code = "operation" if row.interaction.startswith("$") else STANDARD.get(row.interaction)
        known = [] if code is None else [{"system": RESTFUL, "code": code, "display": code}]
        return known if code == row.interaction else [*known, {"system": OWN, "code": row.interaction}]
    own = {"system": OWN, "code": row.interaction}
    return [SUBTYPES[row.interaction], own] if row.interaction in SUBTYPES else [own]


def _agents(row: Row, action: str, base: str) -> list[Json]:
    """The client program, this server, and the user where one is known."""
    told = row.detail
    client, server = _SIDES[action]
    user = told.get("user") or told.get("fhirUser")
    program: Json = {"display": told.get("clientName") or told.get("client") or "unknown client"}
    if told.get("client"):
        program = {"identifier": {"value": told["client"]}, **program}
    agents: list[Json] = [
        {"type": {"coding": [client]}, "who": program, "requestor": not user},
        {
            "type": {"coding": [server]},
            "who": {"identifier": {"value": base}, "display": "fhirhub"},
            "requestor": False,
            "network": {"address": base, "type": "5"},
        },
    ]
    if told.get("address"):
        agents[0]["network"] = {"address": told["address"], "type": "2"}
    if told.get("grant"):
        agents[0]["policy"] = [f"urn:fhirhub:grant:{told['grant']}"]
    if user:
        agents.append(_user(row, action))
    return agents


def _user(row: Row, action: str) -> Json:
    told = row.detail
    part = ("AUT", "Author") if action in "CUD" else ("IRCP", "information recipient")
    who: Json = {}
    if told.get("fhirUser"):
        who["reference"] = told["fhirUser"]
    if told.get("user"):
        who["identifier"] = {"value": told["user"]}
        if told.get("issuer"):
            who["identifier"]["system"] = told["issuer"]
    agent: Json = {
        "type": {"coding": [{"system": f"{_HL7}/v3-ParticipationType", "code": part[0], "display": part[1]}]},
        "who": {**who, "display": told.get("user") or told["fhirUser"]},
        "name": told.get("user") or told["fhirUser"],
        "requestor": True,
    }
    if told.get("role"):
        agent["role"] = [{"text": told["role"]}]
    if told.get("reason"):
        glass = {"system": f"{_HL7}/v3-ActReason", "code": "BTG", "display": "break the glass"}
        agent["purposeOfUse"] = [{"coding": [glass], "text": told["reason"]}]
    return agent


def _entities(row: Row, action: str) -> list[Json]:
    """The resource or the query; what else is told of events that are no interaction with resources."""
    found: list[Json] = []
    told = row.detail
    thing = {"system": f"{_HL7}/audit-entity-type", "code": "2", "display": "System Object"}
    if row.type and row.id and (row.kind != "rest" or not row.interaction.startswith("search-")):
        version = f"/_history/{told['version']}" if told.get("version") else ""
        role = {"system": f"{_HL7}/object-role", "code": "4", "display": "Domain Resource"}
        found.append({"what": {"reference": f"{row.type}/{row.id}{version}"}, "type": thing, "role": role})
    if row.kind == "rest" and (told.get("query") or row.interaction.startswith("search-")):
        place = "/".join([part for part in (row.type, row.id) if part])
        text = f"{place}?{told.get('query', '')}"
        role = {"system": f"{_HL7}/object-role", "code": "24", "display": "Query"}
        query = base64.b64encode(text.encode()).decode()
        found.append({"type": thing, "role": role, "description": text, "query": query})
    more = told.get("more")
    if more:
        details = [{"type": str(name), "valueString": _shown(value)} for name, value in more.items()]
        found.append({"type": thing, "detail": [each for each in details if each["valueString"]]})
    return found


def _shown(value: Any) -> str:
    return ", ".join([str(each) for each in value]) if isinstance(value, list) else str(value)


def _patient(id: str) -> Json:
    return {
        "what": {"reference": f"Patient/{id}"},
        "type": {"system": f"{_HL7}/audit-entity-type", "code": "1", "display": "Person"},
        "role": {"system": f"{_HL7}/object-role", "code": "1", "display": "Patient"},
    }


def _transaction(row: Row) -> Json:
    entity: Json = {
        "what": {"identifier": {"value": row.request}},
        "type": {
            "system": f"{BALP}/CodeSystem/BasicAuditEntityType",
            "code": "XrequestId",
            "display": "transport specific unique identifier where http X-Request-Id is used",
        },
    }
    if "entry" in row.detail:
        entity["detail"] = [{"type": "Bundle.entry", "valueString": str(row.detail["entry"])}]
    return entity
