"""Random searches whose values come from the resources they look through, so that many of them match."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from fhirhub.fhirpath.compile import follow
from fhirhub.resource.json import dumps
from fhirhub.search.filters import modifiers
from fhirhub.search.parameters import nickname
from fhirhub.search.parameters.base import Facet
from fhirhub.search.parameters.string import normalised
from fhirhub.search.registry import Registry
from searching import BASES

Pair = tuple[str, str]
PREFIXES = ("", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
SORTED = ("string", "date", "number", "quantity", "token")
_ODD = ("nothing", "5", "2020-02", "Patient/nobody", "urn:y|z", "zz", "0")


def escaped(text: str) -> str:
    r"""``text`` with ``\ , $ |`` escaped."""
    for sign in "\\,$|":
        text = text.replace(sign, "\\" + sign)
    return text


ELSEWHERE = ("in", "not-in", "above", "below")
"""Modifiers that other resources decide: they have cases of their own."""


class Queries:
    """Makes random searches over ``documents``."""

    def __init__(self, registry: Registry, documents: Iterable[dict[str, Any]], rng: Random) -> None:
        self.registry = registry
        self.rng = rng
        self.of: dict[str, list[dict[str, Any]]] = {}
        for document in documents:
            self.of.setdefault(document["resourceType"], []).append(document)
        self.types = sorted(self.of)

    def search(self) -> tuple[str, list[Pair]]:
        """(type, parameters) without paging ones."""
        kind = self._type()
        pairs = [self.criterion(kind) for _ in range(self.rng.choice((0, 1, 1, 1, 1, 2, 2, 3)))]
        if self.rng.random() < 0.4:
            pairs.append(("_sort", self.sort(kind)))
        if self.rng.random() < 0.2:
            pairs += self.includes(kind)
        return kind, pairs

    def _type(self) -> str:
        # Types of which there are several are the interesting ones.
        return self.rng.choice([kind for kind in self.types for _ in range(min(len(self.of[kind]), 4))])

    def sort(self, kind: str) -> str:
        """A ``_sort`` over one to three parameters."""
        served = ["_id", "_lastUpdated", "_lastUpdated"]
        served += [
            code
            for code, facet in self.registry.facets(kind).items()
            if facet.kind in SORTED and facet.routes
        ]
        codes = self.rng.sample(sorted(set(served)), min(self.rng.choice((1, 1, 1, 2, 3)), len(set(served))))
        return ",".join(self.rng.choice(("", "-")) + code for code in codes)

    def includes(self, kind: str) -> list[Pair]:
        """Some ``_include`` and ``_revinclude``."""
        found: list[Pair] = []
        links = [code for code in self.registry.facets(kind) if self.registry.references(kind, code)]
        if links:
            found.append(("_include", f"{kind}:{self.rng.choice((*links, '*'))}"))
        source = self._type()
        back = [code for code in self._links_to(source, kind)]
        if back:
            found.append(("_revinclude", f"{source}:{self.rng.choice(back)}"))
        return found

    def _links_to(self, source: str, target: str) -> list[str]:
        facets = self.registry.facets(source)
        return [
            code
            for code, facet in facets.items()
            if self.registry.references(source, code) and (not facet.targets or target in facet.targets)
        ]

    def criterion(self, kind: str, depth: int = 0) -> Pair:
        """One parameter with its value."""
        if depth < 2 and self.rng.random() < 0.15:
            found = self._chain(kind, depth) if self.rng.random() < 0.5 else self._has(kind, depth)
            if found is not None:
                return found
        facet = self.rng.choice(self._weighted(kind))
        modifier = ""
        if self.rng.random() < 0.25:
            modifier = self.rng.choice([each for each in modifiers(facet) if each not in ELSEWHERE])
        if modifier == "missing":
            return f"{facet.code}:missing", self.rng.choice(("true", "false"))
        values = [self.value(facet, modifier) for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
        return facet.code + (f":{modifier}" if modifier else ""), ",".join(values)

    def _weighted(self, kind: str) -> list[Facet]:
        """Parameters that have values in some document, more often than the others."""
        found: list[Facet] = []
        for facet in self.registry.facets(kind).values():
            held = facet.code in ("_id", "_lastUpdated") or any(self._values(facet))
            found += [facet] * (12 if held else 1)
        return found

    def _values(self, facet: Facet) -> list[tuple[str, Any]]:
        return [
            (route.type_name, value)
            for document in self.of.get(facet.type, ())
            for route in facet.routes
            for value in follow(route, document)
        ]

    def _chain(self, kind: str, depth: int) -> Pair | None:
        links = [code for code in self.registry.facets(kind) if self.registry.references(kind, code)]
        if not links:
            return None
        facet = self.registry.facets(kind)[self.rng.choice(links)]
        targets = [each for each in self.types if not facet.targets or each in facet.targets]
        if not targets:
            return None
        target = self.rng.choice(targets)
        name, value = self.criterion(target, depth + 1)
        typed = f":{target}" if len(facet.targets) != 1 else ""
        return f"{facet.code}{typed}.{name}", value

    def _has(self, kind: str, depth: int) -> Pair | None:
        sources = [(source, code) for source in self.types for code in self._links_to(source, kind)]
        if not sources:
            return None
        source, code = self.rng.choice(sources)
        name, value = self.criterion(source, depth + 1)
        return f"_has:{source}:{code}:{name}", value

    # -- values ------------------------------------------------------------------------------------------

    def value(self, facet: Facet, modifier: str) -> str:
        """A value for ``facet`` as a query writes it."""
        if facet.code == "_id":
            return str(self.rng.choice(self.of[facet.type])["id"] if facet.type in self.of else "x")
        if facet.code == "_lastUpdated":
            return self.rng.choice(PREFIXES) + self.rng.choice(("2020", "2999-01-01", "2024-06"))
        held = self._values(facet)
        if not held or self.rng.random() < 0.08:
            return self._odd(facet.kind)
        type_name, value = self.rng.choice(held)
        if facet.kind == "composite":
            return self._composite(facet, value)
        return self._one(facet.kind, type_name, value, modifier) or self._odd(facet.kind)

    def _odd(self, kind: str) -> str:
        if kind in ("date", "number", "quantity"):
            return (
                self.rng.choice(("2020-02", "2019"))
                if kind == "date"
                else self.rng.choice(("5", "5.4", "1e2"))
            )
        return self.rng.choice(_ODD)

    def _composite(self, facet: Facet, focus: Any) -> str:
        halves = []
        for component in facet.components:
            held = [(route.type_name, value) for route in component.routes for value in follow(route, focus)]
            half = self._one(component.kind, *self.rng.choice(held), "") if held else ""
            halves.append(half.rstrip("|") or self._odd(component.kind))
        return "$".join(halves)

    def _one(self, kind: str, type_name: str, value: Any, modifier: str) -> str:
        make = getattr(self, f"_{kind}")
        return str(make(type_name, value, modifier))

    def _token(self, type_name: str, value: Any, modifier: str) -> str:
        if type_name == "CodeableConcept":
            codings = value.get("coding") or [{}]
            value = self.rng.choice(codings)
        if not isinstance(value, dict):
            return self._systems(
                escaped("true" if value is True else "false" if value is False else str(value))
            )
        system, code = value.get("system", ""), value.get("code") or value.get("value") or ""
        if modifier == "text":
            return self._words(type_name, value)
        if modifier == "of-type":
            kinds = (value.get("type") or {}).get("coding") or [{"code": "MR"}]
            return f"{escaped(kinds[0].get('system', ''))}|{escaped(kinds[0].get('code', 'x'))}|{escaped(code) or 'x'}"
        shapes = [f"{escaped(system)}|{escaped(code)}"]
        if code:
            shapes += [escaped(code), escaped(code), f"|{escaped(code)}"]
        if system:
            shapes.append(f"{escaped(system)}|")
        text = self.rng.choice(shapes)
        return "" if text == "|" else text

    def _systems(self, code: str) -> str:
        return self.rng.choice((code, code, f"|{code}", f"http://hl7.org/fhir/administrative-gender|{code}"))

    def _words(self, type_name: str, value: Any) -> str:
        """Some words of what a code is called."""
        kind = value.get("type", {}) if type_name == "Identifier" and isinstance(value, dict) else value
        if not isinstance(kind, dict):
            return ""
        texts = [each.get("display", "") for each in (kind, *kind.get("coding", ()))] + [kind.get("text", "")]
        words = self.rng.choice([text for text in texts if text] or ["a"]).split()
        start = self.rng.randrange(len(words))
        return escaped(" ".join(words[start : start + 2])[: self.rng.randint(2, 12)]).strip()

    def _string(self, type_name: str, value: Any, modifier: str) -> str:
        texts = [value] if isinstance(value, str) else []
        if isinstance(value, dict):
            for part in value.values():
                texts += [
                    each for each in (part if isinstance(part, list) else [part]) if isinstance(each, str)
                ]
        text = self.rng.choice(texts) if texts else "x"
        if modifier == "exact":
            return escaped(text if self.rng.random() < 0.8 else text.lower())
        if modifier == nickname.MODIFIER:
            words = normalised(text).split()[: self.rng.choice((1, 1, 2))]
            return escaped(" ".join(self.rng.choice(nickname.related(word)) for word in words)) or "x"
        start = self.rng.randrange(len(text)) if modifier == "contains" else 0
        piece = text[start : start + self.rng.choice((1, 2, 4, 300))]
        return escaped(self.rng.choice((str.upper, str.lower, str))(piece)).strip()

    def _date(self, type_name: str, value: Any, modifier: str) -> str:
        moments: list[str] = []
        if isinstance(value, str):
            moments = [value]
        elif isinstance(value, dict):
            repeat = (value.get("repeat") or {}).get("boundsPeriod") or {}
            moments = [
                *value.get("event", ()),
                *(each[k] for each in (value, repeat) for k in ("start", "end") if k in each),
            ]
        if not moments:
            return ""
        moment = self.rng.choice(moments)
        cut = self.rng.choice((4, 7, 10, 16, 19, 40))
        text = moment[:cut]
        if len(text) in (16, 19):
            text += self.rng.choice(("", "Z", "+01:00"))
        return self.rng.choice(PREFIXES) + text

    def _number(self, type_name: str, value: Any, modifier: str) -> str:
        if isinstance(value, dict):
            ends = [value[end] for end in ("low", "high") if end in value]
            value = self.rng.choice(ends).get("value", 0) if ends else 0
        return self.rng.choice(PREFIXES) + self._rounded(value)

    def _rounded(self, value: Any) -> str:
        text = dumps(value).decode() if not isinstance(value, (dict, str)) else "5"
        if "." in text and "e" not in text.lower() and self.rng.random() < 0.4:
            text = text[: text.index(".") + self.rng.randrange(3)].rstrip(".")
        return text

    def _quantity(self, type_name: str, value: Any, modifier: str) -> str:
        if isinstance(value, dict) and ("low" in value or "high" in value):
            value = value.get("low") or value.get("high")
        if isinstance(value, dict) and "origin" in value:
            value = value["origin"]
        if not isinstance(value, dict):
            return ""
        text = self.rng.choice(PREFIXES) + self._rounded(value.get("value", 0))
        code, unit = value.get("code") or value.get("currency"), value.get("unit")
        shapes = [text, text, f"{text}||kg"]
        shapes += (
            [f"{text}|{escaped(value.get('system', ''))}|{escaped(code)}", f"{text}||{escaped(code)}"]
            if code
            else []
        )
        shapes += [f"{text}||{escaped(unit)}"] if unit else []
        return self.rng.choice(shapes)

    def _reference(self, type_name: str, value: Any, modifier: str) -> str:
        if isinstance(value, str):
            return escaped(value)
        if modifier == "identifier" and isinstance(value, dict) and "identifier" in value:
            return self._token("Identifier", value["identifier"], "")
        text = value.get("reference", "") if isinstance(value, dict) else ""
        if not text or text.startswith("#"):
            return ""
        relative = "/".join(text.split("/")[-2:])
        return escaped(self.rng.choice((text, text, relative, text.split("/")[-1], f"{BASES[0]}/{relative}")))

    def _uri(self, type_name: str, value: Any, modifier: str) -> str:
        return escaped(value) if isinstance(value, str) else ""
