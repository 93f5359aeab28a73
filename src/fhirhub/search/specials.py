"""The parameters that are not about one element: ``_text``, ``_content``, ``_list``, ``_filter`` and ``near``.

https://hl7.org/fhir/R4/search.html#special
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from fhirhub.search.filter_expression import Tools, filtered
from fhirhub.search.fulltext import question
from fhirhub.search.parameters import near
from fhirhub.search.parameters.base import Facet, Query, any_of, negated, refuse, shortened, split, unescape
from fhirhub.search.parameters.special import SPECIAL
from fhirhub.search.predicate import Has, Ids, Predicate, Present, Spoken
from fhirhub.search.registry import Registry
from fhirhub.search.sorting import text_paths

_LIST = re.compile(r"(?:List/)?([A-Za-z0-9\-.]{1,64})", re.ASCII)


@dataclass(slots=True)
class Specials:
    """Parses special parameters; ``tools`` are the parser of all others."""

    registry: Registry
    tools: Tools
    _spoken: dict[str, tuple[tuple[int, ...], tuple[tuple[int, str, str], ...]]] = field(default_factory=dict)

    def serves(self, type: str, code: str) -> bool:
        """Whether ``code`` is one of them, on ``type``."""
        return code in SPECIAL and code in self.registry.definitions.search_parameters(type)

    def predicate(
        self, type: str, code: str, modifier: str, value: str, query: Query, depth: int
    ) -> Predicate:
        """The criterion ``code=value`` on ``type``."""
        expression = f"{type}?{code}"
        if code == near.CODE and modifier == "missing" and value in ("true", "false"):
            present = Present(self.registry.definitions.search_parameters(type)[code].pid)
            return present if value == "false" else negated(present)
        if modifier:
            raise refuse(expression, f"{code} has no modifier {shortened(modifier)!r}", "not-supported")
        if not value.strip():
            raise refuse(expression, f"{code} needs a value")
        by_code: dict[str, Callable[[], Predicate]] = {
            "_text": lambda: question(expression, value, lambda word: Spoken(word, True)),
            "_content": lambda: question(expression, value, self._word_of(type)),
            "_list": lambda: self._list(type, value),
            "_filter": lambda: filtered(type, value, self.tools, query, depth),
            near.CODE: lambda: near.parse(
                expression,
                self.registry.definitions.search_parameters(type)[code].pid,
                split(value, ","),
                query,
            ),
        }
        return by_code[code]()

    def _word_of(self, type: str) -> Callable[[str], Predicate]:
        known = self._spoken.get(type)
        if known is None:
            facets = [f for f in self.registry.facets(type).values() if f.kind == "token" and not f.aliases]
            described = [(facet.pid, text_paths(facet)) for facet in facets if text_paths(facet)]
            paths = dict.fromkeys((pid, *path) for pid, each in described for path in each)
            known = self._spoken[type] = tuple(pid for pid, _ in described), tuple(paths)
        pids, paths_of = known
        pid = self.registry.definitions.search_parameters(type)["_content"].pid
        return lambda word: Spoken(word, False, pid, pids, paths_of)

    def _list(self, type: str, value: str) -> Predicate:
        """What the items of a List refer to."""
        expression = f"{type}?_list"
        ids: list[str] = []
        for piece in split(value, ","):
            found = _LIST.fullmatch(unescape(piece).strip())
            if found is None:
                what = (
                    "functional lists such as $current-problems are not kept here"
                    if piece[:1] == "$"
                    else "no id"
                )
                raise refuse(expression, f"{shortened(piece)!r}: {what}; write the id of a List")
            ids.append(found[1])
        links = self.registry.references("List", "item")
        return any_of([Has("List", link.pid, Ids(tuple(ids))) for link in links])


def bases_of(registry: Registry, facet: Facet) -> list[Facet]:
    """The facets whose rows answer for ``facet``: itself, or those it is an alias of."""
    return [registry.facet(alias.pid) for alias in facet.aliases] or [facet]
