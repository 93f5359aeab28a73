"""Search parameters as they are published, taken apart by the resource type they are used on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

EXAMPLES = frozenset({"example", "example-extension", "example-reference"})
SPECIAL = frozenset({"_text", "_content", "_query", "_filter"})
EXTRA = ("_has", "_list", "_type")
"""Parameters the search page defines without a SearchParameter resource."""

SORT_DATES = (
    "authoredon", "date", "effective", "authored", "authored-on", "created", "onset-date", "occurrence",
    "recorded-date", "period", "whenhandedover", "effective-time", "started", "event-date", "issued", "sent",
    "recorded", "collected", "identified", "start-date", "start", "datetime", "datewritten", "timestamp",
)  # fmt: skip
"""The clinical date is the first of these that a type has: of a request when it was made ('date' of
MedicationRequest is its schedule), of anything else when it happened, or when it was written down where
nothing else is known. Dates of expiry and of birth are none."""

_ERRATA = (
    # Observation-code-value-date names the type with a capital letter; every other expression has 'dateTime'.
    ("as(DateTime)", "as(dateTime)"),
)
_NEVER_LISTED = frozenset({"Resource", "DomainResource", "Parameters"})
"""A parameter that lists every type but these has no limit."""
_RESTRICTED = re.compile(r"\.where\(\s*resolve\(\) is (\w+)\s*\)$")
_ROOT = re.compile(r"[\s(]*([A-Za-z]\w*)")


def by_type(published: Iterable[Json], concrete: list[str], types: Json) -> dict[str, dict[str, Json]]:
    """Type -> code -> ``{kind, expression, targets, components, url}`` for the ``concrete`` resource
    types."""
    found = [one for one in published if one["id"] not in EXAMPLES and one.get("base")]
    codes = {one["url"]: one["code"] for one in found}
    result: dict[str, dict[str, Json]] = {name: {} for name in concrete}
    for parameter in found:
        for name in _bases(parameter, concrete, types):
            result[name][parameter["code"]] = _entry(parameter, name, codes, types)
    for name in concrete:
        for code in EXTRA:
            result[name][code] = _special(f"http://hl7.org/fhir/search#{code}")
    return result


def numbered(
    searches: dict[str, dict[str, Json]], previous: dict[str, list[list[Any]]]
) -> dict[str, list[list[Any]]]:
    """Rows ``[pid, code, kind, expression, targets, components, url]``, the pids of ``previous`` kept."""
    known = {(name, row[1]): row[0] for name, rows in previous.items() for row in rows}
    highest = max(known.values(), default=0)
    result: dict[str, list[list[Any]]] = {}
    for name in sorted(searches):
        rows = []
        for code in sorted(searches[name]):
            if (name, code) not in known:
                highest += 1
                known[name, code] = highest
            rows.append([known[name, code], code, *searches[name][code].values()])
        result[name] = rows
    return result


def sort_dates(searches: dict[str, dict[str, Json]]) -> dict[str, str]:
    """Type -> code of the date parameter that says when the thing happened."""
    result = {}
    for name, entries in searches.items():
        dates = {
            code for code, entry in entries.items() if entry["kind"] == "date" and not code.startswith("_")
        }
        first = next((code for code in SORT_DATES if code in dates), None)
        if first:
            result[name] = first
    return result


def _bases(parameter: Json, concrete: list[str], types: Json) -> list[str]:
    bases = parameter["base"]
    if "Resource" in bases:
        return concrete
    if "DomainResource" in bases:
        return [name for name in concrete if types[name]["base"] == "DomainResource"]
    return bases


def _special(url: str) -> Json:
    return {"kind": "special", "expression": "", "targets": [], "components": [], "url": url}


def _entry(parameter: Json, name: str, codes: dict[str, str], types: Json) -> Json:
    expression = parameter.get("expression")
    if not expression or parameter["code"] in SPECIAL:
        return _special(parameter["url"])
    alternatives = [own for part in split(corrected(expression)) if (own := for_type(part, name))]
    return {
        "kind": parameter["type"],
        "expression": " | ".join(alternatives),
        "targets": _targets(parameter, alternatives, types),
        "components": [
            [codes[component["definition"]], corrected(component["expression"])]
            for component in parameter.get("component", ())
        ],
        "url": parameter["url"],
    }


def corrected(expression: str) -> str:
    """``expression`` with the known slips of the publication put right."""
    for wrong, right in _ERRATA:
        expression = expression.replace(wrong, right)
    return expression


def split(expression: str) -> list[str]:
    """The alternatives of a union: split at every ``|`` that stands outside brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, character in enumerate(expression):
        if character == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and not depth:
            parts.append(expression[start:position].strip())
            start = position + 1
    return [*parts, expression[start:].strip()]


def for_type(alternative: str, name: str) -> str | None:
    """``alternative`` as an expression that starts at type ``name``; None when it belongs to another type."""
    found = _ROOT.match(alternative)
    root = found.group(1) if found else ""
    if root in ("Resource", "DomainResource"):
        return re.sub(rf"\b{root}\b", name, alternative, count=1)
    if root[:1].islower():
        # InsurancePlan-name is published without its type: 'name | alias'.
        return f"{name}.{alternative}"
    return alternative if root == name else None


def _targets(parameter: Json, alternatives: list[str], types: Json) -> list[str]:
    """Target types: as published, but no wider than the expression and the elements it leads to allow."""
    published = set(parameter.get("target", ()))
    resources = {name for name, row in types.items() if row["kind"] == "resource"}
    if parameter["type"] != "reference" or published >= resources - _NEVER_LISTED:
        return []
    allowed: set[str] = set()
    for alternative in alternatives:
        restricted = _RESTRICTED.search(alternative)
        own = {restricted.group(1)} if restricted else _element_targets(alternative, types)
        if not own:
            return sorted(published)
        allowed |= own
    return sorted(published & allowed or published or allowed)


def _element_targets(expression: str, types: Json) -> set[str]:
    """The reference targets of the element at the end of a plain path; empty when any, or when it is no plain
    path."""
    path = re.sub(r"^\((.*) as \w+\)$", r"\1", expression).split(".")
    holders = [path[0]]
    targets: set[str] = set()
    for position, name in enumerate(path[1:], 2):
        rows = [
            row
            for holder in holders
            for row in types.get(holder, {"elements": ()})["elements"]
            if row[0] == name
        ]
        if not rows:
            return set()
        references = [one for row in rows for one in row[3]]
        if position == len(path):
            for one in references:
                code, _, limited = one.rstrip(")").partition("(")
                if code in ("Reference", "canonical") and not limited:
                    return set()
                targets.update(limited.split("|") if limited else ())
        holders = [row[6] for row in rows if len(row) > 6] or [one.partition("(")[0] for one in references]
    return targets
