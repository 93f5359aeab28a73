"""Authorizations under way, in the database: launches, requests that wait for a person, codes.

Launch handles and codes are secrets and stand here as their SHA-256 only (:func:`digest`). Times are microseconds since
1970 UTC. Each secret opens once: the statement that takes it is the one that spends it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol

SECOND = 1_000_000
LAUNCH_SECONDS = 300
REQUEST_SECONDS = 1800
"""How long a person has for signing in, choosing and allowing."""
CODE_SECONDS = 60
MEMORY_SECONDS = 86_400
"""How long a code is remembered, so that a second use is noticed."""


class Fetcher(Protocol):
    """What runs statements: a ``Lane``, or a ``Connection`` inside of a transaction."""

    async def fetch(self, sql: str, *args: Any) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an app is launched on: https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html."""

    patient: str | None = None
    """Logical id."""
    encounter: str | None = None
    fhir_context: tuple[Mapping[str, Any], ...] = ()
    need_patient_banner: bool | None = None
    """None: nothing is known of how the app is shown (a standalone launch)."""
    intent: str | None = None

    def as_json(self) -> str:
        """The context as the database keeps it."""
        return json.dumps(
            {
                "patient": self.patient,
                "encounter": self.encounter,
                "fhirContext": [dict(one) for one in self.fhir_context],
                "banner": self.need_patient_banner,
                "intent": self.intent,
            }
        )

    @staticmethod
    def from_json(text: str) -> Context:
        """What :meth:`as_json` wrote."""
        kept = json.loads(text)
        return Context(
            kept["patient"], kept["encounter"], tuple(kept["fhirContext"]), kept["banner"], kept["intent"]
        )


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """An EHR launch: who started it, for which app, on what."""

    client: str
    account: str
    context: Context


@dataclass(frozen=True, slots=True)
class RequestRow:
    """An app's request, checked, that waits for a person."""

    id: str
    client: str
    redirect_uri: str
    scope: str
    state: str
    challenge: str
    nonce: str | None = None
    prompt: str = ""
    max_age: int | None = None
    """Seconds since sign-in that the app accepts (OpenID Connect Core §3.1.2.1)."""
    context: Context = field(default_factory=Context)
    launched: bool = False
    """Whether it answers an EHR launch."""
    launch_account: str | None = None
    account: str | None = None
    session: str | None = None
    created: int = 0


@dataclass(frozen=True, slots=True)
class CodeRow:
    """What a code stands for; ``reused``: it had been spent before, and what it brought must be revoked."""

    client: str
    redirect_uri: str
    challenge: str
    """BASE64URL(SHA256(verifier)), without padding: RFC 7636 §4.6."""
    grant: str
    """Id that the grant gets; made with the code, so that a reuse knows what to revoke."""
    account: str
    fhir_user: str | None
    role: str
    scope: str
    """What the person allowed; as it was asked for, in v1 or v2 text."""
    context: Context
    nonce: str | None
    session: str | None
    """The sign-in session: the end of ``online_access``."""
    reason: str
    """Why the glass was broken, '' if it was not, and until when."""
    reason_until: int
    signed_in: int | None
    """When the person signed in: ``auth_time``."""
    expires: int = 0
    reused: bool = False


def new_handle() -> str:
    """256 random bits as text for URLs, 43 characters."""
    return secrets.token_urlsafe(32)


def digest(handle: str) -> bytes:
    """How a secret handle stands in the database."""
    return sha256(handle.encode("utf-8", "surrogatepass")).digest()


_ADD_LAUNCH = """
insert into launch (handle, client, account, context, created, expires) values ($1, $2, $3, $4::text::jsonb, $5, $6)
"""
_TAKE_LAUNCH = """
update launch set spent = $3 where handle = $1 and client = $2 and spent is null and expires > $3
returning client, account, context::text
"""
_REQUEST = (
    "id, client, redirect_uri, scope, state, challenge, nonce, prompt, max_age, context::text, launched, "
    "launch_account, account, session, created"
)
_ADD_REQUEST = """
insert into authorization_request (id, client, redirect_uri, scope, state, challenge, nonce, prompt, max_age, context,
    launched, launch_account, created, expires)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14)
"""
_FIND_REQUEST = (
    f"select {_REQUEST} from authorization_request where id = $1 and finished is null and expires > $2"
)
# Whoever signs in first owns the request; everybody else finds nothing.
_BIND_REQUEST = f"""
update authorization_request set account = $2, session = $3
where id = $1 and finished is null and expires > $4
    and (session is null or session = $3) and (account is null or account = $2)
returning {_REQUEST}
"""
_CHOOSE = f"""
update authorization_request set context = $3::text::jsonb
where id = $1 and session = $2 and finished is null and expires > $4
returning {_REQUEST}
"""
_FINISH = f"""
update authorization_request set finished = $3 where id = $1 and session = $2 and finished is null and expires > $3
returning {_REQUEST}
"""
_CLOSE = f"""
update authorization_request set finished = $2 where id = $1 and finished is null and expires > $2
returning {_REQUEST}
"""
_ADD_CODE = """
insert into authorization_code (code, client, redirect_uri, challenge, grant_id, account, fhir_user, role, scope,
    context, nonce, session, reason, reason_until, signed_in, created, expires)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14, $15, $16, $17)
"""
_CODE = (
    "client, redirect_uri, challenge, grant_id, account, fhir_user, role, scope, context::text, nonce, session, "
    "reason, reason_until, signed_in, expires"
)
# The update waits for another that takes the same code, and then finds it spent.
_TAKE_CODE = f"update authorization_code set spent = $2 where code = $1 and spent is null returning {_CODE}"
_SPENT_CODE = f"select {_CODE} from authorization_code where code = $1"
_VOID = (
    "update launch set spent = $2 where account = $1 and spent is null returning 1",
    "update authorization_request set finished = $2 where account = $1 and finished is null returning 1",
    "update authorization_code set expires = 0 where account = $1 and spent is null and expires > $2 returning 1",
)
_FORGET = (
    ("delete from launch where expires < $1", 0),
    ("delete from authorization_request where expires < $1", 0),
    ("delete from authorization_code where created < $1", MEMORY_SECONDS),
)


