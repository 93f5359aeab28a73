"""Searches evaluated in memory, for tests: documents in, ids of the matches out."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from fhirhub.definitions.tables import load
from fhirhub.resource.json import dumps, parse
from fhirhub.search.extract import Extractor
from fhirhub.search.match import Subject, matches
from fhirhub.search.parse import SearchParser
from fhirhub.search.registry import Registry
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import Rows

SECRET = b"0123456789abcdef"
BASES = ("http://here.test/fhir",)
NOW = 1_700_000_000
"""2023-11-14T22:13:20Z, in seconds."""
EXAMPLES = Path(__file__).parent / "data" / "r4-examples.zip"

definitions = load()
registry = Registry(definitions)
extractor = Extractor(definitions, SECRET, registry)
parser = SearchParser(definitions, SECRET, registry, clock=lambda: NOW)


def document(value: dict[str, Any] | str | bytes) -> dict[str, Any]:
    """``value`` as the server holds it, decimals with their digits."""
    if isinstance(value, dict):
        return parse(dumps(value))
    return parse(value.encode() if isinstance(value, str) else value)


def rows(value: dict[str, Any] | str) -> Rows:
    """The index rows of a document."""
    return extractor.rows(document(value), BASES)


def pairs(query: str) -> list[tuple[str, str]]:
    """The parameters of ``a=b&c=d`` (not percent-encoded)."""
    found = (piece.partition("=") for piece in query.split("&") if piece)
    return [(name, value) for name, _, value in found]


def search(query: str, *, lenient: bool = False) -> SearchRequest:
    """The request of ``Type?a=b&c=d``."""
    type, _, rest = query.partition("?")
    return parser.parse(type, pairs(rest), lenient=lenient, bases=BASES)


class Shelf:
    """Some resources, searched without an index."""

    def __init__(self, documents: Iterable[dict[str, Any]], updated: int = 0) -> None:
        self._subjects: dict[tuple[str, str], Subject] = {}
        for each in documents:
            own = document(each)
            subject = Subject(own["resourceType"], own.get("id", "x"), updated, extractor.rows(own, BASES))
            self._subjects[subject.type, subject.id] = subject

    def resource(self, type: str, id: str) -> Subject | None:
        return self._subjects.get((type, id))

    def resources(self, type: str) -> Iterator[Subject]:
        return (subject for subject in self._subjects.values() if subject.type == type)

    def find(self, query: str) -> list[str]:
        """Ids of what ``Type?a=b`` finds, sorted."""
        request = search(query)
        found = (each for each in self.resources(request.type) if matches(request.where, each, self))
        return sorted(each.id for each in found)


def finds(query: str, value: dict[str, Any], updated: int = 0) -> bool:
    """Whether ``Type?a=b`` finds the one document."""
    return bool(Shelf([value], updated).find(query))


@lru_cache(maxsize=8)
def examples(member: str = "core") -> tuple[dict[str, Any], ...]:
    """HL7's published examples of one member of the archive."""
    with zipfile.ZipFile(EXAMPLES) as archive:
        return tuple(parse(line) for line in archive.read(f"{member}.ndjson").splitlines() if line.strip())


@lru_cache(maxsize=128)
def example(type: str, id: str) -> dict[str, Any]:
    """One core example."""
    return next(each for each in examples() if each["resourceType"] == type and each.get("id") == id)
