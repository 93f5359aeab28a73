"""Search parameters of AuditEvent as conditions on the audit trail: https://hl7.org/fhir/R4/auditevent.html#search.

The trail is no resource table: what is not named here is unknown, and there are no chains, includes or ``_has``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fhirhub.errors import Issue
from fhirhub.search.filters import not_understood, suggestion
from fhirhub.search.limits import MAX_COUNT, MAX_NAME, MAX_VALUES
from fhirhub.search.parameters.base import NotUnderstood, refuse, shortened, split, too_costly, unescape
from fhirhub.search.parameters.date import bounds, parse_interval
from fhirhub.search.predicate import Bound
from fhirhub.search.results import IGNORED
from fhirhub.store.audit.event import ACTIONS, KINDS, OWN, RESTFUL, STANDARD, SUBTYPES, parse_id
from fhirhub.store.audit.search import Condition, Wanted

TYPE = "AuditEvent"
MAX_PATIENTS = 10
"""Patients that one search may name: ids of what it finds name their places."""
_NAME = re.compile(r"(?:([A-Z][A-Za-z]{1,63})/)?([A-Za-z0-9.\-]{1,64})(?:/_history/\d+)?")
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_SUMMARIES = ("true", "text", "data", "count", "false")
_TOTALS = ("none", "estimate", "accurate")
_NOTHING = Condition("nothing")


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as understood; ``applied`` are its parameters for the self link."""

    wanted: Wanted
    summary: str
    elements: tuple[str, ...]
    cursor: str
    applied: tuple[tuple[str, str], ...]
    notes: tuple[Issue, ...]


@dataclass(slots=True)
class _Reading:
    """What the parameters so far come to."""

    base: str
    now: int
    conditions: list[Condition] = field(default_factory=list)
    patients: frozenset[str] | None = None
    ascending: bool = False
    count: int = 20
    total: bool = False
    summary: str = "false"
    elements: tuple[str, ...] = ()
    cursor: str = ""

    def any_of(self, parts: Sequence[Condition]) -> None:
        """One of ``parts`` has to hold."""
        self.conditions.append(parts[0] if len(parts) == 1 else Condition(parts=tuple(parts)))


_Read = Callable[[_Reading, str, str, str], None]
"""(reading, name, modifier, value)"""


def asked(parameters: Sequence[tuple[str, str]], base: str, now: int, *, lenient: bool = False) -> Asked:
    """What ``parameters`` ask for; ``now`` in microseconds since 1970 UTC. Raises BadRequest as searches do."""
    reading = _Reading(base, now)
    applied: list[tuple[str, str]] = []
    notes: list[Issue] = []
    for name, value in parameters:
        if name in IGNORED:
            continue
        try:
            _read(reading, name, value)
        except NotUnderstood as error:
            if not lenient:
                raise
            notes += [
                replace(each, severity="warning", text=f"ignored: {each.text}") for each in error.issues
            ]
            continue
        if name != "_cursor":
            applied.append((name, str(reading.count) if name == "_count" else value))
    counting = reading.summary == "count" or reading.count == 0
    wanted = Wanted(
        tuple(reading.conditions), reading.patients, reading.ascending, 0 if counting else reading.count,
        total=reading.total or counting,
    )  # fmt: skip
    return Asked(wanted, reading.summary, reading.elements, reading.cursor, tuple(applied), tuple(notes))


def _read(reading: _Reading, name: str, value: str) -> None:
    head, _, modifier = name.partition(":")
    read = PARAMETERS.get(head) if len(name) <= MAX_NAME else None
    if read is None:
        known = ", ".join(sorted(PARAMETERS))
        text = f"AuditEvent has no search parameter {shortened(head)!r}{suggestion(head, PARAMETERS)} (it has {known})"
        raise not_understood(f"{TYPE}?{shortened(head)}", text)
    if modifier and modifier not in _MODIFIERS.get(head, ()):
        raise not_understood(
            f"{TYPE}?{head}", f"{head} of AuditEvent takes no modifier {shortened(modifier)!r}"
        )
    read(reading, head, modifier, value)


