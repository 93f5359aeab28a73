"""What one interaction touched, and the row of the audit trail that tells of it.

A :class:`Trail` goes along with an interaction and collects; :meth:`Trail.finished` makes its one :class:`Entry`, or
:meth:`Trail.written` one for each change, which are committed together with the changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from fhirhub.exchange import Caller
from fhirhub.store.records import Change, Stored

PATIENT = "Patient"
RESOURCES = 200
"""Resources that an entry names; how many there were stands beside them. Patients are all named."""
LONGEST = 2_000
"""Characters of any one text from outside that an entry keeps."""
QUERY = 8_000
"""Characters of a query that an entry keeps."""
SUCCESS, REFUSED, FAILED, BROKEN = 0, 4, 8, 12
"""http://hl7.org/fhir/audit-event-outcome"""
INTERACTIONS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_ID = r"[A-Za-z0-9.\-]{1,64}"
_PLAIN = re.compile(_ID)


class Entry(NamedTuple):
    """One row before it has its place in a chain, in the order of the columns; texts are empty, never None."""

    outcome: int
    status: int
    """HTTP status, 0 where there is none."""
    kind: str
    """``rest``, ``login``, ``consent``, ``token``, ``export``, ``admin``, ``security`` or ``checkpoint``."""
    interaction: str
    """As in the CapabilityStatement for ``rest``; else what was done (``sign-in``, ``lockout``, ``revoke`` …)."""
    type: str
    id: str
    agent: str
    """The username; of a client that acts by itself, its id."""
    request: str
    """X-Request-Id."""
    patients: str
    """Logical ids, sorted, a blank between two."""
    detail: str
    """A JSON object: the caller by the names of :func:`_who`, and what there is to tell besides."""


def event(
    kind: str,
    interaction: str,
    caller: Caller,
    *,
    outcome: int = SUCCESS,
    status: int = 0,
    type: str = "",
    id: str = "",
    request: str = "",
    patients: Iterable[str] = (),
    more: Mapping[str, Any] | None = None,
) -> Entry:
    """An entry for what is no interaction with resources: a login, a consent, a token, a change of a user.

    ``patients`` are logical ids, with or without ``Patient/``. ``more`` is kept beside the caller in ``detail`` (JSON
    values; no secrets).
    """
    told = {"more": {name: _kept(value) for name, value in more.items()}} if more else {}
    named = {each.removeprefix(f"{PATIENT}/") for each in patients}
    ids = " ".join(sorted(each for each in named if _PLAIN.fullmatch(each)))
    agent, who = _who(caller)
    return Entry(
        outcome, status, clean(kind, 64), clean(interaction, 64), clean(type, 64), clean(id, 64),
        agent, clean(request, 200), ids, _joined(who, told),
    )  # fmt: skip


