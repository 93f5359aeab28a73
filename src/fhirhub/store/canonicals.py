"""Canonical urls followed: https://hl7.org/fhir/R4/references.html#canonical

``http://x`` leads to every version of that resource that is here, ``http://x|2`` to the second alone. Both have a row
for the url without a version. Where only some of the versions are meant, what holds the bare url is told from what
holds that of another version by the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.search.parameters.base import any_of
from fhirhub.search.predicate import (
    And,
    Chain,
    Cited,
    Cites,
    Contained,
    Has,
    Keys,
    Not,
    Or,
    Predicate,
    Says,
)
from fhirhub.search.rows import hashed_key

CITING = frozenset((Cites, Cited))
"""Conditions that canonical urls decide."""
MOST = 5000
"""Resources, or urls, that such a condition may come to."""
VERSION = (("content", '$."version"'),)

Url = tuple[str, str | None]
"""A canonical url and its version."""

TARGETS = (
    "select r.content->>'url' as url, r.content->>'version' as version from (select distinct rid from ({rids}) as s"
    f" limit {MOST + 1}) as s cross join lateral (select r.content from resource r where r.rid = s.rid offset 0) as r"
)
SOURCES = (
    "select distinct j #>> '{{}}' as url from ({rids}) as s cross join lateral (select r.meta, r.content"
    " from resource r where r.rid = s.rid offset 0) as r"
    f" cross join lateral ({{values}}) as x (j) limit {MOST + 1}"
)
VERSIONS = "select text from phrase where pid = $1 and position('|' in text) > 0 limit $2"


def urls_of(texts: Iterable[str]) -> set[Url]:
    """What canonicals name; fragments are a matter of the resource itself."""
    found: set[Url] = set()
    for text in texts:
        url, _, version = text.partition("#")[0].partition("|")
        found.add((url, version or None))
    return found


def url_pids(definitions: Definitions, types: Iterable[str]) -> list[int]:
    """The parameters under which the urls of resources of ``types`` stand (CodeSystem has them under ``system``)."""
    known = (definitions.search_parameters(type) for type in types)
    return [each[code].pid for each in known for code in ("url", "system") if code in each and "url" in each]


def citing(asked: Cites, targets: Iterable[Url], cited_versions: Iterable[str], secret: bytes) -> Predicate:
    """``asked`` as a condition on rows: any of ``targets`` is cited.

    ``cited_versions`` are all canonicals with a version that the parameter holds anywhere.
    """

    def key(text: str) -> int:
        return hashed_key(asked.pid, text, secret)

    meant = {(url, version) for url, version in targets if url}
    others = {url for url, version in urls_of(cited_versions) if (url, version) not in meant}
    exact = [key(url) for url in sorted({url for url, _ in meant} - others)]
    exact += [key(f"{url}|{version}") for url, version in sorted(meant, key=str) if url in others and version]
    parts: list[Predicate] = [Keys(tuple(exact))] if exact else []
    bare = sorted({url for url, _ in meant} & others)
    if bare:
        parts.append(And((Keys(tuple(map(key, bare))), Says(asked.paths, tuple(bare)))))
    return any_of(parts)


def cited(urls: Iterable[Url], pids: Sequence[int], secret: bytes) -> Predicate:
    """The condition that a resource has one of ``urls``; ``pids`` as from :func:`url_pids`."""
    by_version: dict[str | None, list[str]] = {}
    for url, version in sorted(urls, key=str):
        by_version.setdefault(version, []).append(url)
    parts: list[Predicate] = []
    for version, found in by_version.items():
        keys = Keys(tuple(hashed_key(pid, url, secret) for pid in pids for url in found))
        parts.append(keys if version is None else And((keys, Says(VERSION, (version,)))))
    return any_of(parts)


async def linked(where: Any, types: Sequence[str], resolve: Any) -> Any:
    """``where``, asked of resources of ``types``, with its Cites and Cited exchanged for what ``resolve`` (a coroutine
    function of one of them and the types) makes of them.
    """
    match where:
        case And(parts):
            return And(tuple([await linked(part, types, resolve) for part in parts]))
        case Or(parts):
            return Or(tuple([await linked(part, types, resolve) for part in parts]))
        case Not(part):
            return Not(await linked(part, types, resolve))
        case Chain(pid, type, part):
            return Chain(pid, type, await linked(part, (type,), resolve))
        case Has(type, pid, part):
            return Has(type, pid, await linked(part, (type,), resolve))
        case Contained(pid, type, part):
            return Contained(pid, type, await linked(part, (type,), resolve))
        case Cites() | Cited():
            return await resolve(where, types)
    return where


def bounded(rows: Sequence[Any], what: str) -> None:
    """Raise BadRequest when there are more than :data:`MOST` of ``rows``."""
    if len(rows) > MOST:
        raise BadRequest(
            Issue("too-costly", f"This comes to more than {MOST} {what}; ask for something narrower.")
        )