def _values(name: str, value: str, most: int = MAX_VALUES) -> list[str]:
    found = [unescape(part.strip()) for part in split(value, ",")]
    if not all(found) or "\0" in value:
        raise refuse(f"{TYPE}?{name}", f"{name} has an empty value")
    if len(found) > most:
        raise too_costly(f"{TYPE}?{name}", f"{name} takes {most} values at most, not {len(found)}")
    return found


def _references(reading: _Reading, name: str, value: str, most: int = MAX_VALUES) -> list[tuple[str, str]]:
    """(type, id) of each value; the type is empty where none is given."""
    found = []
    for each in _values(name, value, most):
        match = _NAME.fullmatch(each.removeprefix(f"{reading.base}/"))
        if match is None:
            raise refuse(f"{TYPE}?{name}", f"{shortened(each)!r} is not a reference; write Patient/ID")
        found.append((match[1] or "", match[2]))
    return found


def _id(reading: _Reading, name: str, modifier: str, value: str) -> None:
    places = [parse_id(each) for each in _values(name, value, 50)]
    reading.any_of([Condition("row", each[:2]) if each and not each[2] else _NOTHING for each in places])


def _date(reading: _Reading, name: str, modifier: str, value: str) -> None:
    parts: list[Condition] = []
    for each in _values(name, value, 20):
        prefix, (lo, hi) = parse_interval(f"{TYPE}?{name}", each)
        parts += _moments(bounds(prefix, lo, hi, reading.now))
    reading.any_of(parts)


def _moments(alternatives: Sequence[Sequence[Bound]]) -> list[Condition]:
    """Conditions on a moment: an interval whose ends meet."""
    limits = [
        {sign[0]: limit + (sign == ">") - (sign == "<") for _, sign, limit in both} for both in alternatives
    ]
    if len(limits[0]) == 2:
        return [Condition("within", (each[">"], each["<"])) for each in limits]
    since = [each[">"] for each in limits if ">" in each]
    until = [each["<"] for each in limits if "<" in each]
    # One condition and not several, so that an index can be walked.
    found = [Condition("since", (min(since),))] if since else []
    return [*found, Condition("until", (max(until),))] if until else found


def _patient(reading: _Reading, name: str, modifier: str, value: str) -> None:
    found = _references(reading, name, value, MAX_PATIENTS)
    ids = frozenset(id for type, id in found if type in ("", "Patient"))
    reading.patients = ids if reading.patients is None else reading.patients & ids


def _agent(reading: _Reading, name: str, modifier: str, value: str) -> None:
    if modifier == "identifier":
        names = [each.rpartition("|")[2] for each in _values(name, value)]
        clients = [Condition("client", (each,)) for each in names[:20]]
        reading.any_of([_agents(names), *clients])
        return
    reading.any_of([Condition("who", (_pattern(*each),)) for each in _references(reading, name, value, 20)])


def _pattern(type: str, id: str) -> str:
    return f"^{type or '[A-Za-z]+'}/{re.escape(id)}$"


def _agents(names: Sequence[str]) -> Condition:
    return Condition("agent", (names[0],)) if len(names) == 1 else Condition("agents", (list(names),))


def _altid(reading: _Reading, name: str, modifier: str, value: str) -> None:
    reading.conditions.append(_agents(_values(name, value)))


def _like(condition: str) -> _Read:
    def read(reading: _Reading, name: str, modifier: str, value: str) -> None:
        before = "%" if modifier == "contains" else ""
        after = "" if modifier == "exact" else "%"
        reading.any_of(
            [Condition(condition, (before + _plain(each) + after,)) for each in _values(name, value, 20)]
        )

    return read


def _plain(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text.lower())


def _entity(reading: _Reading, name: str, modifier: str, value: str) -> None:
    if modifier == "identifier":
        requests = [each.rpartition("|")[2] for each in _values(name, value)]
        reading.conditions.append(Condition("request", (requests,)))
        return
    found = _references(reading, name, value, 50)
    if any(not type for type, _ in found):
        raise refuse(f"{TYPE}?{name}", "entity takes references with their type; write Observation/ID")
    if all(type == "Patient" for type, _ in found) and len(found) <= MAX_PATIENTS:
        _patient(reading, name, "", value)
        return
    names = [f"{type}/{id}" for type, id in found]
    parts = [Condition("resource", (names, names))]
    patients = [id for type, id in found if type == "Patient"]
    reading.any_of([*parts, *([Condition("patient", (patients,))] if patients else [])])


