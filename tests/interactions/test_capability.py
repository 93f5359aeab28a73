"""The CapabilityStatement says what is true: https://hl7.org/fhir/R4/capabilitystatement.html."""

from __future__ import annotations

import json
import tomllib

import httpx

from fhirhub.app import OPERATIONS
from fhirhub.definitions.tables import load
from fhirhub.interactions.statement import rendered
from fhirhub.packaged import folder
from fhirhub.search.parameters.special import UNSERVED_PARAMETERS
from fhirhub.validation.validator import Validator
from support.steps import run


def test_the_file_is_what_the_code_serves() -> None:
    """Rewrite it by ``python -m fhirhub.interactions.statement`` and look at the difference."""
    assert (folder("capability") / "statement.json").read_bytes() == rendered()


def test_what_is_not_served_is_written_down() -> None:
    listed = tomllib.loads((folder("capability") / "unsupported.toml").read_text(encoding="utf-8"))["search"]
    written = {parameter for each in listed for parameter in each.get("parameters", ())}
    assert written == UNSERVED_PARAMETERS.keys() - {"_type"}


def test_the_statement_is_valid() -> None:
    assert Validator(load()).validate(json.loads(rendered())) == []


def test_the_operations_claimed_are_those_that_are_served() -> None:
    """What tells of background work is part of how that is asked for: https://hl7.org/fhir/R4/async.html."""
    claimed = {
        (level, one.get("type") if level != "system" else None, one["name"])
        for one in tomllib.loads((folder("capability") / "server.toml").read_text(encoding="utf-8"))[
            "operations"
        ]
        for level in one["levels"]
    }
    assert claimed == {served for served in OPERATIONS if not served[2].startswith("async-")}
    rest = json.loads(rendered())["rest"][0]
    told = {one["type"]: {each["name"] for each in one.get("operation", ())} for one in rest["resource"]}
    assert {one["name"] for one in rest["operation"]} == {
        name for level, _, name in claimed if level == "system"
    }
    assert told["Observation"] == {"lastn", "explain"} and told["Account"] == {"explain"}
    assert told["AuditEvent"] == set()


async def test_it_is_served(client: httpx.AsyncClient) -> None:
    saved = await run(
        client,
        [
            {
                "do": "GET metadata",
                "has": {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "kind": "instance",
                        "implementation.url": "http://testserver/fhir", "rest.0.resource.#": 146},
                "header": {"etag": "*"},
                "save": {"etag": "header:etag"},
            },
            {"do": "GET metadata", "with": {"if-none-match": "nothing"}, "status": 200},
            {"do": "GET metadata?mode=full", "has": {"resourceType": "CapabilityStatement"}},
            {"do": "GET metadata?mode=normative", "has": {"resourceType": "CapabilityStatement"}},
            {"do": "GET metadata?mode=terminology", "has": {"resourceType": "TerminologyCapabilities"}},
            {"do": "GET metadata?mode=nonsense", "status": 400},
            {"do": "GET metadata?_summary=true", "status": 200},
        ],
    )  # fmt: skip
    answer = await client.get("metadata", headers={"if-none-match": saved["etag"]})
    assert answer.status_code == 304


async def test_a_server_open_to_everybody_claims_no_way_in(client: httpx.AsyncClient) -> None:
    """The tests' own is one (``--no-auth``): there is nobody to sign in, and no token to be had."""
    assert "security" not in (await client.get("metadata")).json()["rest"][0]
    base = str(client.base_url).rstrip("/")
    for path in (f"{base}/.well-known/smart-configuration", base.removesuffix("/fhir") + "/auth/token"):
        assert (await client.get(path)).status_code == 404


async def test_every_search_parameter_claimed_is_understood(client: httpx.AsyncClient) -> None:
    """On the types of the core; that they are served alike on the others follows from the one registry."""
    values = {
        "number": "1",
        "date": "2020",
        "string": "a",
        "token": "a",
        "reference": "Patient/1",
        "quantity": "1",
        "uri": "urn:a",
        "special": "a",
    }
    statement = (await client.get("metadata")).json()
    for resource in statement["rest"][0]["resource"]:
        if resource["type"] not in (
            "Patient",
            "Observation",
            "Condition",
            "Encounter",
            "MedicationRequest",
            "Claim",
        ):
            continue
        for parameter in resource["searchParam"]:
            value = values.get(parameter["type"], "a$a")
            answer = await client.get(resource["type"], params={parameter["name"]: value, "_count": "1"})
            reasons = answer.text if parameter["type"] != "composite" else ""
            assert answer.status_code == 200 or "nknown" not in reasons, (parameter, answer.text)


async def test_every_include_claimed_is_served(client: httpx.AsyncClient) -> None:
    statement = (await client.get("metadata")).json()
    resource = next(one for one in statement["rest"][0]["resource"] if one["type"] == "Patient")
    for kind, listed in (
        ("_include", resource["searchInclude"]),
        ("_revinclude", resource["searchRevInclude"]),
    ):
        for value in listed:
            answer = await client.get("Patient", params={kind: value, "_count": "1"})
            assert answer.status_code == 200, (value, answer.text)
