"""From the text of a file to items that have been checked as far as they can be without the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import FhirError, Issue, outcome
from fhirhub.jobs.load.items import Item, Problem, Task
from fhirhub.jobs.load.sources import UNREADABLE, opened, unreadable
from fhirhub.resource import json
from fhirhub.resource.links import Links
from fhirhub.resource.reference import restful

CONTAINERS = ("collection", "searchset", "history", "batch-response", "transaction-response")
"""Bundles that only carry resources; documents and messages are resources themselves."""
_GUARDS = ("ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince")


class Cutter:
    """Cuts tasks into items. What cannot be read goes to ``problems`` as (number, problem)."""

    def __init__(self, definitions: Definitions, new_id: Callable[[], str]) -> None:
        self._types = definitions.type_number
        self._links = Links(definitions)
        self._new_id = new_id

    def cut(self, task: Task, problems: list[tuple[int, Problem]]) -> Iterator[Item]:
        """The items of a task, numbered within its unit."""
        if task.items:
            for item in task.items:
                if item.document is None and item.form == "resource":
                    item.document = json.parse(item.body)
                yield item
        elif task.path:
            try:
                with opened(task.path, task.member) as (stream, _):
                    body = stream.read()
            except UNREADABLE as error:
                problems.append((0, unreadable(task.file, error)))
                return
            yield from self._document(Item(task.unit, 0, task.file, "", "", body=body), problems, whole=True)
        else:
            for number, line in enumerate(task.data.splitlines()):
                if line.strip():
                    place = f"line {task.first_line + number}"
                    yield from self._document(
                        Item(task.unit, number, task.file, place, "", body=line), problems
                    )

    def _document(
        self, item: Item, problems: list[tuple[int, Problem]], whole: bool = False
    ) -> Iterator[Item]:
        """The items of one JSON document. Only a ``whole`` file has its entries as items of their own."""
        try:
            document = json.parse(item.body)
        except FhirError as error:
            problems.append((item.number, problem(item, None, error.issues)))
            return
        kind = document.get("type") if document.get("resourceType") == "Bundle" else None
        if kind == "transaction" or (kind == "batch" and not whole):
            # A batch on one line of NDJSON is taken in as a whole: its entries have no numbers of their own.
            item.form = "transaction"
            if kind == "batch":
                document["type"] = "transaction"
                item.body = json.dumps(document)
            item.document = document
            yield item
        elif kind == "batch" and type(document.get("entry")) is list:
            yield from self._batch(item, document["entry"])
        elif kind in CONTAINERS and type(document.get("entry")) is list and whole:
            yield from self._contained(item, document["entry"])
        elif kind in CONTAINERS:
            text = "A Bundle on a line of NDJSON must be a transaction or a batch."
            problems.append((item.number, problem(item, document, [Issue("not-supported", text)])))
        else:
            item.document, item.body = document, b""
            item.form, item.method = "resource", "PUT" if "id" in document else "POST"
            yield item

    def _batch(self, item: Item, entries: list[Any]) -> Iterator[Item]:
        for number, entry in enumerate(entries):
            made = Item(item.unit, number, item.file, f"entry {number}", "")
            if not _is_plain(entry, self._types):
                made.form = "transaction"
                made.body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
            else:
                made.form, made.method = "resource", entry["request"]["method"]
                made.document = entry["resource"]
            yield made

    def _contained(self, item: Item, entries: list[Any]) -> Iterator[Item]:
        """Resources of a collection; links between them that only hold inside it are rewritten."""
        urls: dict[str, str] = {}
        resources: list[tuple[int, dict[str, Any], str | None]] = []
        for number, entry in enumerate(entries):
            resource = entry.get("resource") if type(entry) is dict else None
            if type(resource) is not dict:
                continue
            url = entry.get("fullUrl")
            if type(url) is str:
                resource.setdefault("id", self._new_id())
                urls[url] = f"{resource.get('resourceType')}/{resource['id']}"
            resources.append((number, resource, url if type(url) is str else None))
        for number, resource, url in resources:
            self._links.scan(resource, urls, url).rewrite(urls)
            method = "PUT" if "id" in resource else "POST"
            yield Item(item.unit, number, item.file, f"entry {number}", "resource", method, document=resource)


def _is_plain(entry: Any, types: dict[str, int]) -> bool:
    """Whether an entry only puts one resource under its id, or creates it."""
    if type(entry) is not dict or type(entry.get("resource")) is not dict:
        return False
    resource, request = entry["resource"], entry.get("request")
    if type(request) is not dict or any(name in request for name in _GUARDS):
        return False
    type_ = resource.get("resourceType")
    if type_ not in types or "fullUrl" in entry and restful(str(entry["fullUrl"])):
        return False
    if request.get("method") == "PUT":
        return request.get("url") == f"{type_}/{resource.get('id')}"
    return request.get("method") == "POST" and request.get("url") == type_


def problem(item: Item, document: dict[str, Any] | None, issues: Any) -> Problem:
    """The line of the error file for ``item``."""
    document = document or {}
    return Problem(
        item.file, item.place, document.get("resourceType"), document.get("id"), outcome(list(issues))
    )
