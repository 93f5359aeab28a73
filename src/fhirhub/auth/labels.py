"""Security labels of what is stored inside of something else: what holds resources is labelled as its most sensitive
part ("high water mark", https://hl7.org/fhir/R4/security-labels.html)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fhirhub.auth.policy import Label

HOLDERS = frozenset({"Bundle", "Parameters"})
"""The types of R4 that hold whole resources, with labels of their own: what is contained elsewhere has none (dom-5)."""


def underlabelled(labels: Sequence[Label], document: dict[str, Any]) -> tuple[Label, str] | None:
    """A label rule that closes a resource inside ``document`` to some who may see ``document`` itself, and where that
    resource stands, as ``Bundle.entry[3].resource``; None when there is no such resource."""
    if document["resourceType"] not in HOLDERS:
        return None
    own = carried(labels, document)
    for path, inner in _inside(document, document["resourceType"]):
        for label in carried(labels, inner):
            if not any(each.roles <= label.roles and each.glass <= label.glass | label.roles for each in own):
                return label, path
    return None


def carried(labels: Sequence[Label], document: dict[str, Any]) -> list[Label]:
    """The label rules that hold for ``document``; codes count without a system, too."""
    meta = document.get("meta")
    found = meta.get("security") if type(meta) is dict else None
    if type(found) is not list:
        return []
    codings = {(each.get("system"), each.get("code")) for each in found if type(each) is dict}
    return [label for label in labels if any(_has(codings, code) for code in label.codes)]


def _has(codings: set[tuple[Any, Any]], code: str) -> bool:
    system, _, bare = code.partition("|")
    return (system, bare) in codings or (None, bare) in codings


def _inside(part: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resources below ``part``, those inside of others too."""
    rest = [(path, part)]
    while rest:
        path, part = rest.pop()
        if type(part) is list:
            rest += [(f"{path}[{n}]", each) for n, each in enumerate(part)]
        elif type(part) is dict:
            for name, each in part.items():
                if type(each) is dict and "resourceType" in each:
                    yield f"{path}.{name}", each
                if type(each) in (dict, list):
                    rest.append((f"{path}.{name}", each))
