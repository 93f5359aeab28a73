"""The apps and systems that may connect: what they are registered with. All times are microseconds UTC."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from fhirhub.auth.scope import ScopeError, parse_all
from fhirhub.errors import BadRequest, Conflict, Issue, NotFound
from fhirhub.smart import jose
from fhirhub.smart.redirects import LONGEST, problem
from fhirhub.smart.storage import grants
from fhirhub.store.engine import Lane

KINDS = ("public", "symmetric", "asymmetric", "backend")
SIGNING = ("asymmetric", "backend")
"""Kinds that sign their way in (private_key_jwt) instead of sending a secret."""
UNCHECKED = "someone the practice has not checked"
"""The publisher of an app that registered itself, as the consent page names it."""
MAX_URIS = 50
MAX_JWKS = 64 * 1024
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]{1,120}")
"""Nothing invisible, and nothing that turns the direction of writing round."""
_COLUMNS = (
    "id, name, publisher, logo, kind, redirect_uris, launch_url, jwks::text as jwks, jwks_url, scopes,"
    " policy::text as policy, active, demo, created, version, secret"
)
_ADD = f"""
insert into client (id, name, publisher, logo, kind, redirect_uris, launch_url, jwks, jwks_url, scopes, policy, demo,
    created, secret)
values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11::text::jsonb, $12, $13, $14)
returning {_COLUMNS}
"""
_CHANGE = f"""
update client set name = $2, publisher = $3, redirect_uris = $4, launch_url = $5, jwks = $6::text::jsonb, jwks_url = $7,
    scopes = $8, policy = $9::text::jsonb, version = version + 1
where id = $1 returning {_COLUMNS}
"""
CHANGEABLE = (
    "name", "publisher", "redirect_uris", "launch_url", "jwks", "jwks_url", "scopes", "policy",
)  # fmt: skip
"""What of a client can be changed: its id, kind and secret are no such values."""
_END_TOKENS = """
with ended as (
    update grant_ set revoked = $2, version = version + 1 where client = $1 and revoked is null and expires > $2
    returning id
), gone as (
    update grant_token t set expires = 0 from ended
    where t.grant_ = ended.id and t.expires > $2 and t.spent is null returning 1
)
select (select count(*) from ended) as grants, (select count(*) from gone) as tokens
"""


@dataclass(frozen=True, slots=True)
class Client:
    """One row of ``client``."""

    id: str
    name: str
    publisher: str
    logo: str | None
    kind: str
    redirect_uris: tuple[str, ...]
    launch_url: str | None
    jwks: Mapping[str, Any] | None
    jwks_url: str | None
    scopes: str
    """What it may ask for at most, separated by spaces."""
    policy: Mapping[str, Any] | None
    active: bool
    demo: bool
    created: int
    version: int
    secret: bytes | None = field(repr=False, default=None)
    """SHA-256 of the client secret."""

    def knows(self, secret: str) -> bool:
        """Whether ``secret`` is the client's."""
        return self.secret is not None and hmac.compare_digest(self.secret, hashed(secret))

    @property
    def unchecked(self) -> bool:
        """Whether it registered itself, and nobody has looked at it."""
        return self.publisher == UNCHECKED

    def as_json(self) -> dict[str, Any]:
        """What may be shown to those who administer clients."""
        shown = {
            "client_id": self.id,
            "name": self.name,
            "publisher": self.publisher,
            "kind": self.kind,
            "redirect_uris": list(self.redirect_uris),
            "launch_url": self.launch_url,
            "jwks": self.jwks,
            "jwks_url": self.jwks_url,
            "scope": self.scopes,
            "policy": self.policy,
            "active": self.active,
            "demo": self.demo,
        }
        return {name: value for name, value in shown.items() if value not in (None, [], "")}


