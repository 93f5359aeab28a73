"""Consent resources, as far as they deny: https://hl7.org/fhir/R4/consent.html

Read into plain values here, turned into predicates by :mod:`fhirhub.auth.denial`. What cannot be applied to the letter
is marked as not exact: of a denial that part is then left out, which denies more; a permission that is an exception
to a denial then counts for nothing, which denies more, too. docs/access.md lists what is honoured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhirhub.search.parameters.date import interval

_REFERENCE = re.compile(
    r"([A-Z][A-Za-z]{1,60})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?", re.ASCII
)
_OPT_OUT = frozenset({"OPTOUT", "OPTOUTE", "opt-out"})
"""Codes of ``policyRule`` by which everything is denied unless the provisions permit it."""
_NOT_DATA = frozenset({"adr", "treatment"})
"""Scopes of consents about what is done to the patient, not about data."""
_SEEING = frozenset({"access", "use", "disclose"})
_TYPES = "http://hl7.org/fhir/resource-types"
_LISTS = ("actor", "class", "code", "data", "provision", "securityLabel")
_OTHERS = ("dataPeriod", "extension", "id", "period", "type")
ANYBODY = "*"
NAMED = "#"
"""Before an identifier: surely that client if it has this id, and perhaps anybody."""
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """Which of the patient's data a provision is about; None or () for all."""

    types: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()
    """``system|code`` of ``meta.security``: any of them."""
    codes: tuple[str, ...] = ()
    """``system|code`` in the content: any of them."""
    since: str | None = None
    until: str | None = None
    """The data are from this period (dates as search takes them)."""
    instances: tuple[tuple[str, str], ...] | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Provision:
    """One rule. ``actors`` are references (``Practitioner/1``), identifiers (NAMED), or ANYBODY for one that is not known."""

    deny: bool
    condition: Condition
    actors: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    """When the rule holds, microseconds since 1970 UTC, both inclusive."""
    creating: bool = False
    """Whether it keeps its actors from recording new data, too."""
    exceptions: tuple[Provision, ...] = ()


@dataclass(frozen=True, slots=True)
class PatientConsent:
    """What a patient denies, and to whom."""

    patient: str
    provision: Provision
    services_only: bool = False
    """It is about research, which no person who treats does with a token of this server."""


def read(document: Mapping[str, Any], types: Collection[str]) -> PatientConsent | None:
    """The denials of a Consent; None when it holds none or is not in force."""
    found = _REFERENCE.fullmatch(_text(document.get("patient"), "reference"))
    scopes = {code for _, code in _codings(document.get("scope"))}
    if document.get("status") != "active" or found is None or found[1] != "Patient":
        return None
    if scopes and scopes <= _NOT_DATA:
        return None
    given = _table(document.get("provision"))
    opted_out = any(code in _OPT_OUT for _, code in _codings(document.get("policyRule")))
    if not given and not opted_out:
        return None
    root = _provision(given, types, opted_out, 0)
    if opted_out and not root.deny:
        # Everything is denied, but for what the provisions permit.
        root = Provision(True, Condition(), exceptions=(root,))
    return PatientConsent(found[2], root, scopes == {"research"}) if _denies(root) else None


def _denies(provision: Provision) -> bool:
    return provision.deny or any(_denies(each) for each in provision.exceptions)


def _provision(given: Mapping[str, Any], types: Collection[str], deny: bool, depth: int) -> Provision:
    """``deny`` is what holds when it does not say itself."""
    if "type" in given:
        # What is neither one nor the other is taken for the stricter.
        deny = given["type"] != "permit"
    inner = [_table(each) for each in _list(given.get("provision"))]
    if depth >= MAX_DEPTH and inner:
        # Too deep to be followed: what would permit is left out, what would deny denies without conditions.
        return Provision(True, Condition(exact=False))
    start, end, timed = _period(given.get("period"))
    condition = _condition(given, types)
    if not timed or not _understood(given):
        condition = replace(condition, exact=False)
    actions = {code for each in _list(given.get("action")) for _, code in _codings(each)}
    actors = tuple(_actor(_table(each)) for each in _list(given.get("actor")))
    return Provision(
        deny, condition, actors, start, end, bool(actions - _SEEING),
        tuple(_provision(each, types, True, depth + 1) for each in inner),
    )  # fmt: skip


