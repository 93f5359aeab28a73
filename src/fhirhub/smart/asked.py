"""What an app asks for, what of it the app may have, and what a person makes of it on the consent page.

Scopes stay texts until the token is made: the boxes of the page carry them. What was asked for in SMART v1 stays in v1:
https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from fhirhub.auth.criteria import Criteria
from fhirhub.auth.negotiation import negotiate
from fhirhub.auth.scope import Scope, ScopeError, narrowed, parse
from fhirhub.definitions.tables import load
from fhirhub.search.keeping import keeping
from fhirhub.search.parse import SearchParser
from fhirhub.smart.categories import CATEGORIES, TYPES

PLAIN = {
    "launch": "Know what is open in the record right now",
    "launch/patient": "Know which patient it is about",
    "launch/encounter": "Know which visit it is about",
    "openid": "Know who you are",
    "fhirUser": "See your entry in the record's list of people",
    "profile": "See your name",
    "offline_access": "Keep access when you are not using it, until you end it",
    "online_access": "Keep access while you are signed in",
}
"""Scopes that are no access to resources, and what they let the app do."""
_VERBS = (("c", "add"), ("r", "read"), ("s", "search"), ("u", "change"), ("d", "delete"))


@keeping(4096)
def understood(word: str) -> Scope | None:
    """The scope ``word``; None when it means nothing here."""
    try:
        scope = parse(word)
    except ScopeError:
        return None
    if not scope.is_resource:
        return scope if scope.type in PLAIN else None
    if scope.type == "*" and scope.query:
        # No parameter worth asking for is one of all types; to look on each would be work that anybody could order.
        return None
    try:
        _criteria().check(scope)
    except ScopeError:
        return None
    return scope


@lru_cache(maxsize=1)
def _criteria() -> Criteria:
    """Tells which types and queries mean something; it keys nothing, so its secret is of no account."""
    return Criteria(SearchParser(load(), bytes(32)))


def words(text: str) -> list[str]:
    """The scopes of a text, each once."""
    return list(dict.fromkeys(text.split()))


def means_something(word: str) -> bool:
    """Whether ``word`` is a scope of ours."""
    return understood(word) is not None


def opens(word: str) -> bool:
    """Whether ``word`` by itself lets an app do anything: read a resource, or know who signed in."""
    scope = understood(word)
    return scope is not None and (scope.is_resource or word == "openid")


def needs_patient(asked: Iterable[str]) -> bool:
    """Whether these scopes mean one patient, who has to be known."""
    return any(word == "launch/patient" or word.startswith("patient/") for word in asked)


def allowed(asked: Iterable[str], registered: str, *, launched: bool) -> list[str]:
    """What a client that is ``registered`` for some scopes may ask a person for, of what it asks.

    ``launch`` and ``launch/encounter`` mean something in an EHR launch only (nobody is asked for a visit otherwise),
    ``system/`` scopes nothing where a person is asked.
    """
    own = [scope for word in words(registered) if (scope := understood(word)) is not None]
    wanted = [
        scope for word in asked if (scope := understood(word)) is not None and _asks_a_person(scope, launched)
    ]
    return [scope.text for scope in negotiate(wanted, own)]


def _asks_a_person(scope: Scope, launched: bool) -> bool:
    return scope.level != "system" and (launched or scope.type not in ("launch", "launch/encounter"))


def parts(word: str) -> list[tuple[str, str]]:
    """Narrower scopes that a person may choose instead of ``word``: (scope, what it is)."""
    scope = understood(word)
    if scope is None or not scope.is_resource or scope.query:
        return []
    if scope.type == "*":
        return [(narrowed(scope, type=type).text, text) for type, text in TYPES.items()]
    found = []
    for query, text in CATEGORIES.get(scope.type, ()):
        name, _, value = query.partition("=")
        found.append((replace(scope, query=((name, value),), v1=False).text, text))
    return found


def answered(asked: Sequence[str], ticked: Iterable[str], chosen: Iterable[str]) -> list[str] | None:
    """The scopes a person allowed: those ``ticked``, each replaced by its ``chosen`` parts (``scope part``) if any.

    None when the answer holds what the page did not offer.
    """
    instead: dict[str, list[str]] = {}
    for choice in chosen:
        word, _, part = choice.partition(" ")
        if word not in asked or part not in dict(parts(word)):
            return None
        instead.setdefault(word, []).append(part)
    kept = list(ticked)
    if not set(kept) <= set(asked):
        return None
    found = [part for word in asked if word in kept for part in instead.get(word, [word])]
    return list(dict.fromkeys(found))


def plain(word: str) -> str:
    """``word`` as people say it."""
    scope = understood(word)
    if scope is None or not scope.is_resource:
        return PLAIN.get(word, word)
    # Who may read may search as well, as people see it.
    letters = scope.letters.replace("s", "") if "r" in scope.letters else scope.letters
    verbs = [verb for letter, verb in _VERBS if letter in letters]
    doing = f"{', '.join(verbs[:-1])} and {verbs[-1]}" if len(verbs) > 1 else verbs[0]
    return f"{doing.capitalize()}: {_of(scope)}"


def _of(scope: Scope) -> str:
    if scope.type == "*":
        return (
            "everything in the record" if scope.level == "patient" else "everything you may see in the record"
        )
    if scope.query:
        query = "&".join(f"{name}={value}" for name, value in scope.query)
        known = dict(CATEGORIES.get(scope.type, ())).get(query)
        return known or f"{TYPES.get(scope.type, scope.type)}, where {query}"
    return TYPES.get(scope.type, scope.type)
