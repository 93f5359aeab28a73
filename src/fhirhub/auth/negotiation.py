"""What a client gets of the scopes it asks for: those it is registered for, and no more.

https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#scopes-for-requesting-fhir-resources
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fhirhub.auth.scope import LETTERS, MAX_CRITERIA, Scope, joined, known, narrowed


def negotiate(requested: Sequence[Scope], allowed: Sequence[Scope]) -> tuple[Scope, ...]:
    """What both lists allow, in the order of ``requested``, said as shortly as possible.

    Of a wildcard on one side and a type on the other the type is left, of letters those that both have; a query on
    either side stays, and those of both sides are to be fulfilled together. Other scopes are left when both lists
    have them. What comes of a scope in version 1 is named in version 1 if it can be.
    """
    kept: list[Scope] = []
    for wanted in requested:
        found = [both for one in allowed if (both := _common(wanted, one)) is not None]
        kept += _merged(found)
    return without_covered(kept)


def without_covered(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """``scopes`` without those that others of them allow anyway."""
    kept: list[Scope] = []
    for scope in scopes:
        if any(other.covers(scope) for other in kept):
            continue
        kept = [other for other in kept if not scope.covers(other)]
        kept.append(scope)
    return tuple(kept)


def covered(scope: Scope, own: Sequence[Scope]) -> bool:
    """Whether ``own`` scopes allow all of ``scope``, if need be one of them some of its letters and another the others."""
    if not scope.is_resource:
        return any(one.covers(scope) for one in own)
    single = [narrowed(scope, letters=letter) for letter in scope.letters]
    return all(any(one.covers(each) for one in own) for each in single)


def within(given: str, registered: str) -> str:
    """What of the scopes ``given`` is left to a client that is ``registered`` for others now; as it stands, if all is.

    Words that are no scopes are left out of both.
    """
    had, own = known(given)[0], known(registered)[0]
    return joined(had if all(covered(scope, own) for scope in had) else negotiate(had, own))


def _common(wanted: Scope, allowed: Scope) -> Scope | None:
    """What both allow; None for nothing."""
    if not wanted.level or not allowed.level:
        return wanted if wanted.text == allowed.text else None
    if wanted.level != allowed.level:
        return None
    if wanted.type == "*":
        type = allowed.type
    elif allowed.type in ("*", wanted.type):
        type = wanted.type
    else:
        return None
    letters = "".join(sign for sign in LETTERS if sign in wanted.letters and sign in allowed.letters)
    query = tuple(sorted({*wanted.query, *allowed.query}))
    if not letters or len(query) > MAX_CRITERIA:
        return None
    return Scope(wanted.level, type, letters, query, wanted.v1)


def _merged(scopes: Sequence[Scope]) -> list[Scope]:
    """``scopes`` with the letters of equal ones put together."""
    merged: dict[tuple[object, ...], Scope] = {}
    for scope in scopes:
        key = (scope.level, scope.type, scope.query)
        other = merged.get(key, scope)
        letters = "".join(sign for sign in LETTERS if sign in scope.letters or sign in other.letters)
        merged[key] = replace(other, letters=letters)
    return list(merged.values())
