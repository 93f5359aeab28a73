"""The access policies as data: ``capability/policies/*.toml``, and the policy that a client may carry.

What a role may do is the union of its rules; what no rule names is refused. Hidden and writable elements stand apart
from the rules, one list for each type, so that no two rules can disagree about them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fhirhub.auth.scope import LETTERS

Elements = Mapping[str, frozenset[str]]
"""Resource type -> names of top-level elements."""
FILES = ("roles.toml", "compartment.toml", "labels.toml")
PLACEHOLDERS = ("{patient}", "{fhirUser}")
"""What may stand in criteria: the id of the patient the user is, or the launch is on; the user's own resource."""
MAX_RULES = 200
_ORGANIZATION = re.compile(r"Organization/[A-Za-z0-9.-]{1,64}", re.ASCII)


class PolicyError(ValueError):
    """A policy that cannot be applied; the message says where, and what stands there instead."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Some interactions with resources of some types."""

    name: str
    """Where it stands: ``practitioner rule 2``."""
    types: tuple[str, ...]
    may: str
    """Letters of c r u d s."""
    where: str = ""
    """A search query without the type: only resources that it finds."""
    own: bool = False
    """Only resources in the user's own Patient compartment."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """What a role (or a client) may do."""

    name: str
    title: str = ""
    why: str = ""
    rules: tuple[Rule, ...] = ()
    hidden: Elements = field(default_factory=dict)
    writable: Elements = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    """Names of the label rules that do not apply; ``*`` for all. Only clients have them here."""
    organization: str = ""
    """``Organization/1`` that a client belongs to, for consents; empty when that is not known."""


@dataclass(frozen=True, slots=True)
class Label:
    """Security labels, and who may see what carries one of them."""

    name: str
    codes: tuple[str, ...]
    """``system|code`` each."""
    roles: frozenset[str]
    glass: frozenset[str]
    """Roles that may when they have broken the glass."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Boundary:
    """How ``patient/`` scopes read the Patient compartment."""

    about: frozenset[str]
    only: Mapping[str, tuple[str, ...]]
    also: Mapping[str, tuple[str, ...]]
    shared: frozenset[str]
    by_context: frozenset[str] = frozenset()
    """Types whose resources name the one whose rules hold for them (Binary.securityContext)."""
    through: Mapping[str, str] = field(default_factory=dict)
    """Type -> reference parameter: a resource is of the record that all it points to belongs to (Provenance.target)."""


@dataclass(frozen=True, slots=True)
class Policies:
    """All of it."""

    roles: Mapping[str, Role]
    groups: Mapping[str, tuple[str, ...]]
    labels: tuple[Label, ...]
    boundary: Boundary
    opaque: frozenset[str]
    """Types that a consent's denial by code withholds as a whole."""
    recorded: frozenset[str]
    """Types that labels and consents do not concern."""
    types: tuple[str, ...]
    """All resource types, for ``*``."""

    def client(self, policy: Mapping[str, Any] | None) -> Role | None:
        """The policy of a client; None when it is confined to its scopes only. Raises PolicyError."""
        if not policy:
            return None
        names = {"rules", "hidden", "writable", "labels", "title", "why", "organization"}
        _only(policy, names, "the client's policy")
        organization = policy.get("organization", "")
        if not isinstance(organization, str) or (organization and not _ORGANIZATION.fullmatch(organization)):
            raise PolicyError("the client's policy: organization is a reference, as in Organization/1")
        known = {label.name for label in self.labels} | {"*"}
        labels = frozenset(_strings(policy.get("labels", ()), "labels"))
        if labels - known:
            raise PolicyError(
                f"There is no label rule {_listed(labels - known)}; there are {_listed(known)}."
            )
        # A policy without rules says nothing about types: those are the scopes' to say.
        body = {"rules": [{"types": ["*"], "may": LETTERS}], **policy}
        return replace(_role("client", body, self.groups, self.types, labels), organization=organization)


def load(folder: Path, types: Collection[str]) -> Policies:
    """The policies in ``folder``, checked against the resource ``types`` there are. Raises PolicyError."""
    texts = {}
    for name in FILES:
        try:
            texts[name] = tomllib.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PolicyError(f"The policies in {folder / name} cannot be read: {error}") from error
    return read(texts["roles.toml"], texts["compartment.toml"], texts["labels.toml"], types)


def read(
    roles: Mapping[str, Any],
    compartment: Mapping[str, Any],
    labels: Mapping[str, Any],
    types: Collection[str],
) -> Policies:
    """The policies that these documents say."""
    every = tuple(types)
    groups = {name: _strings(some, f"group {name}") for name, some in roles.get("groups", {}).items()}
    for name, some in groups.items():
        _check_types(some, every, f"group {name}")
    described = roles.get("roles", {})
    made = {name: _role(name, body, groups, every) for name, body in described.items()}
    rules = tuple(_label(one, n) for n, one in enumerate(labels.get("labels", ()), 1))
    for label in rules:
        unknown = (label.roles | label.glass) - {*made, "system"}
        if unknown:
            raise PolicyError(f"label rule {label.name}: there is no role {_listed(unknown)}")
    opaque = _strings(labels.get("consent", {}).get("opaque", ()), "consent, opaque")
    recorded = _strings(labels.get("recorded", {}).get("types", ()), "recorded, types")
    _check_types((*opaque, *recorded), every, "labels.toml")
    boundary = _boundary(compartment, groups, every)
    return Policies(made, groups, rules, boundary, frozenset(opaque), frozenset(recorded), every)


