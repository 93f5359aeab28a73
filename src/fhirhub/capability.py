"""What the server claims: https://hl7.org/fhir/R4/capabilitystatement.html.

The claims are in ``capability/server.toml``. The statement is rendered from them and from the search parameters that
are really served (:func:`render`), and kept as ``capability/statement.json``; a test holds the two equal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from fhirhub.definitions.tables import Definitions, SearchParameter

_CONDITIONAL = {
    "conditionalUpdate": "conditional-update",
    "conditionalPatch": "conditional-patch",
    "conditionalDelete": "conditional-delete",
}
_NONE = (False, "not-supported")
_ALWAYS = frozenset({"capabilities", "operation", "search-system", "history-system", "bundle"})
"""Interactions that say themselves what they do not serve."""
_ORIGIN = "http://example.org"
_BASE = f"{_ORIGIN}/fhir"
"""Stands in the rendered statement where the base goes that the caller used."""
ANY = "Resource"
"""The type of operations that are offered on all types."""
_OWN = f"{_BASE}/OperationDefinition"
_AUTH = f"{_ORIGIN}/auth/"
_OAUTH = {
    "authorize": "authorize",
    "token": "token",
    "introspect": "introspect",
    "revoke": "revoke",
    "manage": "manage",
}
"""Name in the extension oauth-uris -> place below ``/auth``."""
_FLAGS = ("versioning", "readHistory", "updateCreate", "conditionalCreate", "conditionalRead", "conditionalUpdate",
          "conditionalDelete", "referencePolicy")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Capability:
    """The claims as read, and the rendered statement as JSON."""

    claims: Mapping[str, Any]
    statement: bytes

    @property
    def limits(self) -> Mapping[str, int]:
        """Limits that are part of what is claimed."""
        return self.claims["limits"]

    def of_type(self, type: str) -> Mapping[str, Any]:
        """What is claimed for a resource type."""
        types = self.claims["types"]
        return {**types["default"], **types.get(type, {})}

    def offered(self, definitions: Definitions) -> dict[str | None, frozenset[str]]:
        """Resource type -> the interactions that are claimed, as routes name them; None: those of the system."""
        found: dict[str | None, frozenset[str]] = {None: _ALWAYS}
        for type in definitions.resource_types:
            claimed = self.of_type(type)
            conditional = {
                name for flag, name in _CONDITIONAL.items() if claimed.get(flag, False) not in _NONE
            }
            found[type] = frozenset({*claimed["interactions"], *conditional, "operation"})
        for compartment in self.claims["search"]["compartments"]:
            found[compartment] |= {"search-compartment"}
        return found

    def extended(self, parameters: Sequence[SearchParameter]) -> Capability:
        """These claims with search ``parameters`` of a store's own in the statement."""
        if not parameters:
            return self
        statement = orjson.loads(self.statement)
        resources = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
        for one in sorted(parameters, key=lambda one: one.code):
            resource = resources[one.type]
            shown = {"name": one.code, "definition": one.url, "type": one.kind}
            resource["searchParam"] = [*resource.get("searchParam", ()), shown]
            if one.kind == "reference":
                name = f"{one.type}:{one.code}"
                resource["searchInclude"] = [*resource.get("searchInclude", ()), name]
                for target in one.targets:
                    reverse = resources[target].get("searchRevInclude", ())
                    resources[target]["searchRevInclude"] = [*reverse, name]
        return Capability(self.claims, orjson.dumps(statement))

    def unguarded(self) -> Capability:
        """These claims for a server that lets everybody in: it has no way to get in to tell of."""
        statement = orjson.loads(self.statement)
        for rest in statement["rest"]:
            rest.pop("security", None)
        return Capability(self.claims, orjson.dumps(statement))

    def statement_at(self, base: str) -> bytes:
        """The CapabilityStatement of a server that is reached at ``base``."""
        return _placed(self.statement, base)


@lru_cache(maxsize=16)
def _placed(statement: bytes, base: str) -> bytes:
    here = base.removesuffix("/fhir")
    text = statement.replace(_BASE.encode(), base.encode()).replace(_AUTH.encode(), f"{here}/auth/".encode())
    return orjson.dumps(orjson.loads(text))


def load(folder: Path) -> Capability:
    """The capability of the files in ``folder``."""
    claims = tomllib.loads((folder / "server.toml").read_text(encoding="utf-8"))
    return Capability(claims, (folder / "statement.json").read_bytes())


