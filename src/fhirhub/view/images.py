"""Images of a resource as one caller may see them: whether one is within reach, and what is taken out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fhirhub.resource import json
from fhirhub.search.match import Subject, Undecided, matches
from fhirhub.search.predicate import Predicate
from fhirhub.store.records import Stored

_NAME = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?", re.ASCII)
REDACTED: Mapping[str, str] = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "REDACTED",
    "display": "redacted",
}
"""The security label of a resource of which something was taken out (https://hl7.org/fhir/R4/security-labels.html)."""
TELLING = ("text", "contained")
"""Elements that may say what any other one says: where one is hidden, they are, too."""


def context_of(reference: str) -> tuple[str, str] | None:
    """(type, id) of the resource on this server that ``reference``, a security context, leads to; None for none."""
    found = _NAME.fullmatch(reference)
    return (found[1], found[2]) if found is not None else None


def fits(within: Predicate, subject: Subject) -> bool:
    """Whether ``subject`` fulfils ``within``; what its rows alone cannot tell counts as no."""
    try:
        return matches(within, subject)
    except Undecided:
        return False


def spellings(elements: Iterable[str]) -> set[str]:
    """The JSON properties of top-level ``elements``, choices (``value`` is ``valueQuantity`` too) left to the rules."""
    return {name for element in elements for name in (element, f"_{element}")}


def covered(hidden: Iterable[str]) -> set[str]:
    """The JSON properties that are taken out where the top-level elements ``hidden`` are not to be seen."""
    return {*spellings(hidden), *TELLING}


def redacted(stored: Stored, hidden: Iterable[str]) -> Stored:
    """``stored`` without the top-level elements ``hidden``, and labelled as such; nor what may tell of them."""
    if stored.content is None:
        return stored
    content = json.parse(stored.content.encode())
    names = covered(hidden)
    kept = {name: value for name, value in content.items() if name not in names}
    if len(kept) == len(content):
        return stored
    meta = json.parse(stored.meta.encode()) if stored.meta else {}
    meta["security"] = [*meta.get("security", ()), dict(REDACTED)]
    return replace(stored, content=json.dumps(kept).decode(), meta=json.dumps(meta).decode())


def completed(document: dict[str, Any], base: Stored, hidden: Iterable[str]) -> dict[str, Any]:
    """``document`` with the elements of ``base`` that its writer could not see, and without the label that says so."""
    content = json.parse(base.content.encode()) if base.content else {}
    kept = {name: content[name] for name in covered(hidden) if name in content}
    return without_label({**document, **kept})


def references_in(content: str | None) -> frozenset[str]:
    """What the references in the JSON text ``content`` lead to, as they are written."""
    found: set[str] = set()
    rest: list[Any] = [json.parse(content.encode())] if content else []
    while rest:
        part = rest.pop()
        if type(part) is list:
            rest += part
        elif type(part) is dict:
            if type(part.get("reference")) is str:
                found.add(part["reference"])
            rest += part.values()
    return frozenset(found)


def without_label(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` without the label of a redacted resource: what is stored is whole."""
    meta = document.get("meta")
    if type(meta) is not dict or not meta.get("security"):
        return document
    labels = meta["security"]
    rest = [label for label in labels if label.get("code") != "REDACTED"]
    if len(rest) == len(labels):
        return document
    changed = {**meta, "security": rest} if rest else {k: v for k, v in meta.items() if k != "security"}
    return {**document, "meta": changed} if changed else {k: v for k, v in document.items() if k != "meta"}
