"""A search in words, for whoever makes it: how each criterion was understood, and which index knows of it.

No values, which may tell of a patient, and nothing that depends on what is stored.
"""

from __future__ import annotations

from typing import Any

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import (
    And,
    Below,
    Chain,
    Cited,
    Cites,
    Concepts,
    Contained,
    Has,
    Ids,
    Keys,
    Kin,
    Measure,
    Near,
    Not,
    OfType,
    Or,
    Present,
    Quantity,
    Refers,
    Says,
    Span,
    Spoken,
    Text,
    Updated,
    Worded,
    Words,
)
from fhirhub.search.rows import key_pid

TOKEN, RESOURCE, NONE = "token", "resource", "none"
_TEXTS = {"equals": "is the text", "prefix": "begins with the text", "contains": "contains the text",
          "suffix": "ends with the text"}  # fmt: skip
_CONCEPTS = {"in": "is a code of the value set", "below": "is the code or one below it",
             "above": "is the code or one above it"}  # fmt: skip


def said(definitions: Definitions, where: Any) -> str:
    """``where``, as it was parsed, in words."""

    def name(pid: int) -> str:
        known = definitions.by_pid
        return known[pid].code if pid in known else "a reference"

    def inner(part: Any) -> str:
        return said(definitions, part)

    match where:
        case And(parts):
            return " and ".join(_once(map(inner, parts))) or "everything"
        case Or(parts):
            told = [text for text in _once(map(inner, parts)) if text != "nothing"]
            return f"({' or '.join(told)})" if len(told) > 1 else told[0] if told else "nothing"
        case Not(part):
            return f"not ({inner(part)})"
        case Chain(pid, type, part):
            return f"{name(pid)} leads to a {type} of which {inner(part)}"
        case Has(type, pid, part):
            return f"a {type} refers to it by {name(pid)}, of which {inner(part)}"
        case Cites(pid, type, part):
            return f"{name(pid)} holds the url of a {type} of which {inner(part)}"
        case Cited(type, pid, part):
            return f"a {type} holds its url as {name(pid)}, of which {inner(part)}"
        case Contained(pid, type, part):
            by = f"by {name(pid)}, " if pid else ""
            return f"{by}it contains a {type} of which {inner(part)}"
        case Keys(keys, codes):
            return " or ".join(_once(name(key_pid(key)) for key in (*keys, *codes))) + " has the value"
        case Text(key, match):
            return f"{name(key_pid(key))} {_TEXTS[match]}"
        case Span(key):
            return f"{name(key_pid(key))} is in the range of time"
        case Quantity(key) | Measure(key):
            return f"{name(key_pid(key))} is in the range of numbers"
        case Concepts(pid, relation):
            return f"{name(pid)} {_CONCEPTS.get(relation, relation)}"
        case Refers() | Worded() | Below() | Kin() | Present():
            return f"{name(where.pid)} {_of_pid(where)}"
    return _of_resource(where)


def _of_pid(leaf: Refers | Worded | Below | Kin | Present) -> str:
    match leaf:
        case Refers():
            return "refers to what is named"
        case Worded():
            return "is described by the words"
        case Below():
            return "is the uri or one below it"
        case Kin(above=above):
            return f"refers to what is named or to what is {'above' if above else 'below'} it"
    return "is there"


def _of_resource(leaf: Any) -> str:
    match leaf:
        case Words() | Spoken():
            return "its text holds the word"
        case Says():
            return "the document says it to the letter"
        case Near():
            return "it is near the place"
        case Ids():
            return "it has the id"
        case OfType():
            return "it is of the type"
        case Updated():
            return "it was last changed in the range of time"
    return "what you may see"


def _once(texts: Any) -> list[str]:
    return list(dict.fromkeys(texts))


def indexes(where: Any) -> list[str]:
    """The indexes that know of ``where``: ``token``, ``string``, ``date``, ``number``, ``words``, ``resource``; ``none``
    for what each candidate has to be looked at for."""
    match where:
        case And(parts) | Or(parts):
            return _once(each for part in parts for each in indexes(part))
        case Chain(part=part) | Has(part=part) | Cites(part=part) | Cited(part=part) | Contained(part=part):
            return _once([TOKEN, *indexes(part)])
        case Keys() | Refers() | Concepts() | Below() | Kin() | Worded():
            return [TOKEN]
        case Text():
            return ["string"]
        case Span():
            return ["date"]
        case Quantity() | Measure():
            return ["number"]
        case Words() | Spoken():
            return ["words"]
        case Ids() | Updated() | OfType():
            return [RESOURCE]
    return [NONE]
