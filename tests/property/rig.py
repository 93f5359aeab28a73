"""A random world in a real store, and searches through it compared with the same ones in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest

import fhirhub.store.search as searching_module
import fhirhub.store.templates as templates_module
from fhirhub.fhirpath.compile import follow
from fhirhub.resource.json import dumps, parse
from fhirhub.search.extract import Extractor
from fhirhub.search.match import Subject, matches
from fhirhub.search.parse import SearchParser
from fhirhub.search.predicate import Keys, Not, Or, Present, Refers, Text
from fhirhub.search.request import SearchRequest
from fhirhub.search.rows import VALUE_BITS
from fhirhub.store.cost import Estimator
from fhirhub.store.plan import Plan, choose
from fhirhub.store.ranges import Range
from fhirhub.store.records import Change, Page, Stored, Written
from fhirhub.store.store import Store
from property.worlds import Document, World
from searching import BASES, NOW, definitions, registry

Name = tuple[str, str]


class Rig:
    """Resources in a store and, under the same names, in memory."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.extractor = Extractor(definitions, store.secret, registry)
        self.parser = SearchParser(definitions, store.secret, registry, clock=lambda: NOW)
        self.documents: dict[Name, Document] = {}
        self.subjects: dict[Name, Subject] = {}

    # -- World of fhirhub.search.match -------------------------------------------------------------------

    def resource(self, type: str, id: str) -> Subject | None:
        """The resource in memory."""
        return self.subjects.get((type, id))

    def resources(self, type: str) -> Iterator[Subject]:
        """All of a type."""
        return (subject for subject in self.subjects.values() if subject.type == type)

    # -- writing -----------------------------------------------------------------------------------------

    async def put(self, document: Document) -> Written:
        """Create or update one resource."""
        document = parse(dumps(document))
        name = document["resourceType"], document["id"]
        base = await self.store.read(*name)
        change = Change("PUT", *name, base, document, self.extractor.rows(document, BASES))
        (written,) = await self.store.write([change])
        self._keep(document, written)
        return written

    async def delete(self, name: Name) -> None:
        """Delete one resource."""
        base = await self.store.read(*name)
        assert base is not None
        await self.store.write([Change("DELETE", *name, base, None, None)])
        del self.documents[name], self.subjects[name]

    def _keep(self, document: Document, written: Written) -> None:
        name = document["resourceType"], document["id"]
        self.documents[name] = document
        self.subjects[name] = Subject(*name, written.updated, self.extractor.rows(document, BASES))

    async def load(self, world: World) -> None:
        """Put a world there by detours: some resources were something else before, or gone for a while."""
        rng = Random(world.seed)
        documents = {(each["resourceType"], each["id"]): each for each in world.documents}
        others = list(documents.values())
        for name, document in documents.items():
            way = rng.random()
            if way < 0.3:
                kin = [each for each in others if each["resourceType"] == name[0]]
                await self.put({**rng.choice(kin), "id": name[1]})
            if way < 0.1:
                await self.delete(name)
            await self.put(document)
        for name in rng.sample(sorted(documents), len(documents) // 20):
            await self.delete(name)

    # -- searching ---------------------------------------------------------------------------------------

    def request(self, type: str, pairs: Iterable[tuple[str, str]]) -> SearchRequest:
        """A parsed search."""
        return self.parser.parse(type, list(pairs), bases=BASES)

    def expected(self, request: SearchRequest) -> set[str]:
        """The ids of what ``request`` must find."""
        found = (each for each in self.resources(request.type) if matches(request.where, each, self))
        return {each.id for each in found}

    async def walk(self, request: SearchRequest, count: int) -> list[list[Stored]]:
        """All pages of ``count`` from first to last, checked to be the same backwards."""
        pages, page = [], await self.store.search(replace(request, count=count))
        first = page
        while True:
            pages.append(page.matches)
            assert len(pages) <= len(self.subjects) + 2, "the pages do not end"
            assert len(page.matches) == count or page.next is None, "a page in the middle is not full"
            if page.next is None:
                break
            page = await self.store.search(replace(request, count=count, cursor=page.next))
        await self._check_backwards(request, count, pages, page, first)
        return pages

    async def _check_backwards(
        self, request: SearchRequest, count: int, pages: list[list[Stored]], page: Page, first: Page
    ) -> None:
        assert first.previous is None
        forward = [each.id for each in flat(pages)]
        backward = [each.id for each in reversed(page.matches)]
        while page.previous is not None:
            page = await self.store.search(replace(request, count=count, cursor=page.previous))
            backward += [each.id for each in reversed(page.matches)]
            assert len(backward) <= len(forward), "the pages back do not end"
        assert forward == backward[::-1], "backwards the pages are others"

    def values(self, request: SearchRequest, id: str) -> list[Any]:
        """What ``request`` sorts the resource by: for each key its value, None when missing."""
        subject = self.subjects[request.type, id]
        return [self._value(subject, sort) for sort in request.sort]

    def _value(self, subject: Subject, sort: Any) -> Any:
        if sort.code == "_id":
            return subject.id
        if sort.code == "_lastUpdated":
            return subject.updated
        if sort.kind == "token":
            return self._code(subject, sort)
        rows, keys = subject.rows, {pid << VALUE_BITS for pid in sort.pids or (sort.pid,)}
        code = definitions.sort_date.get(subject.type)
        if code and sort.kind == "date" and sort.pid == definitions.search_parameters(subject.type)[code].pid:
            return rows.date if rows.date > -(1 << 62) else None
        table = {"string": rows.strings, "date": rows.dates}.get(sort.kind, rows.numbers)
        found = [row[1] for row in table if row[0] in keys]
        return (max if sort.descending else min)(found, default=None)

    def _code(self, subject: Subject, sort: Any) -> str | None:
        """The first or the last of the codes, as the document has them."""
        document = self.documents[subject.type, subject.id]
        found: list[str] = []
        for route in registry.facets(subject.type)[sort.code].routes:
            for value in follow(route, document):
                values = value.get("coding", []) if route.type_name == "CodeableConcept" else [value]
                for each in values:
                    text = each.get("code", each.get("value")) if isinstance(each, dict) else each
                    if text is not None:
                        found.append({True: "true", False: "false"}.get(text, str(text)))
        return (max if sort.descending else min)(found, default=None)

    def check_order(self, request: SearchRequest, ids: list[str]) -> None:
        """Raise AssertionError unless ``ids`` stand in the order asked for, missing values last."""
        rows = [self.values(request, id) for id in ids]
        for one, other in zip(rows, rows[1:], strict=False):
            for sort, a, b in zip(request.sort, one, other, strict=True):
                if a == b:
                    continue
                assert a is not None, f"{sort.code}: {one} before {other}"
                assert b is None or (a > b) == sort.descending, f"{sort.code}: {one} before {other}"
                break

    def included(self, request: SearchRequest, found: Iterable[Stored]) -> set[Name]:
        """What the includes of ``request`` (without ``:iterate``) add to a page."""
        matched = {(each.type, each.id) for each in found}
        added: set[Name] = set()
        for include in request.includes:
            if include.reverse:
                sources = self.resources(include.source)
                added |= {
                    (s.type, s.id)
                    for s in sources
                    for pid, type, id in s.rows.references
                    if pid in include.pids and (type, id) in matched and include.target in (None, type)
                }
                continue
            added |= {
                (type, id)
                for name in matched
                if name[0] == include.source
                for pid, type, id in self.subjects[name].rows.references
                if pid in include.pids and include.target in (None, type) and (type, id) in self.subjects
            }
        return added - matched


def flat(pages: Iterable[list[Stored]]) -> list[Stored]:
    """All pages as one list."""
    return [each for page in pages for each in page]


def plans(request: SearchRequest, parts: Any, compiler: Any, sort_date: int | None) -> list[Plan]:
    """Every plan that answers ``request``, whatever it costs."""
    sort = request.sort[0] if request.sort else None
    main = sort is not None and len(request.sort) == 1 and sort.kind == "date" and sort.pid == sort_date
    found = [Plan("sort", n) for n in (-1, *range(len(parts)))]
    found = [plan for plan in found if plan.driver < 0 or _drives(parts[plan.driver])]
    if sort is None:
        found.append(Plan("resource", -1))
        for n, part in enumerate(parts):
            if isinstance(part, Keys | Refers):
                found.append(Plan("token", n))
            elif isinstance(part, Or):
                found.append(Plan("merged", n))
            elif isinstance(part, Range) or (isinstance(part, Text) and part.match != "equals"):
                found += [Plan("range", n, True), Plan("range", n, False)]
        found += [Plan("absent", n) for n, part in enumerate(parts) if isinstance(part, Not | Present)]
    elif main:
        found.append(Plan("resource", -1, sort.descending))
        found += [
            Plan("token", n, sort.descending) for n, p in enumerate(parts) if isinstance(p, Keys | Refers)
        ]
        found += [Plan("merged", n, sort.descending) for n, p in enumerate(parts) if isinstance(p, Or)]
        found += [
            Plan("absent", n, sort.descending) for n, p in enumerate(parts) if isinstance(p, Not | Present)
        ]
    elif len(request.sort) == 1 and sort.code == "_lastUpdated":
        found.append(Plan("updated", -1, sort.descending))
    found.append(choose(request, parts, compiler, sort_date))
    return found


def _drives(part: Any) -> bool:
    return part is not None


@contextmanager
def any_plan(rng: Random, used: list[Plan], possible: Callable[..., list[Plan]] = plans) -> Iterator[None]:
    """Searches take one of the ``possible`` plans at random; ``used`` collects them."""

    def chosen(request: SearchRequest, parts: Any, compiler: Any, sort_date: int | None) -> Plan:
        used.append(rng.choice(possible(request, parts, compiler, sort_date)))
        return used[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(searching_module, "choose", chosen)
        # What is kept for an outline would go by the first plan that it was given.
        patched.setattr(templates_module, "CAPACITY", 0)
        if possible is plans:
            # So few resources would hardly ever be worth a walk through the codes they are sorted by.
            patched.setattr(searching_module, "FEW", 0.0)
            patched.setattr(Estimator, "ranked", lambda *about: rng.choice((0.0, 1e9)))
        yield
