"""Batch and transaction Bundles made ready (https://hl7.org/fhir/R4/http.html#transaction).

:func:`plan` checks a Bundle and turns its entries into plain :class:`Entry` values; what an entry does to
the store, and under which id, is the caller's business. When the ids are known, :meth:`Plan.targets` is the
map with which :mod:`fhirhub.resource.links` rewrites the resources, and :func:`overlaps` finds resources
touched twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from fhirhub.errors import BadRequest, Issue, TooLarge
from fhirhub.resource.json import kind
from fhirhub.resource.reference import External, Literal, parse, restful

# The order in which a transaction is processed, whatever the order of its entries.
_RANK = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATCH_BODIES = ("Parameters", "Binary")
_SEARCH_URL = re.compile(r"^[^=&?]*\?")
_HEADERS = ("ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince")


@dataclass(slots=True)
class Entry:
    """One request of a batch or transaction.

    ``interaction`` is named as in a CapabilityStatement, or ``capabilities`` or ``operation``. ``id`` is
    None where the caller has to find it (create, conditional update …) and is filled in by it. ``query`` is
    what follows ``?`` in ``request.url``, ``parameters`` the same decoded.
    """

    index: int
    method: str
    url: str
    interaction: str = ""
    type: str | None = None
    id: str | None = None
    version: str | None = None
    operation: str | None = None
    query: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    full_url: str | None = None
    resource: dict[str, Any] | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    if_none_exist: str | None = None
    if_modified_since: str | None = None

    @property
    def expression(self) -> str:
        """The FHIRPath of the entry."""
        return f"Bundle.entry[{self.index}]"

    @property
    def conditional(self) -> str | None:
        """The criteria of a conditional create, update, patch or delete."""
        if self.interaction == "create":
            return self.if_none_exist
        return self.query if self.id is None and self.interaction in ("update", "patch", "delete") else None


@dataclass(slots=True)
class Plan:
    """A Bundle that was understood: its ``type``, its entries as they stand, and what is wrong with which
    of them.

    ``problems`` (entry number -> issues) is always empty for a transaction, where any problem refuses the
    whole.
    """

    type: str
    entries: list[Entry]
    problems: dict[int, list[Issue]] = field(default_factory=dict)
    urls: dict[str, Entry] = field(default_factory=dict)
    """The URLs by which the entries refer to each other, for :meth:`fhirhub.resource.links.Links.scan`."""

    def in_order(self) -> list[Entry]:
        """The sound entries in the order of processing: DELETE, POST, PUT and PATCH, GET and HEAD."""
        sound = [entry for entry in self.entries if entry.index not in self.problems]
        return sorted(sound, key=lambda entry: _RANK[entry.method])

    def targets(self) -> dict[str, str]:
        """URL -> ``Type/id`` of every entry that has its id by now."""
        return {url: f"{entry.type}/{entry.id}" for url, entry in self.urls.items() if entry.id is not None}


def plan(
    bundle: dict[str, Any],
    resource_types: Collection[str],
    bases: Sequence[str] = (),
    max_entries: int | None = None,
) -> Plan:
    """The entries of a batch or transaction Bundle.

    Raises BadRequest when it is no such Bundle or, for a transaction, when anything is wrong with any entry
    (all problems at once, each with its expression), TooLarge when it has more than ``max_entries``.
    """
    type_ = bundle.get("type")
    if bundle.get("resourceType") != "Bundle" or type_ not in ("transaction", "batch"):
        text = "A Bundle of type transaction or batch is expected here."
        raise BadRequest(Issue("invalid", text, "Bundle.type"))
    listed = bundle.get("entry", [])
    if type(listed) is not list:
        raise BadRequest(Issue("structure", f"entry must be an array, not {kind(listed)}.", "Bundle.entry"))
    if max_entries is not None and len(listed) > max_entries:
        text = f"The Bundle has {len(listed)} entries; at most {max_entries} are taken. Send it in parts."
        raise TooLarge(Issue("too-long", text, "Bundle.entry"))
    made = Plan(type_, [])
    for index, listed_entry in enumerate(listed):
        problems: list[Issue] = []
        made.entries.append(_Reader(index, problems, resource_types, bases).entry(listed_entry))
        if problems:
            made.problems[index] = problems
    _collect_urls(made)
    if type_ == "transaction":
        for issue_index, issue in overlaps(made.entries):
            made.problems.setdefault(issue_index, []).append(issue)
        if made.problems:
            raise BadRequest([issue for index in sorted(made.problems) for issue in made.problems[index]])
    return made


def overlaps(entries: Iterable[Entry]) -> list[tuple[int, Issue]]:
    """(entry number, issue) for each update, patch or delete of a resource that an earlier entry writes, too.

    To be asked again when conditional entries have found their ids. A create is never one of two: it writes
    under a new id, or, where its condition is met already, nothing.
    """
    seen: dict[tuple[str | None, str], int] = {}
    found: list[tuple[int, Issue]] = []
    for entry in entries:
        if entry.id is None or entry.interaction not in ("update", "patch", "delete"):
            continue
        first = seen.setdefault((entry.type, entry.id), entry.index)
        if first != entry.index:
            text = (
                f"{entry.method} of {entry.type}/{entry.id}: Bundle.entry[{first}] writes the same resource. "
                "A transaction may write a resource once."
            )
            found.append((entry.index, Issue("duplicate", text, f"{entry.expression}.request.url")))
    return found


def _collect_urls(made: Plan) -> None:
    """Fill ``urls``; two entries under one URL are a problem of the second (invariant bdl-7)."""
    local: dict[str, Entry] = {}
    for entry in made.entries:
        if entry.method == "DELETE" or entry.type is None or entry.index in made.problems:
            continue
        if entry.full_url:
            if entry.full_url in made.urls and made.type == "transaction":
                first = made.urls[entry.full_url].index
                text = f"fullUrl {entry.full_url} is also that of Bundle.entry[{first}]; it must be unique."
                issue = Issue("duplicate", text, f"{entry.expression}.fullUrl")
                made.problems.setdefault(entry.index, []).append(issue)
            made.urls.setdefault(entry.full_url, entry)
        elif entry.interaction == "create" and entry.resource and type(entry.resource.get("id")) is str:
            # Without a full URL, the id that the sender gave is the only way to mean this entry.
            local.setdefault(f"{entry.type}/{entry.resource['id']}", entry)
    stored = {f"{entry.type}/{entry.id}" for entry in made.entries if entry.id is not None}
    for url, entry in local.items():
        if url not in stored:
            made.urls.setdefault(url, entry)


class _Reader:
    """Reads one entry; whatever is wrong becomes an issue in ``problems``."""

    def __init__(
        self, index: int, problems: list[Issue], resource_types: Collection[str], bases: Sequence[str]
    ) -> None:
        self._expression = f"Bundle.entry[{index}]"
        self._index = index
        self._problems = problems
        self._resource_types = resource_types
        self._bases = bases

    def entry(self, listed: Any) -> Entry:
        entry = Entry(self._index, "", "")
        if type(listed) is not dict:
            self._problem("structure", f"An entry must be an object, not {kind(listed)}.")
            return entry
        request = listed.get("request")
        if type(request) is not dict:
            text = "The entry has no request; each needs request.method and request.url."
            self._problem("required", text, ".request")
            return entry
        method, url = request.get("method"), request.get("url")
        if type(method) is not str or method not in _RANK:
            self._problem("value", f"request.method must be one of {', '.join(_RANK)}.", ".request.method")
            return entry
        entry.method = method
        if type(url) is not str:
            self._problem("required", "request.url is missing.", ".request.url")
            return entry
        entry.url = url
        self._read_headers(entry, request)
        self._read_url(entry, url)
        self._read_resource(entry, listed.get("resource"))
        self._read_full_url(entry, listed.get("fullUrl"))
        return entry

    def _problem(self, code: str, text: str, where: str = "") -> None:
        self._problems.append(Issue(code, text, self._expression + where))

    def _read_headers(self, entry: Entry, request: dict[str, Any]) -> None:
        values: list[str | None] = []
        for name in _HEADERS:
            value = request.get(name)
            if value is not None and type(value) is not str:
                self._problem("value", f"{name} must be a string, not {kind(value)}.", f".request.{name}")
                value = None
            values.append(value)
        entry.if_match, entry.if_none_match, criteria, entry.if_modified_since = values
        # Some write a whole search URL; only its criteria are meant.
        entry.if_none_exist = _SEARCH_URL.sub("", criteria) if criteria is not None else None

    def _read_url(self, entry: Entry, url: str) -> None:
        for base in self._bases:
            if url.startswith(base + "/"):
                url = url[len(base) + 1 :]
                break
        if "://" in url.partition("?")[0]:
            text = f"request.url {url} is not below this server's base; a relative URL is expected."
            self._problem("not-supported", text, ".request.url")
            return
        path, _, entry.query = url.removeprefix("/").partition("?")
        entry.parameters = tuple(parse_qsl(entry.query, keep_blank_values=True))
        steps = [unquote(step) for step in path.split("/")] if path else []
        if steps and steps[0][:1].isalpha() and steps[0] != "metadata":
            entry.type = steps.pop(0)
            if entry.type not in self._resource_types:
                text = f"request.url {entry.url}: {entry.type} is not a resource type of FHIR R4."
                self._problem("not-supported", text, ".request.url")
                return
            if steps and steps[0][:1] not in ("$", "_", ""):
                entry.id = steps.pop(0)
                if type(parse(f"{entry.type}/{entry.id}")) is not Literal:
                    text = f"request.url {entry.url}: {entry.id} is not an id (1 to 64 of A-Z a-z 0-9 - .)."
                    self._problem("value", text, ".request.url")
        entry.interaction = self._interaction(entry, steps)
        if not entry.interaction:
            text = f"{entry.method} {entry.url} is not an interaction; see http://hl7.org/fhir/R4/http.html."
            self._problem("not-supported", text, ".request.url")
        elif entry.interaction in ("update", "patch", "delete") and entry.id is None and not entry.parameters:
            text = f"{entry.method} {entry.url} needs an id ({entry.type}/…) or criteria ({entry.type}?…)."
            self._problem("value", text, ".request.url")

    def _interaction(self, entry: Entry, steps: list[str]) -> str:
        """The name of the interaction; ``steps`` is what the path has beyond type and id. Empty when there
        is none."""
        reading = entry.method in ("GET", "HEAD")
        if len(steps) == 1 and steps[0][:1] == "$" and entry.method in ("GET", "POST"):
            entry.operation = steps[0]
            return "operation"
        if not steps and not reading and entry.type and not (entry.method == "POST" and entry.id):
            return _WRITES[entry.method]
        if not reading:
            return ""
        if not steps:
            if entry.type is None:
                return "search-system" if entry.parameters else ""
            return "search-type" if entry.id is None else "read"
        if steps == ["metadata"]:
            return "capabilities"
        if steps == ["_history"]:
            return "history-" + ("instance" if entry.id else "type" if entry.type else "system")
        if len(steps) == 2 and steps[0] == "_history" and entry.id:
            entry.version = steps[1]
            return "vread"
        return ""

    def _read_resource(self, entry: Entry, resource: Any) -> None:
        if resource is None:
            if entry.interaction in ("create", "update", "patch"):
                self._problem("required", f"{entry.method} needs a resource in the entry.", ".resource")
            return
        if type(resource) is not dict or type(resource.get("resourceType")) is not str:
            text = "The resource must be an object with a resourceType."
            self._problem("structure", text, ".resource")
            return
        entry.resource = resource
        given = resource["resourceType"]
        if entry.interaction == "patch" and given not in _PATCH_BODIES:
            text = f"A patch is a Parameters (FHIRPath Patch) or a Binary (JSON Patch), not a {given}."
            self._problem("invalid", text, ".resource")
        elif entry.interaction in ("create", "update") and given != entry.type:
            text = f"The resource is a {given}, but request.url is {entry.url}."
            self._problem("invalid", text, ".resource")
        elif entry.interaction == "update" and entry.id is not None and resource.get("id") != entry.id:
            has = f"id {resource['id']}" if "id" in resource else "no id"
            text = f"The resource has {has}, but request.url is {entry.url}; the two must agree."
            self._problem("invalid", text, ".resource.id")

    def _read_full_url(self, entry: Entry, full_url: Any) -> None:
        if full_url is None:
            return
        if type(full_url) is not str or not full_url:
            text = f"fullUrl must be a non-empty string, not {kind(full_url)}."
            self._problem("value", text, ".fullUrl")
            return
        entry.full_url = full_url
        known = restful(full_url)
        meant = known[1] if known else parse(full_url)
        if type(meant) is Literal and meant.version:
            text = f"fullUrl {full_url} must not name a version (invariant bdl-8)."
            self._problem("invariant", text, ".fullUrl")
        elif type(meant) is Literal and entry.interaction == "update" and entry.id not in (None, meant.id):
            text = f"fullUrl {full_url} and the id {entry.id} of the resource do not agree."
            self._problem("invalid", text, ".fullUrl")
        elif type(meant) not in (Literal, External):
            text = f"fullUrl {full_url} must be an absolute URL or a urn:uuid: or urn:oid:."
            self._problem("value", text, ".fullUrl")