def _role(
    name: str,
    body: Mapping[str, Any],
    groups: Mapping[str, tuple[str, ...]],
    types: tuple[str, ...],
    labels: frozenset[str] = frozenset(),
) -> Role:
    _only(body, {"title", "why", "rules", "hidden", "writable", "labels", "organization"}, name)
    given = body.get("rules", ())
    if not isinstance(given, (list, tuple)) or len(given) > MAX_RULES:
        raise PolicyError(f"{name}: rules is a list of at most {MAX_RULES} tables")
    rules = tuple(_rule(f"{name} rule {n}", one, groups, types) for n, one in enumerate(given, 1))
    hidden = _elements(body.get("hidden", {}), types, f"{name}, hidden")
    writable = _elements(body.get("writable", {}), types, f"{name}, writable")
    return Role(name, str(body.get("title", "")), str(body.get("why", "")), rules, hidden, writable, labels)


def _rule(name: str, body: Any, groups: Mapping[str, tuple[str, ...]], types: tuple[str, ...]) -> Rule:
    if not isinstance(body, Mapping):
        raise PolicyError(f"{name}: a rule is a table with types and may")
    _only(body, {"types", "may", "where", "own", "why"}, name)
    may = body.get("may", "")
    if not isinstance(may, str) or not may or may != "".join(x for x in LETTERS if x in may):
        raise PolicyError(f"{name}: may is some of the letters c r u d s, in this order, not {may!r}")
    where, own = body.get("where", ""), body.get("own", False)
    if not isinstance(where, str) or len(where) > 2000 or where[:1] == "?":
        raise PolicyError(f"{name}: where is a search query without type and ?, as in status=final")
    if not isinstance(own, bool):
        raise PolicyError(f"{name}: own is true or false")
    named = _expanded(_strings(body.get("types", ()), name), groups, types, name)
    return Rule(name, named, may, where, own, str(body.get("why", "")))


def _expanded(
    names: Iterable[str], groups: Mapping[str, tuple[str, ...]], types: tuple[str, ...], where: str
) -> tuple[str, ...]:
    """Types, ``@group`` and ``*`` as types."""
    found: dict[str, None] = {}
    for name in names:
        if name == "*":
            found.update(dict.fromkeys(types))
        elif name[:1] == "@":
            if name[1:] not in groups:
                raise PolicyError(f"{where}: there is no group {name}; there are {_listed(groups)}")
            found.update(dict.fromkeys(groups[name[1:]]))
        else:
            _check_types((name,), types, where)
            found[name] = None
    if not found:
        raise PolicyError(f"{where}: types is empty")
    return tuple(found)


def _label(body: Mapping[str, Any], number: int) -> Label:
    name = str(body.get("name", f"number {number}"))
    _only(body, {"name", "codes", "roles", "glass", "why"}, f"label rule {name}")
    codes = _strings(body.get("codes", ()), f"label rule {name}, codes")
    if not codes or not all(code.count("|") == 1 and all(code.split("|")) for code in codes):
        raise PolicyError(f"label rule {name}: codes are system|code each")
    roles = _strings(body.get("roles", ()), f"label rule {name}, roles")
    glass = _strings(body.get("glass", ()), f"label rule {name}, glass")
    return Label(name, codes, frozenset(roles), frozenset(glass), str(body.get("why", "")))


def _boundary(
    body: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]], types: tuple[str, ...]
) -> Boundary:
    _only(body, {"about", "only", "also", "shared", "by_context", "through"}, "compartment.toml")
    only, also, through = (
        _codes(body.get(key, {}), types, f"compartment.toml, {key}") for key in ("only", "also", "through")
    )
    if any(len(codes) != 1 for codes in through.values()):
        raise PolicyError("compartment.toml, through: one search parameter for each type")
    shared = _expanded(_strings(body.get("shared", ()), "shared"), groups, types, "shared")
    context = _strings(body.get("by_context", ()), "by_context")
    _check_types(context, types, "by_context")
    about = frozenset(_strings(body.get("about", ()), "about"))
    single = {type: codes[0] for type, codes in through.items()}
    return Boundary(about, only, also, frozenset(shared), frozenset(context), single)


def _codes(body: Any, types: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    """Resource type -> codes of search parameters."""
    if not isinstance(body, Mapping):
        raise PolicyError(f"{where}: a table of type = [search parameters]")
    _check_types(body, types, where)
    return {type: _strings(codes, f"{where} {type}") for type, codes in body.items()}


def _elements(body: Any, types: tuple[str, ...], where: str) -> dict[str, frozenset[str]]:
    if not isinstance(body, Mapping):
        raise PolicyError(f"{where}: a table of type = [elements]")
    _check_types(body, types, where)
    return {type: frozenset(_strings(names, f"{where} {type}")) for type, names in body.items()}


def _check_types(names: Iterable[str], types: Collection[str], where: str) -> None:
    unknown = set(names) - set(types)
    if unknown:
        raise PolicyError(f"{where}: {_listed(unknown)} is no resource type")


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one for one in value):
        raise PolicyError(f"{where}: a list of texts")
    return tuple(value)


def _only(body: Mapping[str, Any], names: set[str], where: str) -> None:
    if not isinstance(body, Mapping):
        raise PolicyError(f"{where}: a table")
    if set(body) - names:
        raise PolicyError(f"{where}: {_listed(set(body) - names)} is unknown; there are {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
