"""Links from one entry of a Bundle to another (https://hl7.org/fhir/R4/http.html#trules), found and replaced.

A resource is walked once, before anybody knows under which ids the entries will be stored:
:meth:`Links.scan` notes every place that links to an entry. When the ids are known, :meth:`Found.rewrite`
goes to those places only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhirhub.definitions.tables import Definitions, Property
from fhirhub.resource.reference import Conditional, is_reference, parse, render, restful

_LINK_TYPES = frozenset({"uri", "url", "oid", "uuid"})
_VERSION = "/_history/"
_NARRATIVE_LINK = re.compile(
    r"""(<(?:a|img)\b[^<>]*?\b(?:href|src)\s*=\s*)(?:"([^"<>]*)"|'([^'<>]*)')""", re.IGNORECASE
)


@dataclass(slots=True)
class Found:
    """The links of one resource."""

    root: str
    links: list[tuple[Any, Any, str]] = field(default_factory=list)
    """(object or array, property or index, full URL of the entry it leads to)"""
    narratives: list[dict[str, Any]] = field(default_factory=list)
    """Narratives with a link in them."""
    conditional: list[tuple[Any, dict[str, Any], str]] = field(default_factory=list)
    """(linked path, Reference, ``Type?query``)"""
    references: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    """(linked path, Reference) of everything with a ``reference``, those above included"""

    def rewrite(self, targets: Mapping[str, str]) -> None:
        """Write ``targets`` (full URL or ``Type?query`` -> ``Type/id``) into every place that was found.

        What ``targets`` does not name stays as it is.
        """
        for holder, key, url in self.links:
            target = targets.get(url)
            if target is not None:
                holder[key] = target
        for _, holder, query in self.conditional:
            target = targets.get(query)
            if target is not None:
                holder["reference"] = target
        for holder in self.narratives:
            holder["div"] = _rewrite_narrative(holder["div"], targets)

    def literals(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Like :func:`fhirhub.resource.reference.literals`, as the references stand now, without another
        walk."""
        for path, holder in self.references:
            yield render(self.root, path), holder, holder["reference"]

    def expression(self, path: Any) -> str:
        """The FHIRPath of a linked path of this resource."""
        return render(self.root, path)


class Links:
    """Finds links; made once."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types

    def scan(self, document: dict[str, Any], urls: Mapping[str, Any], full_url: str | None = None) -> Found:
        """The links in ``document``, the resource of an entry with ``full_url``, to entries with ``urls``.

        Looked at are ``Reference.reference``, elements of type uri, url, oid and uuid whose whole value is
        a full URL, and ``href`` and ``src`` in narratives; canonicals are never links. A relative reference
        is read against the base of ``full_url`` (https://hl7.org/fhir/R4/bundle.html#references).
        """
        root = document.get("resourceType", "Resource")
        found = Found(root)
        own = restful(full_url) if full_url else None
        base = own[0] if own else ""
        stack: list[tuple[Any, Any]] = [(document, None)]
        while stack:
            node, path = stack.pop()
            for name, value in node.items() if type(node) is dict else enumerate(node):
                kind = type(value)
                if kind is str:
                    if name == "reference" and is_reference(node, path):
                        found.references.append((path, node))
                        _look_at_reference(found, node, path, value, urls, base)
                    elif name == "div":
                        if "href" in value or "src" in value:
                            found.narratives.append(node)
                    elif value in urls and self._is_link(document, path, name):
                        found.links.append((node, name, value))
                # The entries of a Bundle inside a Bundle link to each other, not to the outer ones.
                elif (kind is dict or kind is list) and (name != "resource" or root != "Bundle"):
                    stack.append((value, (path, name)))
        return found

    def _is_link(self, document: dict[str, Any], path: Any, name: str | int) -> bool:
        """Whether the string ``name`` of the node at ``path`` is of a type whose values are links.

        Left out are the uris that name things instead of leading to them: ``system``, the ``url`` of an
        extension, and the canonical ``url`` by which a definition is known everywhere; a definition is
        often sent with that very URL as its full URL, and must not lose its name for it.
        """
        steps: list[str | int] = [name]
        while path is not None:
            path, step = path
            steps.append(step)
        node: Any = document
        definition = owner = self._types.get(document.get("resourceType", ""))
        known: Property | None = None
        for step in reversed(steps):
            if type(step) is str:
                if definition is None or step not in definition.properties:
                    return False
                known, owner = definition.properties[step], definition
                definition = self._types.get(known.type_name)
            node = node[step]
            if type(node) is dict and known is not None and known.type_name == "Resource":
                definition = self._types.get(str(node.get("resourceType")))
        if known is None or owner is None or known.type.code not in _LINK_TYPES or known.name == "system":
            return False
        return known.name != "url" or not (owner.kind == "resource" or owner.name == "Extension")


def _look_at_reference(
    found: Found, node: dict[str, Any], path: Any, text: str, urls: Mapping[str, Any], base: str
) -> None:
    # A version of an entry's resource is one of the sender's versions; here its first may be written just
    # now, so the link leads to the resource.
    url = text.partition(_VERSION)[0] if _VERSION in text else text
    if url in urls:
        found.links.append((node, "reference", url))
    elif base and base + url in urls:
        found.links.append((node, "reference", base + url))
    elif "?" in text:
        parsed = parse(text)
        if type(parsed) is Conditional:
            found.conditional.append((path, node, text))


def _rewrite_narrative(div: str, targets: Mapping[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        double, single = match[2], match[3]
        url = double if double is not None else single
        target = targets.get(url)
        if target is None:
            return match[0]
        quote = '"' if double is not None else "'"
        return f"{match[1]}{quote}{target}{quote}"

    return _NARRATIVE_LINK.sub(replaced, div)
