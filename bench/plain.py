"""What the searches of the workloads must find, computed from the documents by the plain reference of the tests.

A patient's documents refer to each other only, so chains and the like are followed within them.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from bench.lab import ROOT
from bench.records import Document

sys.path.insert(0, str(ROOT / "tests"))

from property import reference  # noqa: E402

RESULT = ("_sort", "_count", "_total", "_elements", "_summary", "_include", "_revinclude")
"""Parameters that shape the answer and select nothing."""
_ABOUT = {"identifier": ("token", ("identifier",))}
PATHS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    **reference.PATHS,
    "Patient": {
        **reference.PATHS["Patient"],
        "email": ("token", ("telecom",)),
    },
    "Observation": {
        **reference.PATHS["Observation"],
        "component-value-quantity": ("quantity", ("component.valueQuantity",)),
    },
    "Encounter": {
        **reference.PATHS["Encounter"],
        "status": ("token", ("status",)),
        "participant": ("reference", ("participant.individual",)),
    },
    "Organization": {"name": ("string", ("name",)), **_ABOUT},
    "Practitioner": {"family": ("string", ("name.family",)), "name": ("string", ("name",)), **_ABOUT},
    "Procedure": {"code": ("token", ("code",)), "patient": ("reference", ("subject",))},
    "MedicationRequest": {
        "subject": ("reference", ("subject",)), "patient": ("reference", ("subject",)),
        "encounter": ("reference", ("encounter",)), "requester": ("reference", ("requester",)),
    },
}  # fmt: skip
PAIRS = {
    "code-value-quantity": ("",),
    "component-code-value-quantity": ("component",),
    "combo-code-value-quantity": ("", "component"),
}
"""Composite -> the elements that hold both halves."""
_TAG = re.compile(r"<[^>]*>")


@lru_cache(maxsize=4096)
def criteria(path: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a search path that select."""
    return tuple(pair for pair in parse_qsl(path.partition("?")[2]) if pair[0] not in RESULT)


def matches(document: Document, path: str, family: dict[str, Document]) -> bool:
    """Whether the search ``path`` finds ``document``; ``family``: ``Type/id`` -> document of the same patient."""
    if document["resourceType"] != path.partition("?")[0]:
        return False
    return all(_holds(document, name, value, family) for name, value in criteria(path))


def _holds(document: Document, name: str, value: str, family: dict[str, Document]) -> bool:
    type_ = document["resourceType"]
    if name.startswith("_has:"):
        _, source, link, rest = name.split(":", 3)
        own = f"{type_}/{document['id']}"
        return any(
            other["resourceType"] == source
            and own in references(other, link)
            and _holds(other, rest, value, family)
            for other in family.values()
        )
    head, dot, rest = name.partition(".")
    if dot:
        link, _, wanted = head.partition(":")
        return any(
            _holds(family[to], rest, value, family)
            for to in references(document, link)
            if to in family and wanted in ("", to.partition("/")[0])
        )
    code, _, modifier = name.partition(":")
    if code == "_id":
        return document["id"] in value.split(",")
    if code in ("_content", "_text") or modifier == "text":
        return _says(document, code, value)
    if code in PAIRS:
        return any(_pair(document, PAIRS[code], each) for each in reference.cut(value, ","))
    return _plain(document, PATHS[type_][code], modifier, value)


def _plain(document: Document, found: tuple[str, tuple[str, ...]], modifier: str, value: str) -> bool:
    kind, paths = found
    values = [each for path in paths for each in reference.pick(document, path)]
    if modifier == "missing":
        return (not values) == (value == "true")
    test = reference.KINDS[kind]["" if modifier == "not" else modifier]
    hit = any(test(each, wanted) for each in values for wanted in reference.cut(value, ","))
    return hit != (modifier == "not")


def _pair(document: Document, places: tuple[str, ...], value: str) -> bool:
    code, amount = reference.cut(value, "$")
    return any(
        reference.token(one, code) and reference.quantity(other, amount)
        for place in places
        for element in (reference.pick(document, place) if place else [document])
        for one in reference.pick(element, "code")
        for other in reference.pick(element, "valueQuantity")
    )


def references(document: Document, code: str) -> list[str]:
    """``Type/id`` of what the reference parameter ``code`` leads to."""
    paths = PATHS[document["resourceType"]][code][1]
    found = [each["reference"] for path in paths for each in reference.pick(document, path)]
    return [text for text in found if code != "patient" or text.startswith("Patient/")]


def _words(value: Any, name: str = "") -> list[str]:
    """The texts that a person reads, as far as these documents have any."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in _words(inner, key)]
    if isinstance(value, list):
        return [text for inner in value for text in _words(inner, name)]
    if name == "div":
        return [_TAG.sub(" ", value)]
    told = name in (
        "family",
        "given",
        "prefix",
        "line",
        "city",
        "state",
        "postalCode",
        "country",
        "display",
        "text",
    )
    return [value] if told and isinstance(value, str) else []


def _says(document: Document, code: str, value: str) -> bool:
    """Words at whose beginning all the words asked for stand."""
    place = {"_content": document, "_text": document.get("text", {})}.get(code, document.get(code, {}))
    words = {word for text in _words(place) for word in reference.folded(text).split()}
    return all(any(word.startswith(each) for word in words) for each in reference.folded(value).split())
