"""Conditions in words, by the names of their parameters: for explanations and refusals."""

from __future__ import annotations

from fhirhub.definitions.tables import Definitions
from fhirhub.search.predicate import (
    And,
    Chain,
    Has,
    Ids,
    Keys,
    Near,
    Not,
    OfType,
    Or,
    Points,
    Present,
    Refers,
    Says,
    Text,
    Updated,
    Words,
)
from fhirhub.search.rows import VALUE_BITS, key_pid
from fhirhub.store.ranges import Condition, Range
from fhirhub.store.texts import Found

SHOWN = 4
"""Alternatives that are named one by one."""


def described(definitions: Definitions, part: Condition) -> str:
    """``part`` in words; no values, which may be patient data."""

    def name(pid: int) -> str:
        known = definitions.by_pid
        return known[pid].code if pid in known else "a reference"

    match part:
        case Keys(keys):
            names = " or ".join(dict.fromkeys(name(key_pid(key)) for key in keys))
            return f"{len(keys)} value(s) of {names}"
        case Refers(pid, targets):
            return f"{name(pid)} refers to {len(targets)} resource(s)"
        case Range(table, key):
            return f"{table} {name(key >> VALUE_BITS)} in a range"
        case Found(key, match):
            return f"{len(part.among)} value(s) of {name(key >> VALUE_BITS)} by {match}"
        case Text(key, match):
            return f"{match} text of {name(key >> VALUE_BITS)}"
        case Present(pid):
            return f"{name(pid)} is there"
        case Ids(ids):
            return f"{len(ids)} id(s)"
        case Not(inner):
            return f"not ({described(definitions, inner)})"
        case Or(parts):
            more = f"; {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
            return "any of " + "; ".join(described(definitions, each) for each in parts[:SHOWN]) + more
        case And(parts):
            return " and ".join(described(definitions, each) for each in parts)
        case Words():
            return "a word of the text"
        case Says():
            return "the text as it stands in the document"
        case Updated():
            return "the time of the last change"
        case Near():
            return "the distance"
        case OfType(types):
            return f"one of {len(types)} types"
        case Chain(pid, type_, inner):
            return f"the chain {name(pid)}:{type_}.({described(definitions, inner)})"
        case Has(type_, pid, inner):
            return f"_has:{type_}:{name(pid)}:({described(definitions, inner)})"
        case Points(pid):
            return f"what {name(pid)} points to"
    raise TypeError(part)