class Clients:
    """The table ``client``."""

    def __init__(self, lane: Lane, clock: Callable[[], int]) -> None:
        self._lane = lane
        self._clock = clock

    async def add(
        self,
        *,
        name: str,
        kind: str,
        scopes: str,
        redirect_uris: Collection[str] = (),
        launch_url: str | None = None,
        jwks: Mapping[str, Any] | None = None,
        jwks_url: str | None = None,
        publisher: str = "",
        logo: str | None = None,
        policy: Mapping[str, Any] | None = None,
        demo: bool = False,
        id: str | None = None,
    ) -> tuple[Client, str | None]:
        """Register a client: it, and its secret when its kind has one, which is stored nowhere.

        Raises BadRequest, which names the value that cannot be used.
        """
        uris = tuple(dict.fromkeys(redirect_uris))
        _check_texts(name, publisher, kind)
        _check_addresses(kind, uris, launch_url, logo)
        jwks = _keys(kind, jwks, jwks_url)
        _check_scope(kind, scopes)
        secret = secrets.token_urlsafe(32) if kind == "symmetric" else None
        rows = await self._lane.fetch(
            _ADD, id or secrets.token_hex(12), name, publisher, logo, kind, list(uris), launch_url,
            _written(jwks), jwks_url, scopes, _written(policy), demo, self._clock(),
            hashed(secret) if secret else None,
        )  # fmt: skip
        return _client(rows[0]), secret

    async def get(self, id: str) -> Client | None:
        """The client with the ``client_id`` ``id``, active or not."""
        if not id or len(id) > 256 or "\x00" in id:
            return None
        rows = await self._lane.fetch(f"select {_COLUMNS} from client where id = $1", id)
        return _client(rows[0]) if rows else None

    async def named(self, id: str) -> Client:
        """The client ``id``; NotFound when there is none."""
        found = await self.get(id)
        if found is None:
            raise _nobody(id)
        return found

    async def list(self) -> list[Client]:
        """All clients, by name."""
        rows = await self._lane.fetch(f"select {_COLUMNS} from client order by name, id")
        return [_client(row) for row in rows]

    async def change(self, id: str, given: Mapping[str, Any]) -> tuple[Client, tuple[str, ...]]:
        """Give a client other values, of :data:`CHANGEABLE` those that are ``given``; what came of it, and which differ.

        From the commit on it is confined to them, on every worker: what it was granted before loses the scopes that it
        is not registered for any more. Of jwks and jwks_url one takes the place of the other. Raises NotFound and
        BadRequest, and changes nothing then.
        """
        given = dict(given)
        if "redirect_uris" in given:
            given["redirect_uris"] = tuple(dict.fromkeys(given["redirect_uris"]))
        for name, other in (("jwks", "jwks_url"), ("jwks_url", "jwks")):
            if given.get(name) is not None:
                given.setdefault(other, None)
        async with self._lane.use() as connection, connection.raw.transaction():
            rows = await connection.fetch(
                f"select {_COLUMNS} from client where id = $1 for no key update", id[:256]
            )
            if not rows:
                raise _nobody(id)
            before = _client(rows[0])
            wanted = replace(before, **given)
            _check_texts(wanted.name, wanted.publisher, wanted.kind)
            _check_addresses(wanted.kind, wanted.redirect_uris, wanted.launch_url, wanted.logo)
            wanted = replace(wanted, jwks=_keys(wanted.kind, wanted.jwks, wanted.jwks_url))
            _check_scope(wanted.kind, wanted.scopes)
            names = tuple(name for name in CHANGEABLE if getattr(wanted, name) != getattr(before, name))
            if not names:
                return before, ()
            rows = await connection.fetch(
                _CHANGE, id, wanted.name, wanted.publisher, list(wanted.redirect_uris), wanted.launch_url,
                _written(wanted.jwks), wanted.jwks_url, wanted.scopes, _written(wanted.policy),
            )  # fmt: skip
            if "scopes" in names:
                await grants.narrow(connection, id, wanted.scopes, self._clock())
        return _client(rows[0]), names

    async def activate(self, id: str) -> bool:
        """Let a client in again that was deactivated; False when it is active. What it had been granted has ended."""
        rows = await self._lane.fetch(
            "update client set active = true, version = version + 1 where id = $1 and not active returning id",
            id,
        )
        return bool(rows)

    async def deactivate(self, id: str) -> dict[str, int] | None:
        """Cut a client off in one transaction; how many grants and tokens ended, None when it was inactive.

        After the commit no worker accepts anything of it.
        """
        now = self._clock()
        async with self._lane.use() as connection, connection.raw.transaction():
            changed = await connection.fetch(
                "update client set active = false, version = version + 1 where id = $1 and active returning id",
                id,
            )
            if not changed:
                return None
            ended = await connection.fetch(_END_TOKENS, id, now)
            return {"grants": ended[0]["grants"], "tokens": ended[0]["tokens"]}

    async def rotate(self, id: str) -> str:
        """A new secret for a client; the old one is worth nothing from now on. Raises NotFound and Conflict."""
        client = await self.named(id)
        if client.kind != "symmetric" or not client.active:
            why = "is deactivated" if not client.active else f"is {client.kind}: it has no secret to rotate"
            raise Conflict(Issue("conflict", f"The client {client.name} {why}.", "client"))
        secret = secrets.token_urlsafe(32)
        await self._lane.fetch(
            "update client set secret = $2, version = version + 1 where id = $1", id, hashed(secret)
        )
        return secret