def _understood(given: Mapping[str, Any]) -> bool:
    """Whether everything in it is something that is applied, and has its shape. Purposes and actions are not:
    a token does not say what it is used for.
    """
    lists = all(isinstance(given[name], list) and given[name] for name in _LISTS if name in given)
    return lists and set(given) <= {*_LISTS, *_OTHERS}


def _actor(given: Mapping[str, Any]) -> str:
    reference = _table(given.get("reference"))
    found = _REFERENCE.fullmatch(_text(reference, "reference"))
    if found:
        return f"{found[1]}/{found[2]}"
    if "reference" in reference:
        return ANYBODY
    value = _text(reference.get("identifier"), "value")
    return f"{NAMED}{value}" if value else ANYBODY


def _condition(given: Mapping[str, Any], types: Collection[str]) -> Condition:
    exact = True
    classes = [_pair(each) for each in _list(given.get("class"))]
    named: tuple[str, ...] | None = tuple(code for _, code in classes)
    if not all(system in (_TYPES, "") and code in types for system, code in classes):
        named, exact = None, False
    labels = [_pair(each) for each in _list(given.get("securityLabel"))]
    codes = [pair for each in _list(given.get("code")) for pair in _codings(each) or [("", "")]]
    kept_labels, kept_codes = _spelt(labels), _spelt(codes)
    if (labels and not kept_labels) or (codes and not kept_codes):
        exact = False
    instances, whole = _instances(_list(given.get("data")))
    since, until, dated = _dates(given.get("dataPeriod"))
    return Condition(
        named or None, kept_labels, kept_codes, since, until, instances, exact and whole and dated
    )


def _spelt(pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """``system|code`` each; () as soon as one of them cannot be looked for, so that nothing is missed."""
    if not all(code and not set("|,$\\") & set(system + code) for system, code in pairs):
        return ()
    return tuple(dict.fromkeys(f"{system}|{code}" if system else code for system, code in pairs))


def _instances(data: list[Any]) -> tuple[tuple[tuple[str, str], ...] | None, bool]:
    """The resources that are meant, and whether those are all."""
    if not data:
        return None, True
    found: list[tuple[str, str]] = []
    for each in map(_table, data):
        name = _REFERENCE.fullmatch(_text(each.get("reference"), "reference"))
        if name is None or each.get("meaning") != "instance":
            # What depends on a resource or is related to it is not in its own rows.
            return None, False
        found.append((name[1], name[2]))
    return tuple(found), True


def _period(given: Any) -> tuple[int | None, int | None, bool]:
    """Start and end in microseconds; last, whether both could be read."""
    if given is None:
        return None, None, True
    ends: list[int | None] = []
    readable = isinstance(given, Mapping)
    for name, side in (("start", 0), ("end", 1)):
        text = _text(given, name)
        interval = _interval(text) if text else None
        readable = readable and (interval is not None or name not in given)
        ends.append(interval[side] if interval else None)
    return ends[0], ends[1], readable


def _dates(given: Any) -> tuple[str | None, str | None, bool]:
    """Start and end as search takes them; last, whether both could be read."""
    if given is None:
        return None, None, True
    start, end = _text(given, "start"), _text(given, "end")
    readable = all(_interval(text) is not None for text in (start, end) if text)
    if not readable or not isinstance(given, Mapping):
        return None, None, False
    return start or None, end or None, True


def _interval(text: str) -> tuple[int, int] | None:
    try:
        return interval(text)
    except ValueError:
        return None


def _codings(concept: Any) -> list[tuple[str, str]]:
    return [_pair(each) for each in _list(_table(concept).get("coding"))]


def _pair(coding: Any) -> tuple[str, str]:
    return _text(coding, "system"), _text(coding, "code")


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, name: str) -> str:
    found = _table(value).get(name)
    return found if isinstance(found, str) else ""


def boundaries(provision: Provision) -> Iterator[int]:
    """The moments at which the provision begins or ceases to hold."""
    if provision.start is not None:
        yield provision.start
    if provision.end is not None:
        yield provision.end + 1
    for each in provision.exceptions:
        yield from boundaries(each)