def _type(reading: _Reading, name: str, modifier: str, value: str) -> None:
    wanted = [_token(each) for each in _values(name, value)]
    kinds = [
        kind
        for kind, coding in KINDS.items()
        if any(code == coding["code"] and system in (None, coding["system"]) for system, code in wanted)
    ]
    reading.conditions.append(Condition("kind", (kinds,)))


def _subtype(reading: _Reading, name: str, modifier: str, value: str) -> None:
    parts = []
    for system, code in [_token(each) for each in _values(name, value, 50)]:
        names: set[str] = {code} if system in (None, OWN) else set()
        if system in (None, RESTFUL):
            names |= {own for own, standard in STANDARD.items() if standard == code}
        names |= {
            own
            for own, coding in SUBTYPES.items()
            if coding["code"] == code and system in (None, coding["system"])
        }
        parts.append(Condition("interaction", (sorted(names),)))
        if code == "operation" and system in (None, RESTFUL):
            parts.append(Condition("operation"))
    reading.any_of(parts)


def _token(text: str) -> tuple[str | None, str]:
    """System (None: any) and code."""
    system, bar, code = text.rpartition("|")
    return (system if bar else None), code


def _action(reading: _Reading, name: str, modifier: str, value: str) -> None:
    parts = []
    for _, code in [_token(each) for each in _values(name, value)]:
        if code in ACTIONS:
            parts.append(Condition("acted", (list(ACTIONS[code]),)))
        elif code == "E":
            parts.append(
                Condition("executed", (sorted({each for some in ACTIONS.values() for each in some}),))
            )
        else:
            raise refuse(f"{TYPE}?{name}", f"action is one of C, R, U, D, E, not {shortened(code)!r}")
    reading.any_of(parts)


def _outcome(reading: _Reading, name: str, modifier: str, value: str) -> None:
    codes = [_token(each)[1] for each in _values(name, value)]
    if any(code not in ("0", "4", "8", "12") for code in codes):
        raise refuse(f"{TYPE}?{name}", "outcome is one of 0, 4, 8, 12")
    reading.conditions.append(Condition("outcome", ([int(code) for code in codes],)))


def _count(reading: _Reading, name: str, modifier: str, value: str) -> None:
    if not _COUNT.fullmatch(value):
        raise refuse(f"{TYPE}?_count", f"_count is a whole number from 0 to {MAX_COUNT}")
    reading.count = min(int(value), MAX_COUNT)


def _sort(reading: _Reading, name: str, modifier: str, value: str) -> None:
    if value.removeprefix("-") not in ("date", "_lastUpdated"):
        raise not_understood(f"{TYPE}?_sort", "AuditEvents are sorted by date or -date only")
    reading.ascending = value[0] != "-"


def _total(reading: _Reading, name: str, modifier: str, value: str) -> None:
    reading.total = _one_of(name, value, _TOTALS) != "none"


def _summary(reading: _Reading, name: str, modifier: str, value: str) -> None:
    reading.summary = _one_of(name, value, _SUMMARIES)


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise refuse(f"{TYPE}?{name}", f"{name} is one of {', '.join(known)}, not {shortened(value)!r}")
    return value


def _elements(reading: _Reading, name: str, modifier: str, value: str) -> None:
    reading.elements = tuple(dict.fromkeys(_values(name, value)))


def _cursor(reading: _Reading, name: str, modifier: str, value: str) -> None:
    reading.cursor = value


PARAMETERS: dict[str, _Read] = {
    "_id": _id, "_lastUpdated": _date, "date": _date, "patient": _patient, "agent": _agent, "altid": _altid,
    "agent-name": _like("name"), "address": _like("address"), "entity": _entity, "type": _type,
    "subtype": _subtype, "action": _action, "outcome": _outcome, "_count": _count, "_sort": _sort,
    "_total": _total, "_summary": _summary, "_elements": _elements, "_cursor": _cursor,
}  # fmt: skip
_MODIFIERS: dict[str, tuple[str, ...]] = {
    "agent": ("identifier",),
    "entity": ("identifier",),
    "agent-name": ("exact", "contains"),
    "address": ("exact", "contains"),
}