def changes(client: Client, names: tuple[str, ...]) -> dict[str, Any]:
    """What the audit trail is told of a :meth:`Clients.change`: which values, and of the scopes what they are now."""
    scope = {"scope": client.scopes} if "scopes" in names else {}
    return {"client": client.id, "name": client.name, "changed": list(names), **scope}


def hashed(secret: str) -> bytes:
    """What is stored of a secret that was drawn at random."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _client(row: Any) -> Client:
    values = dict(row)
    for name in ("jwks", "policy"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Client(**(values | {"redirect_uris": tuple(values["redirect_uris"])}))


def _written(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _nobody(id: str) -> NotFound:
    return NotFound(Issue("not-found", f"There is no client {id[:80]!r}.", "client"))


def _bad(element: str, text: str) -> BadRequest:
    return BadRequest(Issue("value", f"{element}: {text}", element))


def _check_texts(name: str, publisher: str, kind: str) -> None:
    if not _NAME.fullmatch(name) or name != name.strip():
        raise _bad("name", "use 1 to 120 visible characters, as people are to read it.")
    if publisher and not _NAME.fullmatch(publisher):
        raise _bad("publisher", "use up to 120 visible characters.")
    if kind not in KINDS:
        raise _bad("kind", f"{kind[:40]!r} is none of {', '.join(KINDS)}.")


def _check_addresses(kind: str, uris: tuple[str, ...], launch_url: str | None, logo: str | None) -> None:
    if kind == "backend" and (uris or launch_url):
        raise _bad("redirect_uri", "a backend system has no redirect or launch URL; nobody signs in to it.")
    if kind != "backend" and not 0 < len(uris) <= MAX_URIS:
        raise _bad("redirect_uri", f"an app needs 1 to {MAX_URIS} redirect URIs, each exactly as it is used.")
    named = [("redirect_uri", uri) for uri in uris]
    for element, uri in [*named, ("launch_url", launch_url), ("logo", logo)]:
        if uri is not None and (why := problem(uri)):
            raise _bad(element, why)


def _keys(kind: str, jwks: Mapping[str, Any] | None, jwks_url: str | None) -> dict[str, Any] | None:
    """The key set to be stored: of what was given, what signatures are checked with."""
    if kind not in SIGNING:
        if jwks is not None or jwks_url is not None:
            raise _bad("jwks", f"a {kind} client signs nothing; leave jwks and jwks_url out.")
        return None
    if (jwks is None) == (jwks_url is None):
        raise _bad("jwks", f"a client of the kind {kind} needs jwks or jwks_url, one of them.")
    if jwks_url is not None:
        if (why := problem(jwks_url)) or urlsplit(jwks_url).scheme not in ("http", "https"):
            raise _bad("jwks_url", why or "use https (http on a loopback address in development).")
        if len(jwks_url) > LONGEST:
            raise _bad("jwks_url", f"use at most {LONGEST} characters.")
        return None
    try:
        made = jose.kept(jwks)
    except jose.Invalid as error:
        raise _bad("jwks", str(error)) from None
    if len(json.dumps(made)) > MAX_JWKS:
        raise _bad("jwks", f"use at most {MAX_JWKS} characters.")
    return made


def _check_scope(kind: str, text: str) -> None:
    try:
        scopes = parse_all(text)
    except ScopeError as error:
        raise _bad("scope", str(error)) from None
    if not scopes:
        raise _bad("scope", "name what the client may ask for, such as 'patient/*.rs launch/patient openid'.")
    for scope in scopes:
        if (scope.level == "system") != (kind == "backend"):
            rule = (
                "has system/ scopes only"
                if kind == "backend"
                else "acts for people and has no system/ scopes"
            )
            raise _bad("scope", f"{scope.text} cannot be registered: a client of the kind {kind} {rule}.")
