"""What the pages and the authorization server ask of the record and of its trail.

Whatever is shown of a patient here goes through the same door as over FHIR: within what the person may see, and on
record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhirhub.auth.authority import Authority
from fhirhub.auth.grant import Grant
from fhirhub.auth.scope import parse_all
from fhirhub.errors import FhirError
from fhirhub.exchange import REQUEST_ID, Caller, FhirRequest, Origin
from fhirhub.hub import Hub
from fhirhub.interactions.audit_criteria import asked
from fhirhub.interactions.perform import perform
from fhirhub.resource import json
from fhirhub.smart.hooks import Event, Look
from fhirhub.smart.lockout import network
from fhirhub.smart.storage.accounts import Account
from fhirhub.store.audit import told
from fhirhub.store.audit.floods import Floods
from fhirhub.store.audit.search import Fetch, Row, find
from fhirhub.store.audit.trail import event
from fhirhub.store.audit.writer import AuditWriter

KINDS = {
    "login": "login",
    "logout": "login",
    "lockout": "security",
    "password": "security",
    "second-factor": "security",
    "break-glass": "security",
    "refused": "security",
    "consent": "consent",
    "token": "token",
    "revoke": "token",
}
"""Events of the pages -> kind of the row; whatever else they tell of is administration."""
_FIELDS = {"user": "agent:identifier", "patient": "patient"}
_MOMENTS = {"since": "ge", "until": "le"}
"""What administrators may type, in the words of searches for AuditEvents."""
PAGE = 50
_FINDING = parse_all("user/Patient.rs")


@dataclass(frozen=True, slots=True)
class Found:
    """A patient as a page names one."""

    id: str
    name: str
    birth_date: str


class Patients:
    """Patients as somebody at a page may see them."""

    def __init__(
        self,
        hub: Callable[[], Hub | None],
        authority: Authority,
        issuer: str,
        stamp: Callable[[], Awaitable[int]],
    ) -> None:
        """``stamp``: the version of the consents now."""
        self._hub = hub
        self._authority = authority
        self._issuer = issuer
        self._stamp = stamp

    async def find(self, account: Account, text: str, count: int) -> Sequence[Found]:
        """Up to ``count`` patients with names that begin like the words of ``text``."""
        words = [("name", word) for word in text.replace(",", " ").split()[:5]]
        given = (*words, ("_count", str(count)), ("_sort", "family"), ("_elements", "name,birthDate"))
        request = FhirRequest("search-type", "Patient", parameters=given)
        bundle = await self._ask(account, request)
        return [named(entry["resource"]) for entry in bundle.get("entry", ()) if "resource" in entry]

    async def named(self, account: Account, id: str) -> Found | None:
        """The patient with this logical id; None when there is none whom ``account`` may see."""
        try:
            return named(await self._ask(account, FhirRequest("read", "Patient", id)))
        except FhirError as error:
            if error.status in (403, 404, 410):
                return None
            raise

    async def _ask(self, account: Account, request: FhirRequest) -> dict[str, Any]:
        hub = self._hub()
        assert hub is not None, "pages are served while the store is open"
        grant = Grant(
            f"page {account.id}", "user", _FINDING, "", "", account.username, account.fhir_user, account.role,
            issuer=self._issuer, stamp=(account.version, await self._stamp()),
        )  # fmt: skip
        seen = hub.seen_by(await self._authority.access(grant), Origin(request=REQUEST_ID.get()))
        return json.parse((await perform(seen, request)).body)


def named(patient: Mapping[str, Any]) -> Found:
    """A Patient resource as a page names it."""
    names = patient.get("name") or [{}]
    chosen = next((each for each in names if each.get("use") == "official"), names[0])
    parts = [*chosen.get("given", ()), chosen.get("family", "")]
    text = chosen.get("text") or " ".join(part for part in parts if part)
    return Found(patient["id"], text or f"Patient {patient['id']}", patient.get("birthDate", ""))


def looks(fetch: Fetch) -> Callable[[str, str], Any]:
    """Who did what with a patient's record, a page at a time."""

    async def looked_at(patient: str, cursor: str) -> tuple[Sequence[Look], str]:
        found = await told.looked_at(fetch, patient, told.place(cursor))
        shown = [
            Look(row.at, told.who(row), told.app(row), told.what(row), str(row.detail.get("reason", "")))
            for row in found.rows
        ]
        return shown, told.written(found.next)

    return looked_at


def trail(fetch: Fetch) -> Callable[[Mapping[str, str], str], Any]:
    """The audit trail as administrators look through it, a page at a time."""

    async def search(typed: Mapping[str, str], cursor: str) -> tuple[Sequence[Event], str]:
        given = [(name, typed[key]) for key, name in _FIELDS.items() if typed.get(key)]
        given += [("date", sign + typed[key]) for key, sign in _MOMENTS.items() if typed.get(key)]
        wanted = replace(asked(given, "", 0).wanted, count=PAGE, after=told.place(cursor))
        found = await find(fetch, wanted)
        return [_event(row) for row in found.rows], told.written(found.next)

    return search


def _event(row: Row) -> Event:
    detail = row.detail
    return Event(
        at=row.at, who=told.who(row), client=told.app(row), what=told.what(row),
        patients=", ".join(row.patients[:5]) + (" …" if len(row.patients) > 5 else ""),
        outcome=told.OUTCOMES.get(row.outcome, "failed"), address=str(detail.get("address", "")), request=row.request,
    )  # fmt: skip


def recorder(
    audit: AuditWriter | None, floods: Floods | None = None
) -> Callable[[str, Caller, int, Mapping[str, Any]], Any]:
    """Puts what happens at the pages and at the authorization server on record; failures at the token endpoint, which
    anybody can cause, by way of ``floods``."""

    async def record(name: str, caller: Caller, outcome: int, detail: Mapping[str, Any]) -> None:
        if audit is None:
            return
        patients = [str(detail["patient"])] if detail.get("patient") else []
        kind = KINDS.get(name, "admin")
        row = event(
            kind, name, caller, outcome=outcome, request=REQUEST_ID.get(), patients=patients, more=detail
        )
        if floods is not None and name == "token" and outcome:
            who = caller.client or str(detail.get("claimed", ""))
            await floods.record((network(caller.address), who), row)
        else:
            await audit.record([row])

    return record
