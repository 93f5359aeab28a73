"""Conditions that other stored resources or the dictionaries decide, replaced before a search by plain ones.

Value sets and code systems become the keys of their codes, texts and uri hierarchies those of the phrases that fit,
quantities their equals in every unit that is in use, ``partOf`` hierarchies the resources in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.errors import BadRequest, Issue
from fhirhub.resource import json
from fhirhub.search import ucum
from fhirhub.search.contained import PLACE, Beyond, reached, without_nothing
from fhirhub.search.parameters.quantity import UNITS, in_units
from fhirhub.search.parameters.token import concept_spellings
from fhirhub.search.predicate import (
    DEFERRED,
    And,
    Below,
    Concepts,
    Contained,
    Keys,
    Kin,
    Measure,
    Or,
    Predicate,
    Says,
    Spoken,
    Worded,
    Words,
    rewritten,
)
from fhirhub.search.rows import VALUE_BITS, VALUE_MASK, hashed_key
from fhirhub.search.terminology import MOST, Code, Missing, Shelf, expanded, hierarchy, not_known
from fhirhub.store.codings import spelt_out
from fhirhub.store.discreet import rounded
from fhirhub.store.resolve import Fetch

PHRASES = 5000
"""Phrases that one text may fit."""
KIN = 5000
"""Resources of one hierarchy."""

WORDED = """
select pid, key, raw from phrase
where pid = any ($1::smallint[])
  and (text like $2::text || '%' or text like '% ' || $2::text || '%') limit $3::bigint
"""
BELOW = """
select key from phrase
where pid = $1 and text >= $2 and text < $2 || U&'\\+10FFFF'
  and (text = any ($3::text[]) or text like any ($4::text[])) limit $5
