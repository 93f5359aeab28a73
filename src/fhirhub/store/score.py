"""How well a match fits, from 0 to 1: https://hl7.org/fhir/R4/search.html#score, ``Bundle.entry.search.score``.

Only what can fit more or less has a score: the nearer the better, the more of a name is what was asked for the
better, in the narrative rather than elsewhere. Alternatives add up (two of the words are better than one), criteria
that must all hold are averaged; all others have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fhirhub.errors import BadRequest, Issue
from fhirhub.search.predicate import And, Near, Not, Or, Text, Words
from fhirhub.store.predicates import Candidate, Compiler
from fhirhub.store.ranges import Condition
from fhirhub.store.statement import table

ELSEWHERE = 0.5
"""A word that is not in the narrative, but in another text, or in that of a code."""


def scored(compiler: Compiler, parts: Sequence[Condition], of: Candidate) -> str:
    """The score of the candidate by the conditions that must all hold. Raises BadRequest when none of them has one."""
    found = [each for part in parts if (each := score(compiler, part, of)) is not None]
    if not found:
        text = "Nothing here fits more or less: sort by _score with near, _text, _content or a text."
        raise BadRequest(Issue("not-supported", text, expression="_sort"))
    return f"(({' + '.join(found)}) / {len(found)})::double precision"


def score(compiler: Compiler, where: Condition, of: Candidate) -> str | None:
    """The score of the candidate as an SQL expression; None for a condition that has none."""
    match where:
        case Near():
            distance = compiler.distance(where, of)
            reach = compiler.arguments.add(max(where.reach, 1e-9), "double precision")
            return f"greatest(0, 1 - {distance} / {reach})"
        case Text():
            return _text(compiler, where, of)
        case Words():
            row = compiler.alias()
            narrative, either = compiler.words(Words(where.word, True), row), compiler.words(where, row)
            return (
                f"coalesce((select case when {narrative} then 1.0 else {ELSEWHERE} end from"
                f" {table('words', of.rt)} {row} where {row}.rid = {of.rid} and {either} limit 1), 0)"
            )
        case Not(Not(part)):
            return score(compiler, part, of)
        case And(parts):
            found = [each for part in parts if (each := score(compiler, part, of)) is not None]
            return f"(({' + '.join(found)}) / {len(found)})" if found else None
        case Or(parts):
            scores = [score(compiler, part, of) for part in parts]
            if all(each is None for each in scores):
                return None
            known = [
                each or f"(case when {compiler.test(part, of)} then {ELSEWHERE} else 0 end)"
                for part, each in zip(parts, scores, strict=True)
            ]
            return f"(1 - {' * '.join(f'(1 - {each})' for each in known)})"
    return None


def _text(compiler: Compiler, where: Text, of: Candidate) -> str:
    row = compiler.alias()
    length = compiler.arguments.add(float(len(where.text)), "double precision")
    return (
        f"coalesce((select max({length} / greatest(length({row}.text), 1)) from {table('string', of.rt)} {row}"
        f" where {row}.rid = {of.rid} and {compiler.condition(where, row)}), 0)"
    )
