"""The words of a resource, for ``_text`` and ``_content``: https://hl7.org/fhir/R4/search.html#content

``_text`` looks into the narrative; ``_content`` also into every other text that a person wrote or reads there: names,
notes, titles, descriptions, the texts of codes. Not into identifiers, codes, units, addresses of the web and what the
things that are referred to are called: those have parameters of their own. Texts of codes that a token parameter
stands on are left to the dictionary of phrases, and so are the other texts of codes, each with a token row: they repeat,
and most resources of a laboratory have no words of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from fhirhub.definitions.tables import OWN, Definitions
from fhirhub.fhirpath.compile import Route
from fhirhub.search.parameters.string import normalised
from fhirhub.search.registry import Registry

WORD = 60
"""Characters of a word that are kept."""
_TEXTS = frozenset(("string", "markdown"))
_CODED = frozenset(("Coding", "CodeableConcept"))
_PRUNED = frozenset(
    "Reference Identifier Quantity SimpleQuantity MoneyQuantity Age Count Distance Duration Money Range Ratio Period "
    "SampledData Signature ContactPoint Meta Narrative Expression".split()
)
_ONLY: dict[str, frozenset[str]] = {"Coding": frozenset(("display",)), "Attachment": frozenset(("title",))}
_PASSED = frozenset(("id", "expression", "path", "fhirVersion", "version", "reference"))
"""Elements of type string that hold no text for people."""
_TAG = re.compile(r"<[^>]*>")

Table = dict[str, str | None]
"""JSON property -> the type to go on with; None for a text."""


class Words:
    """Finds the words of documents; what to look into is worked out once for each type."""

    def __init__(self, definitions: Definitions, registry: Registry) -> None:
        self._definitions = definitions
        self._registry = registry
        self._tables: dict[str, Table] = {}

    def of(self, document: dict[str, Any]) -> tuple[str, str, set[str]]:
        """(words of the narrative, words of other texts, texts of codes).

        Words are sorted and joined by blanks; "" for none.
        """
        spoken: set[str] = set()
        coded: set[str] = set()
        for text, is_coded in self._texts(document):
            if is_coded:
                coded.add(text)
            else:
                spoken.update(normalised(text).split())
        narrative = document.get("text")
        div = narrative.get("div") if type(narrative) is dict else None
        told = set(normalised(unescape(_TAG.sub(" ", div))).split()) if type(div) is str else set()
        return _joined(told), _joined(spoken), coded

    def _texts(self, document: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        """Each text, and whether it describes a code."""
        waiting = [(document, self._table(document["resourceType"]), False)]
        while waiting:
            node, table, is_coded = waiting.pop()
            for name, value in node.items():
                if name not in table:
                    continue
                inner = table[name]
                for item in value if type(value) is list else (value,):
                    if inner is None:
                        if type(item) is str:
                            yield item, is_coded
                    elif type(item) is dict:
                        kind = str(item.get("resourceType")) if inner == "Resource" else inner
                        if kind in self._definitions.types:
                            waiting.append((item, self._table(kind), kind in _CODED))

    def _table(self, kind: str) -> Table:
        found = self._tables.get(kind)
        if found is None:
            covered = self._covered(kind)
            found = self._tables[kind] = {}
            for name, entry in self._definitions.types[kind].properties.items():
                inner = entry.type_name
                if name in _PASSED or name in covered or name not in _ONLY.get(kind, (name,)):
                    continue
                if inner in _TEXTS:
                    found[name] = None
                elif inner not in _PRUNED and self._is_complex(inner):
                    found[name] = inner
        return found

    def _is_complex(self, kind: str) -> bool:
        definition = self._definitions.types.get(kind)
        return definition is not None and definition.kind != "primitive"

    def _covered(self, kind: str) -> set[str]:
        """Properties of ``kind`` whose texts stand in the dictionary: token parameters stand on them."""
        resource = kind.partition(".")[0]
        if resource not in self._definitions.type_number:
            return set()
        routes = (
            route
            for facet in self._registry.facets(resource).values()
            if facet.kind == "token" and facet.pid < OWN
            for route in facet.routes
            if route.type_name in _CODED and all(move.kind == "child" for move in route.moves)
        )
        ends = (self._end(resource, route) for route in routes)
        return {name for owner, name in ends if owner == kind}

    def _end(self, resource: str, route: Route) -> tuple[str, str]:
        """The type that holds the last property of ``route``, and its name."""
        owner = resource
        for move in route.moves[:-1]:
            owner = self._definitions.types[owner].properties[move.name].type_name
        return owner, route.moves[-1].name


def _joined(words: set[str]) -> str:
    return " ".join(sorted({word[:WORD] for word in words})) if words else ""
