"""Who may touch a document, read off the document itself and the published definitions: slow, plain, and without the
index, the parser or the predicates of the server.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from fhirhub.packaged import folder
from searching import BASES, definitions

Document = dict[str, Any]
Documents = Mapping[tuple[str, str], Document]
"""All there is, by type and id."""
_FILES = {
    name: tomllib.loads((folder("capability") / "policies" / f"{name}.toml").read_text(encoding="utf-8"))
    for name in ("roles", "compartment", "labels")
}
GROUPS = _FILES["roles"]["groups"]
ROLES = _FILES["roles"]["roles"]
COMPARTMENT = _FILES["compartment"]
LABELS = _FILES["labels"]["labels"]


def values(document: Document, expression: str) -> Iterator[Any]:
    """What stands at the alternatives of a search parameter's expression; simple paths only."""
    for part in re.sub(r"[()]", " ", expression.replace(".where(resolve() is ", "!")).split("|"):
        path, _, only = part.strip().partition("!")
        path = re.sub(r" +as +Reference", "Reference", path.strip()).replace(".as Reference", "Reference")
        steps = path.strip().split(".")
        if steps[0] != document["resourceType"]:
            continue
        found: list[Any] = [document]
        for step in steps[1:]:
            below: list[Any] = []
            for each in found:
                if isinstance(each, dict):
                    held = each.get(step.strip(), [])
                    below += held if isinstance(held, list) else [held]
            found = below
        for each in found:
            if (
                not only
                or f"{only.strip()}/" in str(each.get("reference", ""))
                or each.get("type") == only.strip()
            ):
                yield each


def at(document: Document, code: str) -> list[Any]:
    """The values of a search parameter."""
    parameter = definitions.search_parameters(document["resourceType"])[code]
    return [each for each in values(document, parameter.expression) if isinstance(each, dict)]


def leads_to(reference: Document, type: str, id: str) -> bool:
    """Whether a reference is to this resource of this server."""
    text = reference.get("reference", "")
    for base in BASES:
        text = text.removeprefix(base + "/")
    return text.partition("/_history/")[0] == f"{type}/{id}"


def belongs(document: Document, patient: str, among: Documents) -> bool:
    """Whether a document is in a patient's record, as compartment.toml reads the CompartmentDefinition."""
    type = document["resourceType"]
    if type == "Patient":
        return document["id"] == patient
    if type in COMPARTMENT["through"]:
        return _by_all(document, COMPARTMENT["through"][type][0], patient, among)
    formal = definitions.compartments["Patient"].get(type, ())
    codes = [*COMPARTMENT["only"].get(type, formal), *COMPARTMENT["also"].get(type, ())]
    about = [each for code in codes if code in COMPARTMENT["about"] for each in at(document, code)]
    others = [each for code in codes if code not in COMPARTMENT["about"] for each in at(document, code)]
    return any(leads_to(each, "Patient", patient) for each in (about or others))


def _by_all(document: Document, code: str, patient: str, among: Documents) -> bool:
    """Whether something that is pointed to is in the record, and all the rest is shared, or on no server of ours."""
    free = named(COMPARTMENT["shared"]) | set(COMPARTMENT["by_context"])
    own = False
    for each in at(document, code):
        text = each.get("reference", "")
        for base in BASES:
            text = text.removeprefix(base + "/")
        name = tuple(text.partition("/_history/")[0].split("/"))
        if len(name) != 2 or name[0] not in definitions.type_number or name[0] in free:
            continue
        target = among.get((name[0], name[1]))
        if target is None or target["resourceType"] in COMPARTMENT["through"]:
            return False
        if not belongs(target, patient, among):
            return False
        own = True
    return own


def named(entries: list[str]) -> set[str]:
    """Types, groups and * as types."""
    found: set[str] = set()
    for entry in entries:
        if entry == "*":
            found |= set(definitions.resource_types)
        else:
            found |= set(GROUPS[entry[1:]]) if entry[0] == "@" else {entry}
    return found


def fulfils(document: Document, where: str, own: str, fhir_user: str) -> bool:
    """The criteria that policies and the scopes of the test use: codes and references, by equality."""
    for piece in where.split("&"):
        name, _, value = piece.partition("=")
        value = value.replace("{patient}", own).replace("{fhirUser}", fhir_user)
        code, _, modifier = name.partition(":")
        parameter = definitions.search_parameters(document["resourceType"])[code]
        if modifier == "missing":
            if bool(at(document, code)) == (value == "true"):
                return False
        elif parameter.kind == "reference":
            if not any(leads_to(each, *value.split("/")) for each in at(document, code)):
                return False
        elif not _coded(list(values(document, parameter.expression)), value):
            return False
    return True


def _coded(found: list[Any], value: str) -> bool:
    system, bar, code = value.rpartition("|")
    for each in found:
        if isinstance(each, str):
            if not bar and each == code:
                return True
            continue
        for coding in each.get("coding", ()) if "coding" in each else (each,):
            if coding.get("code") == code and (not bar or coding.get("system", "") == system):
                return True
    return False


def by_role(
    role: str, letter: str, document: Document, own: str | None, fhir_user: str, among: Documents
) -> bool:
    """Whether any rule of a role allows the action."""
    for rule in ROLES.get(role, {}).get("rules", ()):
        if letter not in rule["may"] or document["resourceType"] not in named(rule["types"]):
            continue
        where = rule.get("where", "")
        if rule.get("own") and (own is None or not belongs(document, own, among)):
            continue
        if ("{patient}" in where and own is None) or (
            where and not fulfils(document, where, own or "", fhir_user)
        ):
            continue
        return True
    return False


def by_labels(who: str, glass: bool, document: Document) -> bool:
    """Whether nothing about the labels of a document keeps ``who`` from it."""
    carried = (document.get("meta") or {}).get("security", ())
    for rule in LABELS:
        if who in rule["roles"] or (glass and who in rule["glass"]):
            continue
        for code in rule["codes"]:
            system, _, bare = code.partition("|")
            if any(one.get("code") == bare and one.get("system", system) == system for one in carried):
                return False
    return True


def by_scope(
    scope: tuple[str, str, str, str], letter: str, document: Document, patient: str | None, among: Documents
) -> bool:
    """Whether a scope (level, type, letters, query) allows the action."""
    level, type, letters, query = scope
    kind = document["resourceType"]
    if letter not in letters or type not in ("*", kind):
        return False
    if level == "patient":
        if patient is None:
            return False
        if kind in named(COMPARTMENT["shared"]):
            if letter not in "rs":
                return False
        elif not belongs(document, patient, among):
            return False
    return not query or fulfils(document, query, "", "")


def may(
    kind: str, scopes: list[tuple[str, str, str, str]], role: str | None, fhir_user: str, patient: str | None,
    glass: bool, letter: str, document: Document, among: Documents,
) -> bool:  # fmt: skip
    """The whole decision."""
    levels = ("system",) if kind == "system" else ("patient", "user")
    if not any(by_scope(one, letter, document, patient, among) for one in scopes if one[0] in levels):
        return False
    own = fhir_user.partition("/")[2] if fhir_user.startswith("Patient/") else None
    if kind == "user" and not by_role(
        role or "", letter, document, own if role == "patient" else own, fhir_user, among
    ):
        return False
    if letter == "c" or document["resourceType"] in _FILES["labels"]["recorded"]["types"]:
        return True
    return by_labels("system" if kind == "system" else role or "", glass, document)