class Trail:
    """Collects what one interaction touches; it is cheap to make and to carry along."""

    __slots__ = ("base", "caller", "entry", "id", "interaction", "patients", "query", "recorded", "request",
                 "resources", "seen", "type", "version")  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        interaction: str,
        type: str | None = None,
        id: str | None = None,
        *,
        version: int | None = None,
        query: Sequence[tuple[str, str]] = (),
        base: str = "",
        request: str = "",
        entry: int | None = None,
    ) -> None:
        """``entry`` is the position in a Bundle; an operation is named ``$everything`` in ``interaction``.

        ``base`` is the one service base that this server goes by; empty when it goes by any.
        """
        self.caller = caller
        self.interaction = interaction
        self.type = type or ""
        self.id = id or ""
        self.version = version
        self.query = query
        self.base = base
        self.request = request
        self.entry = entry
        self.patients: set[str] = {self.id} if type == PATIENT and _PLAIN.fullmatch(self.id) else set()
        self.resources: list[str] = []
        self.seen = 0
        self.recorded = False
        """Whether an entry was committed already (with a change); then :meth:`finished` is not to be recorded."""

    def saw(self, found: Iterable[Stored]) -> None:
        """Resources that leave, or that decide what leaves."""
        for stored in found:
            self.seen += 1
            if self.seen <= RESOURCES:
                self.resources.append(f"{stored.type}/{stored.id}")
            if stored.type == PATIENT:
                self.patients.add(stored.id)
            self.patients.update(patients_in(stored.content, self.base))

    def finished(self, status: int, why: str = "") -> Entry:
        """The entry of an interaction that was answered with ``status``; ``why`` is the text of a refusal."""
        told: dict[str, Any] = {}
        if self.version is not None:
            told["version"] = self.version
        if self.query:
            told["query"] = query_text(self.query)
        if self.seen:
            told["found"] = self.seen
            told["resources"] = self.resources
        if why:
            told["why"] = clean(why)
        return self._entry(status, self.interaction, self.type, self.id, self.patients, self.entry, told)

    def written(self, changes: Sequence[Change], entries: Sequence[int | None] = ()) -> list[Entry]:
        """One entry for each change, to be committed with them; ``entries`` are their positions in a Bundle."""
        found = []
        for position, change in enumerate(changes):
            before = change.base if change.base is not None and change.base.version else None
            patients = (
                {id for _, type, id in change.rows.references if type == PATIENT} if change.rows else set()
            )
            if change.type == PATIENT:
                patients.add(change.id)
            if before is not None:
                patients.update(patients_in(before.content, self.base))
            told: dict[str, Any] = {"base": before.version if before is not None else 0}
            if self.query:
                told["query"] = query_text(self.query)
            created = change.document is not None and (before is None or before.deleted)
            status = 204 if change.document is None else 201 if created else 200
            interaction = INTERACTIONS[change.method]
            place = entries[position] if position < len(entries) else self.entry
            found.append(self._entry(status, interaction, change.type, change.id, patients, place, told))
        return found

    def _entry(
        self,
        status: int,
        interaction: str,
        type: str,
        id: str,
        patients: Iterable[str],
        place: int | None,
        told: dict[str, Any],
    ) -> Entry:
        if place is not None:
            told["entry"] = place
        agent, who = _who(self.caller)
        return Entry(
            outcome_of(status), status, "rest", clean(interaction, 64), clean(type, 64), clean(id, 64),
            agent, clean(self.request, 200), " ".join(sorted(patients)), _joined(who, told),
        )  # fmt: skip


def outcome_of(status: int) -> int:
    """The outcome that goes with an HTTP status."""
    if status < 400:
        return SUCCESS
    if status < 500:
        return REFUSED
    return BROKEN if status == 503 else FAILED


def _joined(who: str, told: Mapping[str, Any]) -> str:
    """The caller (:func:`_who`) and ``told`` as a JSON object, without what is empty."""
    if not told:
        return f"{{{who}}}"
    text = orjson.dumps(told).decode()
    return f"{{{who},{text[1:]}" if who else text


@lru_cache(maxsize=2048)
def _who(caller: Caller) -> tuple[str, str]:
    """Who acts, the user or the client that has none; and ``caller`` as the inside of a JSON object."""
    named = {
        "user": caller.user,
        "fhirUser": caller.fhir_user,
        "role": caller.role,
        "client": caller.client,
        "clientName": caller.client_name,
        "grant": caller.grant,
        "issuer": caller.issuer,
        "address": caller.address,
        "reason": caller.reason,
    }
    told = {name: clean(value) for name, value in named.items() if value}
    return clean(caller.user or caller.client), orjson.dumps(told).decode()[1:-1]


def clean(text: str, longest: int = LONGEST) -> str:
    """``text`` as it can be stored and shown: no control characters, no halves of pairs, not too long."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isprintable() else _UNSTORABLE.sub("?", text)


def _kept(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return [_kept(each) for each in value]
    return value


def query_text(parameters: Sequence[tuple[str, str]]) -> str:
    """``parameters`` as a query string; what is too long ends in an ellipsis."""
    pairs = [f"{_quoted(name)}={_quoted(value)}" for name, value in parameters]
    text = "&".join(pairs)
    return text if len(text) <= QUERY else text[: QUERY - 1] + "…"


def _quoted(text: str) -> str:
    return quote(text, safe=":/,|", errors="replace")


@lru_cache(maxsize=64)
def _references(base: str) -> re.Pattern[str]:
    # Where the base is the caller's to say, no Host header may keep a patient out of the trail.
    root = re.escape(base) if base else r"https?://[^\"]*"
    return re.compile(rf'"reference": ?"(?:{root}/)?Patient/({_ID})["/]')


def patients_in(content: str | None, base: str = "") -> list[str]:
    """Logical ids of the patients of this server (all servers, without ``base``) that the JSON text ``content``
    refers to."""
    if content is None or "Patient/" not in content:
        return []
    return _references(base).findall(content)
