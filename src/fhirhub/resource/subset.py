"""Parts of a resource: ``_summary`` and ``_elements`` (https://hl7.org/fhir/R4/search.html#summary)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from fhirhub.definitions.tables import Definitions

SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "subsetted",
}

# With these a resource says who it is, or that it may not be understood without knowing more.
_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules", "modifierExtension"})


def summary_of(document: dict[str, Any], summary: str, definitions: Definitions) -> dict[str, Any]:
    """``document`` as one of the forms of ``_summary``: ``true``, ``text``, ``data``, or whole for ``false``.

    What is cut carries the tag SUBSETTED. The document itself is not changed, but the answer shares parts
    with it. ValueError for any other form (``count`` is about a search, not about a resource).
    """
    if summary == "false":
        return document
    type_ = document["resourceType"]
    if summary == "true":
        return _tagged(_summarised(document, type_, definitions))
    if summary == "data":
        return _tagged({name: value for name, value in document.items() if name.removeprefix("_") != "text"})
    if summary == "text":
        return _tagged(_only(document, _mandatory(definitions, type_) | {"text"}))
    raise ValueError(f"_summary={summary} is not a form of a resource")


def elements_of(
    document: dict[str, Any], elements: Iterable[str], definitions: Definitions
) -> dict[str, Any]:
    """``document`` with only the ``elements`` named and the mandatory ones, tagged SUBSETTED.

    An element is named by its name (``value`` or ``valueQuantity``), after its type (``Observation.value``,
    which says nothing about other types) or with what is below it (``name.family``, for which all of
    ``name`` is kept).
    """
    type_ = document["resourceType"]
    properties = definitions.types[type_].properties.values()
    kept = set(_mandatory(definitions, type_))
    for path in elements:
        first, _, rest = path.removesuffix("[x]").partition(".")
        if first in definitions.type_number:
            if first != type_:
                continue
            first = rest.partition(".")[0]
        kept.update(known.name for known in properties if first in (known.name, known.element.name))
    return _tagged(_only(document, kept))


def _only(document: dict[str, Any], kept: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name.removeprefix("_") in kept}


@lru_cache(maxsize=512)
def _mandatory(definitions: Definitions, type_: str) -> frozenset[str]:
    properties = definitions.types[type_].properties.values()
    return _ALWAYS | {known.name for known in properties if known.element.min > 0}


@lru_cache(maxsize=1024)
def _in_summary(definitions: Definitions, type_: str) -> dict[str, str]:
    """Property -> its type, of what a summary has of ``type_``, mandatory properties included."""
    return {
        known.name: known.type_name
        for known in definitions.types[type_].properties.values()
        if known.element.is_summary or known.element.min > 0 or known.name in _ALWAYS
    }


def _summarised(value: dict[str, Any], type_: str, definitions: Definitions) -> dict[str, Any]:
    kept = _in_summary(definitions, type_)
    made: dict[str, Any] = {}
    for name, item in value.items():
        inner = kept.get(name.removeprefix("_"))
        if name == "resourceType" and inner is None:
            made[name] = item
        elif inner is None:
            continue
        elif definitions.types[inner].kind != "backbone" or name[0] == "_":
            # A datatype in a summary is whole.
            made[name] = item
        elif type(item) is list:
            parts = [_summarised(each, inner, definitions) for each in item if type(each) is dict]
            made[name] = [part for part in parts if part]
            if not made[name]:
                del made[name]
        elif type(item) is dict:
            part = _summarised(item, inner, definitions)
            if part:
                made[name] = part
    return made


def _tagged(document: dict[str, Any]) -> dict[str, Any]:
    meta = document.get("meta")
    meta = dict(meta) if type(meta) is dict else {}
    tags = meta.get("tag")
    tags = list(tags) if type(tags) is list else []
    if not any(type(tag) is dict and tag.get("code") == "SUBSETTED" for tag in tags):
        tags.append(dict(SUBSETTED))
    meta["tag"] = tags
    head: dict[str, Any] = {name: document[name] for name in ("resourceType", "id") if name in document}
    return {**head, "meta": meta, **{name: value for name, value in document.items() if name not in _HEAD}}


_HEAD = frozenset({"resourceType", "id", "meta"})
