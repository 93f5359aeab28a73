"""The gate before any figure: what each shape finds must be what is in the files that were loaded.

For some drawn searches of each shape the number of hits is compared with the one computed from the documents, and so
are up to five bodies of the first page, its length, its order by date and what it includes. A shape that fails is
wrong, not fast, and has no figures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from bench import plain
from bench.clinic import Clinic, all_documents
from bench.load import Answer, Request, User, drive, expect, get
from bench.records import Document

BODIES = 5
USUAL_COUNT = 20
_STORED = ("id", "meta")


@dataclass(slots=True)
class Question:
    """One drawn search of a shape, and the ids of all that it must find."""

    shape: str
    path: str
    expected: set[str] = field(default_factory=set)

    @property
    def type(self) -> str:
        """The type that is searched."""
        return self.path.partition("?")[0]

    @property
    def result(self) -> dict[str, str]:
        """The parameters that shape the answer."""
        return {name: value for name, value in parse_qsl(self.path.partition("?")[2]) if name in plain.RESULT}


def answer_all(clinic: Clinic, questions: Sequence[Question]) -> None:
    """Fill in what each question must find, looking at every document once."""
    by_type: dict[str, list[Question]] = {}
    for question in questions:
        by_type.setdefault(question.type, []).append(question)
    for documents in all_documents(clinic):
        family = {f"{each['resourceType']}/{each['id']}": each for each in documents}
        for document in documents:
            for question in by_type.get(document["resourceType"], ()):
                if plain.matches(document, question.path, family):
                    question.expected.add(document["id"])


def check(port: int, clinic: Clinic, questions: Sequence[Question]) -> dict[str, str]:
    """Shape -> what is wrong with it; empty when all is right."""
    answer_all(clinic, questions)
    wrong: dict[str, str] = {}
    drive(port, [_checker(clinic, questions, wrong)])
    return wrong


def _checker(clinic: Clinic, questions: Sequence[Question], wrong: dict[str, str]) -> User:
    for question in questions:
        if question.shape in wrong:
            continue
        try:
            yield from _ask(clinic, question)
        except Exception as error:  # whatever an answer has that it must not have is told of its shape
            wrong[question.shape] = f"{question.path}: {type(error).__name__} {error}"[:400]


def _ask(clinic: Clinic, question: Question) -> Generator[Request, Answer, None]:
    counting = "&".join(f"{name}={quote(value, safe=',')}" for name, value in plain.criteria(question.path))
    answer = expect((yield "count", get(f"{question.type}?{counting}&_summary=count")), 200)
    total = json.loads(answer.body)["total"]
    must(total == len(question.expected), f"{total} hits instead of {len(question.expected)}")
    page = json.loads(expect((yield "page", get(question.path)), 200).body)
    if question.result.get("_summary") == "count":
        return
    entries = page.get("entry", [])
    found = [each["resource"] for each in entries if each["search"]["mode"] == "match"]
    _check_page(clinic, question, found)
    if "total" in page:
        must(page["total"] == len(question.expected), f"total is {page['total']}")
    included = {_name(each["resource"]) for each in entries if each["search"]["mode"] == "include"}
    must(included == _included(clinic, question, found), "other resources are included")


def _check_page(clinic: Clinic, question: Question, found: list[Document]) -> None:
    ids = [each["id"] for each in found]
    size = int(question.result.get("_count", USUAL_COUNT))
    must(len(ids) == len(set(ids)) == min(size, len(question.expected)), f"{len(ids)} on the first page")
    must(set(ids) <= question.expected, f"{set(ids) - question.expected} must not be found")
    if question.result.get("_sort") == "-date":
        dates = [each["effectiveDateTime"] for each in found]
        must(dates == sorted(dates, reverse=True), "the page is not in order")
    for each in found[:BODIES] if "_elements" not in question.result else ():
        own = clinic.of(_name(each))
        must(_bare(each) == _bare(own), f"the body of {_name(each)} is another")


def _included(clinic: Clinic, question: Question, found: list[Document]) -> set[str]:
    names: set[str] = set()
    for kind, value in question.result.items():
        source, _, code = value.partition(":")
        for match in found if kind in ("_include", "_revinclude") else ():
            if kind == "_include":
                names.update(plain.references(match, code))
            else:
                family = clinic.documents(clinic.home[_name(match)])
                of_source = (each for each in family if each["resourceType"] == source)
                names.update(
                    _name(each) for each in of_source if _name(match) in plain.references(each, code)
                )
    return names


def _name(document: Document) -> str:
    return f"{document['resourceType']}/{document['id']}"


def _bare(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in _STORED}


def must(holds: bool, otherwise: str) -> None:
    """Raise AssertionError unless ``holds``; asserts may be switched off, this may not."""
    if not holds:
        raise AssertionError(otherwise)


def questions(shapes: dict[str, Callable[[Any], str]], draw: Any, each: int) -> list[Question]:
    """``each`` drawn searches of every shape that is a search."""
    drawn = [Question(name, shape(draw)) for name, shape in shapes.items() for _ in range(each)]
    return [question for question in {(q.shape, q.path): q for q in drawn}.values() if "?" in question.path]