"""
INSIDE = "select text from phrase where pid = $1::smallint"
UNITS_OF = "select text, raw, key from phrase where pid = $1::smallint and text = any ($2::text[])"
BY_KEY = """
select r.id, r.content::text as content
from token_general t
cross join lateral (select r.* from resource r where r.rid = t.rid and not r.deleted offset 0) as r
where t.key = any ($1::bigint[]) order by r.updated desc limit 20
"""
BY_ID = "select content::text as content from resource where rt = $1 and id = $2 and not deleted"
DOWN = f"""
with recursive kin (rid) as (
    select r.rid from resource r where r.rt = $1 and r.id = $2
    union
    select t.rid from kin cross join lateral (
        select t.rid from token t where t.key = $3::bigint << {VALUE_BITS} | kin.rid offset 0) as t
)
select rid from kin limit $4
"""
UP = f"""
with recursive kin (rid) as (
    select r.rid from resource r where r.rt = $1 and r.id = $2
    union
    select k & {VALUE_MASK} from kin
    cross join lateral (select r.keys from resource r where r.rid = kin.rid offset 0) as r
    cross join unnest(r.keys) as k
    where k >= $3::bigint << {VALUE_BITS} and k < ($3::bigint + 1) << {VALUE_BITS}
)
select rid from kin limit $4
"""


@dataclass(slots=True)
class Deferred:
    """Replaces deferred conditions; ``secret`` keys the hashes of the store."""

    definitions: Definitions
    secret: bytes

    async def settled(self, where: Predicate, fetch: Fetch, *, even: bool = False) -> Predicate:
        """``where`` without deferred leaves. Raises BadRequest for what is not known or fits too much.

        ``even``: what texts and uris come to looks the same whether any of them fits or none.
        """
        leaves = deferred_in(where)
        if not leaves:
            return where
        found = await self._measures([each for each in leaves if isinstance(each, Measure)], fetch)
        inside: dict[str, int] | None = None
        for leaf in leaves:
            if isinstance(leaf, Contained):
                if inside is None:
                    inside = Counter(row["text"] for row in await fetch(INSIDE, PLACE))
                found[leaf] = await self._contained(leaf, inside, fetch)
            elif leaf not in found:
                found[leaf] = await self._settle(leaf, fetch, even)
        whole: Predicate = replaced(where, found)
        return whole if inside is None else without_nothing(whole)

    async def _contained(self, asked: Contained, inside: dict[str, int], fetch: Fetch) -> Predicate:
        """What is asked of contained resources, if any store has such; ``inside`` tells how many of a type."""
        if not inside.get(asked.type):
            return Or(())
        part: Any = await spelt_out(await self._plain(asked.part, fetch), fetch)
        try:
            return reached(replace(asked, part=part), inside, self.secret)
        except Beyond:
            if asked.pid:
                return Or(())
            text = (
                "Contained resources are not found by id, by texts and presence, by hierarchies, or by what they refer"
                " to outside; leave that criterion out."
            )
            raise BadRequest(Issue("not-supported", text)) from None

    async def _plain(self, where: Predicate, fetch: Fetch) -> Predicate:
        """``where`` with what lies in contained resources left as it is, and all else settled."""
        found: dict[Predicate, Predicate] = {
            leaf: await self._settle(leaf, fetch)
            for leaf in deferred_in(where)
            if not isinstance(leaf, Contained | Spoken | Worded | Kin)
        }
        return replaced(where, found)

    async def _settle(self, leaf: Predicate, fetch: Fetch, even: bool = False) -> Predicate:
        match leaf:
            case Measure():
                return await self._measure(leaf, fetch)
            case Worded():
                paths = tuple((leaf.pid, *path) for path in leaf.paths)
                return await self._called((leaf.pid,), leaf.words, paths, fetch, even=even)
            case Spoken():
                return await self._spoken(leaf, fetch, even)
            case Below():
                keys = await self._below(leaf, fetch)
                return Keys(rounded(keys, leaf.pid) if even else keys)
            case Kin():
                rt = self.definitions.type_number[leaf.type]
                rows = await fetch(UP if leaf.above else DOWN, rt, leaf.id, leaf.by, KIN + 1)
                _bounded(rows, KIN, f"{leaf.type}/{leaf.id} has too many parts")
                return Keys(tuple(leaf.pid << VALUE_BITS | row["rid"] for row in rows))
            case Concepts():
                members = await self._concepts(leaf, fetch)
                _bounded(members, MOST, f"{leaf.of} has too many codes")
                spellings = concept_spellings(leaf.ways, sorted(members), self.definitions)
                return Keys(tuple(hashed_key(leaf.pid, each, self.secret) for each in spellings))
        raise TypeError(leaf)

    async def _measure(self, asked: Measure, fetch: Fetch) -> Predicate:
        return (await self._measures([asked], fetch))[asked]

    async def _measures(self, asked: Sequence[Measure], fetch: Fetch) -> dict[Predicate, Predicate]:
        """All of them, by one look at the units that are in use."""
        units = {each: unit for each in asked if (unit := ucum.read(each.code)) is not None}
        names = sorted({unit.name for unit in units.values()})
        rows = await fetch(UNITS_OF, UNITS, names) if names else ()
        known: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            known.setdefault(row["text"], []).append((row["raw"], row["key"]))
        return {
            each: in_units(each, sorted(known.get(units[each].name, ())) if each in units else ())
            for each in asked
        }

    async def _spoken(self, asked: Spoken, fetch: Fetch, even: bool) -> Predicate:
        kept = Words(asked.word, asked.narrative_only)
        if asked.narrative_only:
            return kept
        called = await self._called(asked.pids, asked.word, asked.paths, fetch, asked.pid, even=even)
        return Or((kept, called))

    async def _called(
        self,
        pids: tuple[int, ...],
        words: str,
        paths: tuple[tuple[int, str, str], ...],
        fetch: Fetch,
        own: int = 0,
        *,
        even: bool,
    ) -> Predicate:
        """A token of one of ``pids`` is described by a text with a word that starts with ``words``."""
        escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        rows = await fetch(WORDED, [*pids, own], escaped, PHRASES + 1)
        _bounded(rows, PHRASES, f"The text '{words[:40]}' fits too many codes")
        if not rows and not even:
            return Or(())
        # A code may be called differently elsewhere: what counts is the text in the resource. The keys of ``own``
        # are those of the texts themselves.
        exact = sorted({row["key"] for row in rows if row["pid"] == own})
        coded = sorted({row["key"] for row in rows if row["pid"] != own})
        texts = sorted({row["raw"] for row in rows if row["pid"] != own})
        if even:
            exact, coded = list(rounded(exact, own)) if own else [], list(rounded(coded, (*pids, own)[0]))
        parts: list[Predicate] = [Keys(tuple(exact))] if exact else []
        if coded:
            # Where a text of a parameter stands that has no such text, there is none.
            having = set(pids) if even else {row["pid"] for row in rows}
            places = dict.fromkeys((column, path) for pid, column, path in paths if pid in having)
            parts.append(And((Keys(tuple(coded)), Says(tuple(places), tuple(texts)))))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    async def _below(self, asked: Below, fetch: Fetch) -> tuple[int, ...]:
        stem = asked.uri.rstrip("/")
        escaped = stem.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        deeper = [escaped + ".%"] if "|" in stem else [escaped + "/%", escaped + "|%"]
        rows = await fetch(BELOW, asked.pid, stem, [asked.uri, stem], deeper, PHRASES + 1)
        _bounded(rows, PHRASES, f"Too many urls are below {asked.uri[:100]}")
        return tuple(sorted({row["key"] for row in rows}))

    # -- terminology -----------------------------------------------------------------------------------------

    async def _concepts(self, asked: Concepts, fetch: Fetch) -> set[Code]:
        if asked.relation == "in":
            return await self._value_set(asked.of, fetch)
        system, _, code = asked.of.partition("|")
        document = await self._canonical("CodeSystem", system, fetch)
        if document is None:
            raise not_known(
                f"The code system {system[:200]} is not known here; store it as a CodeSystem resource."
            )
        codes = hierarchy(document)
        if code not in codes.parents:
            raise not_known(f"The code system {system[:200]} has no code '{code[:80]}'.")
        found = codes.descendants(code) if asked.relation == "below" else codes.ancestors(code)
        return {(system, each) for each in found}

    async def _value_set(self, of: str, fetch: Fetch) -> set[Code]:
        """The codes of a value set named by its url or as ``ValueSet/id``; what it builds on is fetched as needed."""
        value_sets: dict[str, Any] = {}
        code_systems: dict[str, Any] = {}
        if of.startswith("ValueSet/"):
            rows = await fetch(BY_ID, self.definitions.type_number["ValueSet"], of.removeprefix("ValueSet/"))
            if rows:
                value_sets[of] = json.parse(rows[0]["content"].encode())
        for _ in range(20):
            missing = Missing()
            shelf = Shelf(value_sets, code_systems, self.definitions.value_set)
            found = expanded(of, shelf, missing)
            if not missing.value_sets and not missing.code_systems:
                return found
            for url in missing.value_sets:
                value_sets[url] = await self._known("ValueSet", url, fetch)
            for url in missing.code_systems:
                code_systems[url] = await self._known("CodeSystem", url, fetch)
        raise not_known(f"The value set {of[:200]} is built on too many others.")

    async def _known(self, type: str, url: str, fetch: Fetch) -> dict[str, Any]:
        document = await self._canonical(type, url, fetch)
        if document is None:
            what = "value set" if type == "ValueSet" else "code system"
            raise not_known(f"The {what} {url[:200]} is not known here; store it as a {type} resource.")
        return document

    async def _canonical(self, type: str, url: str, fetch: Fetch) -> dict[str, Any] | None:
        """The stored ``type`` with the canonical ``url`` (``|version`` possible), the newest if there are several."""
        plain, _, version = url.partition("|")
        # The rows of CodeSystem?url stand under its parameter system, which is the same.
        parameters = self.definitions.search_parameters(type)
        pids = [parameters[code].pid for code in ("url", "system") if code in parameters]
        for row in await fetch(BY_KEY, [hashed_key(pid, plain, self.secret) for pid in pids]):
            document = json.parse(row["content"].encode())
            if not version or document.get("version") == version:
                return document
        return None


def _bounded(found: Sequence[Any] | set[Any], most: int, text: str) -> None:
    if len(found) > most:
        raise BadRequest(Issue("too-costly", f"{text} (more than {most}); ask for something narrower."))


def deferred_in(where: Any) -> list[Predicate]:
    """The deferred leaves of ``where``."""
    parts: Sequence[Any] = getattr(where, "parts", ()) or ([where.part] if hasattr(where, "part") else [])
    if isinstance(where, DEFERRED):
        return [where]
    return [leaf for part in parts for leaf in deferred_in(part)]


def replaced(where: Predicate, found: dict[Predicate, Predicate]) -> Predicate:
    """``where`` with its leaves exchanged."""
    result: Predicate = rewritten(where, lambda leaf: found.get(leaf, leaf))
    return result