async def add_launch(lane: Fetcher, client: str, account: str, context: Context, now: int) -> str:
    """Keep a launch; the handle that opens it, once, within five minutes."""
    await forget(lane, now)
    handle = new_handle()
    expires = now + LAUNCH_SECONDS * SECOND
    await lane.fetch(_ADD_LAUNCH, digest(handle), client, account, context.as_json(), now, expires)
    return handle


async def take_launch(lane: Fetcher, handle: str, client: str, now: int) -> LaunchRow | None:
    """The launch of ``handle`` if it is that of ``client``, new and fresh; it is spent by this."""
    for row in await lane.fetch(_TAKE_LAUNCH, digest(handle), client, now):
        return LaunchRow(row["client"], row["account"], Context.from_json(row["context"]))
    return None


async def add_request(lane: Fetcher, request: RequestRow, now: int) -> RequestRow:
    """Keep ``request`` under a new id."""
    await forget(lane, now)
    kept = replace(request, id=new_handle(), created=now)
    await lane.fetch(
        _ADD_REQUEST, kept.id, kept.client, kept.redirect_uri, kept.scope, kept.state, kept.challenge, kept.nonce,
        kept.prompt, kept.max_age, kept.context.as_json(), kept.launched, kept.launch_account, now,
        now + REQUEST_SECONDS * SECOND,
    )  # fmt: skip
    return kept


async def find_request(lane: Fetcher, id: str, now: int) -> RequestRow | None:
    """The request ``id``, as long as it is open."""
    return _request(await lane.fetch(_FIND_REQUEST, id, now))


async def bind_request(lane: Fetcher, id: str, account: str, session: str, now: int) -> RequestRow | None:
    """The request, from now on for this account and session only; None when it is another's, over or unknown."""
    return _request(await lane.fetch(_BIND_REQUEST, id, account, session, now))


async def choose(lane: Fetcher, id: str, session: str, context: Context, now: int) -> RequestRow | None:
    """The request with another context; None when the session does not own it or it is over."""
    return _request(await lane.fetch(_CHOOSE, id, session, context.as_json(), now))


async def finish_request(lane: Fetcher, id: str, session: str, now: int) -> RequestRow | None:
    """Answer the request, which only one call can, and only the session that owns it."""
    return _request(await lane.fetch(_FINISH, id, session, now))


async def close_request(lane: Fetcher, id: str, now: int) -> RequestRow | None:
    """End the request without anybody's answer (a refusal before sign-in)."""
    return _request(await lane.fetch(_CLOSE, id, now))


async def add_code(lane: Fetcher, code: CodeRow, now: int) -> str:
    """Keep what a new code stands for; the code, good for a minute."""
    handle = new_handle()
    await lane.fetch(
        _ADD_CODE, digest(handle), code.client, code.redirect_uri, code.challenge, code.grant, code.account,
        code.fhir_user, code.role, code.scope, code.context.as_json(), code.nonce, code.session, code.reason,
        code.reason_until, code.signed_in, now, now + CODE_SECONDS * SECOND,
    )  # fmt: skip
    return handle


async def take_code(lane: Fetcher, code: bytes, now: int) -> CodeRow | None:
    """What the code with the SHA-256 ``code`` stands for, spent by this; None when there is no such code.

    The caller still compares client, redirect URI, verifier and ``expires`` (with ``now``). ``reused``: revoke the
    grant. Call it in the transaction that makes the grant: whoever reuses the code then waits for that to commit, and
    finds the grant to revoke (RFC 6749 §4.1.2).
    """
    for row in await lane.fetch(_TAKE_CODE, code, now):
        return _code(row)
    for row in await lane.fetch(_SPENT_CODE, code):
        return replace(_code(row), reused=True)
    return None


async def void(lane: Fetcher, account: str, now: int) -> dict[str, int]:
    """End whatever is under way for an account; how many launches, requests and codes that were."""
    counts = [len(await lane.fetch(sql, account, now)) for sql in _VOID]
    return dict(zip(("launches", "requests", "codes"), counts, strict=True))


async def forget(lane: Fetcher, now: int) -> None:
    """Remove requests and launches that have expired, and codes of the day before."""
    for sql, seconds in _FORGET:
        await lane.fetch(sql, now - seconds * SECOND)


def _request(rows: Sequence[Any]) -> RequestRow | None:
    for row in rows:
        values = dict(row)
        return RequestRow(**(values | {"context": Context.from_json(values["context"])}))
    return None


def _code(row: Any) -> CodeRow:
    values = dict(row)
    grant = values.pop("grant_id")
    return CodeRow(**(values | {"context": Context.from_json(values["context"]), "grant": grant}))
