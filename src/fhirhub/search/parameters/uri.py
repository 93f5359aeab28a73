"""URI parameters: https://hl7.org/fhir/R4/search.html#uri

Equal to the letter, by hash. A canonical with a version (``http://…|1.0``) is also found without it. Each uri stands
once in the dictionary of phrases, for searches by hierarchy: ``:below`` finds what begins with the segments of a url,
``:above`` what a url begins with; where a version is asked for, the hierarchy is that of its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhirhub.fhirpath.compile import Route
from fhirhub.search.keeping import keeping
from fhirhub.search.parameters.base import Context, Emit, Facet, Query, any_of, refuse, shortened, unescape
from fhirhub.search.predicate import Below, Keys, Predicate
from fhirhub.search.rows import Phrase, Rows, hashed_key, phrase

MODIFIERS = ("above", "below")
URI_LENGTH = 500
"""Characters of a uri that the dictionary keeps."""
_TYPES = frozenset(("uri", "url", "oid", "uuid", "canonical"))


def uri_spellings(value: str, type_name: str) -> tuple[str, ...]:
    """What a uri is hashed as: itself, and a canonical also without its version."""
    if type_name == "canonical" and "|" in value:
        return value, value.partition("|")[0]
    return (value,)


@keeping(16384, text=1)
def _filed(pid: int, text: str, secret: bytes) -> tuple[int, int, Phrase]:
    """Key and phrase of one spelling of a uri."""
    key = hashed_key(pid, text, secret)
    return key, *phrase(pid, text[:URI_LENGTH], "", key)


def add_uri(pid: int, value: str, type_name: str, rows: Rows, secret: bytes) -> None:
    """The rows of one uri."""
    rows.params.add(pid)
    for spelling in uri_spellings(value, type_name):
        key, hashed, found = _filed(pid, spelling, secret)
        rows.tokens.add(key)
        rows.phrases[hashed] = found


def indexer(pid: int, route: Route, secret: bytes) -> Emit | None:
    """The emitter for values at the end of ``route``; None when uris are not made of that type."""
    type_name = route.type_name
    if type_name not in _TYPES:
        return None

    def emit(value: Any, rows: Rows, context: Context) -> None:
        if type(value) is str:
            add_uri(pid, value, type_name, rows, secret)

    return emit


def _ancestors(uri: str) -> list[str]:
    """``uri`` and all that it is below, with and without a final slash."""
    url, bar, version = uri.partition("|")
    if bar:
        pieces = version.split(".")
        return [f"{url}|{'.'.join(pieces[:n])}" for n in range(len(pieces), 0, -1)]
    found = [url]
    scheme, _, rest = url.rstrip("/").partition("://")
    segments = rest.split("/")
    for n in range(len(segments), 0, -1):
        shorter = f"{scheme}://{'/'.join(segments[:n])}"
        found += [shorter, shorter + "/"]
    return list(dict.fromkeys(found))


def related(facet: Facet, modifier: str, texts: Sequence[str], query: Query) -> Predicate:
    """``:above`` and ``:below`` of any of ``texts``."""
    for text in texts:
        if "://" not in text:
            what = f"{facet.code}:{modifier} is for urls; {shortened(text)!r} has no path of segments"
            raise refuse(facet.expression, what)
    if modifier == "below":
        return any_of([Below(facet.pid, text[:URI_LENGTH]) for text in texts])
    spellings = dict.fromkeys(each for text in texts for each in _ancestors(text))
    return Keys(tuple(hashed_key(facet.pid, each, query.secret) for each in spellings))


def parse(facet: Facet, modifier: str | None, values: Sequence[str], query: Query) -> Predicate:
    """Any of ``values``."""
    texts = [unescape(text).strip() for text in values]
    if not all(texts):
        raise refuse(facet.expression, f"{facet.code} needs a uri")
    if modifier is not None:
        return related(facet, modifier, texts, query)
    return Keys(tuple(dict.fromkeys(hashed_key(facet.pid, text, query.secret) for text in texts)))