def render(
    claims: Mapping[str, Any],
    definitions: Definitions,
    served: Mapping[str, Sequence[SearchParameter]],
    includable: Mapping[str, Collection[str]],
    version: str,
) -> dict[str, Any]:
    """The CapabilityStatement.

    ``served`` are the search parameters of each type that the search room answers, ``includable`` the codes of those
    that _include and _revinclude follow.
    """
    about = claims["statement"]
    empty = Capability(claims, b"")
    reverse = _reverse_includes(definitions, served, includable)
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{_BASE}/metadata",
        "version": version,
        "name": about["name"],
        "title": about["title"],
        "status": "active",
        "date": about["date"],
        "publisher": about["publisher"],
        "description": about["description"],
        "kind": "instance",
        "software": {"name": about["name"], "version": version},
        "implementation": {"description": about["title"], "url": _BASE},
        "fhirVersion": about["fhirVersion"],
        "format": about["formats"],
        "patchFormat": about["patchFormats"],
        "rest": [
            {
                "mode": "server",
                "documentation": claims["system"]["documentation"],
                "security": _security(),
                "resource": [
                    _resource(
                        type,
                        empty.of_type(type),
                        served[type],
                        sorted(f"{type}:{code}" for code in includable[type]),
                        reverse[type],
                        claims["operations"],
                    )
                    for type in definitions.resource_types
                ],
                "interaction": [{"code": code} for code in claims["system"]["interactions"]],
                "operation": [
                    _operation(one, "documentation")
                    for one in claims["operations"]
                    if "system" in one["levels"]
                ],
                "compartment": [
                    f"http://hl7.org/fhir/CompartmentDefinition/{name[0].lower()}{name[1:]}"
                    for name in claims["search"]["compartments"]
                ],
            }
        ],
    }


def _security() -> dict[str, Any]:
    """How to get in: https://hl7.org/fhir/smart-app-launch/conformance.html, and for older apps the places, too."""
    places = [{"url": name, "valueUri": f"{_AUTH}{place}"} for name, place in _OAUTH.items()]
    service = {
        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
        "code": "SMART-on-FHIR",
        "display": "SMART-on-FHIR",
    }
    return {
        "extension": [
            {
                "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                "extension": places,
            }
        ],
        "cors": True,
        "service": [
            {"coding": [service], "text": "SMART App Launch 2.2, see .well-known/smart-configuration"}
        ],
    }


def _resource(
    type: str,
    claimed: Mapping[str, Any],
    parameters: Sequence[SearchParameter],
    forward: Sequence[str],
    reverse: Sequence[str],
    operations: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": type,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{type}",
        "interaction": [{"code": code} for code in claimed["interactions"]],
    }
    shown |= {flag: claimed[flag] for flag in _FLAGS}
    if forward:
        shown["searchInclude"] = list(forward)
    if reverse:
        shown["searchRevInclude"] = list(reverse)
    if parameters:
        shown["searchParam"] = [
            {"name": one.code, "definition": one.url, "type": one.kind}
            for one in sorted(parameters, key=lambda one: one.code)
        ]
    own = [_operation(one) for one in operations if offers(one, type)]
    if own:
        shown["operation"] = own
    return shown


def offers(operation: Mapping[str, Any], type: str) -> bool:
    """Whether ``operation`` is claimed for ``type``."""
    return operation.get("type") in (type, ANY) and type not in operation.get("excluded", ())


def _operation(claimed: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """An operation by its name and definition, with what ``more`` names."""
    shown = {"name": claimed["name"], "definition": claimed.get("definition", f"{_OWN}/{claimed['name']}")}
    return shown | {name: claimed[name] for name in more}


def _reverse_includes(
    definitions: Definitions,
    served: Mapping[str, Sequence[SearchParameter]],
    includable: Mapping[str, Collection[str]],
) -> dict[str, list[str]]:
    """Resource type -> ``Type:code`` of the reference parameters that name it as a target.

    Parameters that may lead to any type are left out: they would stand in every list.
    """
    found: dict[str, list[str]] = {type: [] for type in definitions.resource_types}
    every: Collection[str] = definitions.resource_types
    for type, parameters in served.items():
        for one in parameters:
            if one.code in includable[type] and len(one.targets) < len(every):
                for target in one.targets:
                    found[target].append(f"{type}:{one.code}")
    return {type: sorted(codes) for type, codes in found.items()}
